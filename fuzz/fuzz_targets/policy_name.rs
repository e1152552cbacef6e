//! Any text either names a policy, whose own text names the same policy again, or is a typed error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch::Policy;

fuzz_target!(|text: &str| {
    match text.parse::<Policy>() {
        Ok(policy) => {
            let again: Policy = policy
                .to_string()
                .parse()
                .expect("a policy's text names it");
            assert_eq!(again, policy, "from {text:?}");
            assert_eq!(policy.build(100, 2, 64, 1).len(), 2);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
