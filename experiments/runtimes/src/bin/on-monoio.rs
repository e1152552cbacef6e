//! io_uring, by monoio.
#![forbid(unsafe_code)]

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use runtimes::Canned;
use std::io;

#[monoio::main(driver = "iouring", entries = 1024)]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", runtimes::port()))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        monoio::spawn(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let (mut buffer, mut replies) = (Vec::with_capacity(65536), Vec::new());
    let mut canned = Canned::default();
    loop {
        let (read, back) = stream.read(buffer).await;
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        buffer = back;
        buffer.clear();
        replies.clear();
        canned.answer(read, &mut replies);
        let (written, back) = AsyncWriteRentExt::write_all(&mut stream, replies).await;
        written?;
        replies = back;
    }
}
