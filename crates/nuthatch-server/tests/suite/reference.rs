//! The page of commands is what the table of commands says.

use nuthatch_server::reference;
use std::fs;
use std::path::Path;

#[test]
fn the_page_of_commands_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let on_disk = fs::read_to_string(path).unwrap_or_default();
    assert!(
        on_disk == reference::page(),
        "docs/commands.md is not what the table of commands gives; write it anew with\n    \
         cargo run -p nuthatch-server -- commands > docs/commands.md"
    );
}
