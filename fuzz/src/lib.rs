//! What every reader of traces promises, whatever bytes it gets.
#![forbid(unsafe_code)]

use nuthatch_lab::trace::{Columns, Format, Request, TraceError, read_ctr, write_ctr};

/// Reads bytes of a format and checks the requests, if they are any.
///
/// # Panics
/// If a promise is broken.
pub fn check_trace(format: Format, bytes: &[u8], columns: Option<&Columns>) {
    match format.read(bytes, columns) {
        Ok(requests) => check_requests(&requests),
        Err(TraceError::Io(error)) => panic!("a slice cannot fail to be read: {error}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_requests(requests: &[Request]) {
    let mut keys = 0;
    for request in requests {
        assert!(
            request.key <= keys,
            "keys are numbered as they appear: {request:?}"
        );
        keys += u64::from(request.key == keys);
        assert!(request.size > 0, "every object has a size: {request:?}");
    }
    assert!(
        requests.is_sorted_by_key(|request| request.time_s),
        "time goes forward"
    );
    let mut written = Vec::new();
    write_ctr(&mut written, requests).expect("a vector takes all");
    assert_eq!(
        read_ctr(&written[..]).expect("what was written reads back"),
        requests
    );
}
