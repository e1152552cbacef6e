//! Any text names a trace, whose own text names the same trace again, or is a typed error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_lab::trace::Source;

fuzz_target!(|text: &str| {
    match text.parse::<Source>() {
        Ok(source) => {
            let again: Source = source
                .to_string()
                .parse()
                .expect("a source's text names it");
            assert_eq!(again, source, "from {text:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
