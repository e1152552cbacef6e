//! epoll, by hand.
#![forbid(unsafe_code)]

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use runtimes::Canned;
use std::io::{self, Read, Write};

const LISTENER: Token = Token(usize::MAX);

fn main() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(([127, 0, 0, 1], runtimes::port()).into())?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut connections: Vec<Option<(TcpStream, Canned)>> = Vec::new();
    let (mut buffer, mut replies) = (vec![0; 65536], Vec::new());
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(connections.len());
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, token, both)?;
                    connections.push(Some((stream, Canned::default())));
                }
                continue;
            }
            let slot = &mut connections[event.token().0];
            let Some((stream, canned)) = slot.as_mut().filter(|_| event.is_readable()) else {
                continue;
            };
            let is_open = loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break false,
                    Ok(read) => {
                        replies.clear();
                        canned.answer(read, &mut replies);
                        stream.write_all(&replies)?;
                        if read < buffer.len() {
                            break true;
                        }
                    }
                    Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
                }
            };
            if !is_open {
                *slot = None;
            }
        }
    }
}
