//! How far a long measurement is, on the terminal of whoever waits for it.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error that counts to `steps`; invisible where that is no terminal. Its message
/// says what is being measured.
pub fn bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {eta} left  {msg:<40}")
        .expect("the template is well-formed");
    ProgressBar::new(steps).with_style(style)
}
