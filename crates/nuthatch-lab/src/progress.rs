//! How far a long measurement is, on the terminal of whoever waits for it.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error that counts to `steps`; invisible where that is no terminal. Its message
/// may say what is being measured.
pub fn bar(label: &str, steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta}  {msg}");
    let style = style.expect("the template is well-formed");
    let bar = ProgressBar::new(steps).with_style(style);
    bar.set_prefix(label.to_owned());
    bar.tick();
    bar
}

/// A count on standard error of something that ends nobody knows when.
pub fn count(label: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {human_pos} {msg} {per_sec}");
    let style = style.expect("the template is well-formed");
    let bar = ProgressBar::no_length().with_style(style);
    bar.set_prefix(label.to_owned());
    bar
}
