//! io_uring, by compio.
#![forbid(unsafe_code)]

use compio::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use runtimes::Canned;
use std::io;

#[compio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", runtimes::port())).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        compio::runtime::spawn(serve(stream)).detach();
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let (mut buffer, mut replies) = (Vec::with_capacity(65536), Vec::new());
    let mut canned = Canned::default();
    loop {
        let BufResult(read, back) = stream.read(buffer).await;
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        buffer = back;
        buffer.clear();
        replies.clear();
        canned.answer(read, &mut replies);
        let BufResult(written, back) = stream.write_all(replies).await;
        written?;
        replies = back;
    }
}
