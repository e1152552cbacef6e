//! `MONITOR`: clients that see every command that is run.

use crate::client::{Client, ClientFlags};
use crate::command::{Entry, Flags};
use crate::push::{Outbox, Push};
use crate::secrets;
use crate::watch::{Attention, Reasons};
use nuthatch_wire::resp::Args;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::sync::Arc;

/// The clients that see every command.
#[derive(Debug, Default)]
pub struct Monitors(Mutex<Vec<Arc<Client>>>);

impl Monitors {
    /// Adds a client, unless it is there.
    pub fn add(&self, client: &Arc<Client>, attention: &Attention) {
        if client.flags().contains(ClientFlags::MONITOR) {
            return;
        }
        client.set_flags(ClientFlags::MONITOR, true);
        let mut monitors = self.0.lock();
        monitors.push(Arc::clone(client));
        attention.set(Reasons::MONITORED, true);
    }

    /// Removes a client, if it is there.
    pub fn remove(&self, client: &Client, attention: &Attention) {
        if !client.flags().contains(ClientFlags::MONITOR) {
            return;
        }
        client.set_flags(ClientFlags::MONITOR, false);
        let mut monitors = self.0.lock();
        monitors.retain(|monitor| monitor.id != client.id);
        if monitors.is_empty() {
            attention.set(Reasons::MONITORED, false);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows them a command of `client`.
    pub fn show(
        &self,
        client: &Client,
        entry: &Entry,
        args: Args<'_>,
        now_ns: u64,
        outbox: &mut Outbox<'_>,
    ) {
        if entry
            .command
            .flags
            .intersects(Flags::SKIP_MONITOR | Flags::ADMIN)
        {
            return;
        }
        let now_us = now_ns / 1000;
        let mut line = format!("+{}.{:06} [0 ", now_us / 1_000_000, now_us % 1_000_000);
        if client.flags().contains(ClientFlags::UNIX) {
            line += "unix:";
            line += client.address.trim_end_matches(":0");
        } else {
            line += &client.address;
        }
        line.push(']');
        for (index, arg) in args.iter().enumerate() {
            line += " \"";
            if secrets::is_secret(entry, args, index) {
                line += secrets::REDACTED;
            } else {
                quote(arg, &mut line);
            }
            line.push('"');
        }
        line += "\r\n";
        let line: Arc<[u8]> = Arc::from(line.into_bytes());
        for monitor in self.0.lock().iter() {
            outbox.send(monitor, Push::Line(Arc::clone(&line)));
        }
    }
}

/// Appends bytes as Redis quotes them.
fn quote(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(byte)),
            other => write!(out, "\\x{other:02x}").expect("a string takes all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn bytes_are_quoted_as_in_redis() {
        let mut out = String::new();
        quote(b"a \"b\"\\\r\n\t\x07\x08\x00\xff~", &mut out);
        assert_eq!(out, r#"a \"b\"\\\r\n\t\a\b\x00\xff~"#);
    }
}
