//! The part that all servers share: so many bytes in, so many canned replies out.
#![forbid(unsafe_code)]

/// `*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n`, as redis-benchmark sends it.
const REQUEST_BYTES: usize = 36;

/// Counts the requests of one connection by their length.
#[derive(Debug, Default)]
pub struct Canned {
    incomplete_bytes: usize,
}

impl Canned {
    /// Appends a reply for every request that is complete after `read` bytes more.
    pub fn answer(&mut self, read: usize, replies: &mut Vec<u8>) {
        let bytes = self.incomplete_bytes + read;
        self.incomplete_bytes = bytes % REQUEST_BYTES;
        for _ in 0..bytes / REQUEST_BYTES {
            replies.extend_from_slice(b"$100\r\n");
            replies.extend_from_slice(&[b'x'; 100]);
            replies.extend_from_slice(b"\r\n");
        }
    }
}

/// The port on the command line.
pub fn port() -> u16 {
    let text = std::env::args().nth(1).expect("a port");
    text.parse().expect("a port is a number")
}
