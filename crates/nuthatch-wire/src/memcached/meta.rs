//! Meta commands: a key and flags of one letter, some with a token.

use super::base64;
use super::request::{
    Line, MAX_KEY_BYTES, Refusal, Request, RequestError, Words, data_length, is_key, signed,
    unsigned,
};

/// Words of a meta command at most.
const MAX_WORDS: usize = 20;
/// Bytes of an opaque token at most, its letter included.
const MAX_OPAQUE_BYTES: usize = 32;

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaCommand {
    /// `mg`.
    Get,
    /// `ms`.
    Set,
    /// `md`.
    Delete,
    /// `ma`.
    Arithmetic,
}

/// What flags say, as far as their order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaFlags {
    /// `C`: the unique number that the item must have.
    pub cas: Option<u64>,
    /// `E`: the unique number that it gets.
    pub new_cas: Option<u64>,
    /// `T`: when it expires, as sent.
    pub exptime: Option<i64>,
    /// `N`: it is made if it is missing, and when it expires then.
    pub vivify: Option<i64>,
    /// `R`: the rest of its time below which it is to be made anew.
    pub recache: Option<i64>,
    /// `F`: the client's flags.
    pub client_flags: u32,
    /// `M`: the letter of the mode.
    pub mode: Option<u8>,
    /// `J`: the number that a missing one begins with.
    pub initial: u64,
    /// `D`: how much is added or subtracted.
    pub delta: Option<u64>,
    /// `v`: the value is wanted.
    pub wants_value: bool,
    /// `I`: it becomes stale.
    pub invalidates: bool,
    /// `q`: what goes well is not answered.
    pub is_quiet: bool,
    /// `u`: the access is not noticed.
    pub is_unnoticed: bool,
    /// `x`: its value goes, and it stays.
    pub removes_value: bool,
    /// `h` or `l`: what is known of earlier accesses is wanted.
    pub asks_access: bool,
}

/// A meta command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta<'a> {
    /// Which one.
    pub command: MetaCommand,
    /// The key.
    pub key: &'a [u8],
    /// Whether it came in base64, and so goes back.
    pub is_base64: bool,
    /// What the flags say.
    pub flags: MetaFlags,
    /// The flags with their tokens, in the order in which they came.
    pub words: Words<'a>,
    /// The data of `ms`.
    pub data: &'a [u8],
}

impl MetaFlags {
    fn read(words: Words<'_>, words_before: usize) -> Result<(Self, bool), RequestError> {
        let mut flags = Self::default();
        let (mut seen, mut is_base64) = ([false; 127], false);
        let mut is_wrong = None;
        if words.iter().count() + words_before > MAX_WORDS {
            return Err(RequestError::TooManyFlags);
        }
        for word in words.iter() {
            let (letter, token) = (word[0], &word[1..]);
            if !letter.is_ascii_alphabetic() {
                return Err(RequestError::Format);
            }
            match seen.get_mut(usize::from(letter)) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(RequestError::DuplicateFlag),
            }
            let mut number = |value: Option<u64>| {
                if value.is_none() {
                    is_wrong = Some(RequestError::FlagToken);
                }
                value
            };
            let mut time = |token| {
                let time = signed(token);
                number(time.map(i64::cast_unsigned)).map(u64::cast_signed)
            };
            match letter {
                b'N' => flags.vivify = time(token),
                b'T' => flags.exptime = time(token),
                b'R' => flags.recache = time(token),
                b'C' => flags.cas = number(unsigned(token)),
                b'E' => flags.new_cas = number(unsigned(token)),
                b'J' => flags.initial = number(unsigned(token)).unwrap_or(0),
                b'D' => flags.delta = number(unsigned(token)),
                b'F' => {
                    let value = unsigned(token).and_then(|value| u32::try_from(value).ok());
                    flags.client_flags = value.unwrap_or_else(|| {
                        is_wrong = Some(RequestError::Format);
                        0
                    });
                }
                b'M' => flags.mode = Some(token.first().copied().unwrap_or(b' ')),
                b'v' => flags.wants_value = true,
                b'I' => flags.invalidates = true,
                b'q' => flags.is_quiet = true,
                b'u' => flags.is_unnoticed = true,
                b'x' => flags.removes_value = true,
                b'h' | b'l' => flags.asks_access = true,
                b'b' => is_base64 = true,
                b'O' if word.len() > MAX_OPAQUE_BYTES => is_wrong = Some(RequestError::Opaque),
                b'O' | b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' => {}
                _ => return Err(RequestError::UnknownFlag),
            }
        }
        match is_wrong {
            Some(error) => Err(error),
            None => Ok((flags, is_base64)),
        }
    }
}

/// The key that `text` is, or stands for.
fn key<'a>(
    text: &'a [u8],
    is_base64: bool,
    decoded: &'a mut Vec<u8>,
) -> Result<&'a [u8], RequestError> {
    if !is_base64 {
        return Ok(text);
    }
    if base64::decode(text, decoded) {
        Ok(decoded)
    } else {
        Err(RequestError::Base64)
    }
}

/// What a line asks for whose command is `name`.
pub(super) fn read_line<'a>(
    name: &[u8],
    words: Words<'a>,
    max_value_bytes: usize,
    decoded: &'a mut Vec<u8>,
) -> Result<Line<'a>, Refusal<'a>> {
    let command = match name {
        b"mg" => MetaCommand::Get,
        b"ms" => MetaCommand::Set,
        b"md" => MetaCommand::Delete,
        _ => MetaCommand::Arithmetic,
    };
    let (text, mut words) = words.split_first().ok_or(RequestError::Format)?;
    let mut data_bytes = None;
    if command == MetaCommand::Set {
        let (length, rest) = words.split_first().ok_or(RequestError::Format)?;
        data_bytes = Some(data_length(length).ok_or(RequestError::Format)?);
        words = rest;
    }
    let meta = read(command, text, words, decoded);
    let Some(data_bytes) = data_bytes else {
        return Ok(Line::Request(Request::Meta(meta?)));
    };
    Ok(match meta {
        Err(error) => Line::SkipData {
            refusal: error.into(),
            data_bytes,
        },
        Ok(meta) if data_bytes > max_value_bytes => Line::SkipData {
            refusal: Refusal {
                outdated: Some(meta.key),
                ..RequestError::TooLarge.into()
            },
            data_bytes,
        },
        Ok(meta) => Line::WithData {
            request: Request::Meta(meta),
            data_bytes,
        },
    })
}

fn read<'a>(
    command: MetaCommand,
    text: &'a [u8],
    words: Words<'a>,
    decoded: &'a mut Vec<u8>,
) -> Result<Meta<'a>, RequestError> {
    if text.len() > MAX_KEY_BYTES {
        return Err(match command {
            MetaCommand::Arithmetic => RequestError::ArithmeticFlag,
            _ => RequestError::Format,
        });
    }
    let words_before = if command == MetaCommand::Set { 3 } else { 2 };
    let read = MetaFlags::read(words, words_before);
    let read = read.and_then(|(flags, is_base64)| {
        let key = key(text, is_base64, decoded)?;
        Ok((flags, is_base64, key))
    });
    let (flags, is_base64, key) = match (command, read) {
        (_, Ok(read)) => read,
        (_, Err(RequestError::Opaque)) => return Err(RequestError::Opaque),
        (MetaCommand::Arithmetic, Err(_)) => return Err(RequestError::ArithmeticFlag),
        (_, Err(error)) => return Err(error),
    };
    match (command, flags.mode) {
        (_, None)
        | (MetaCommand::Get | MetaCommand::Delete, _)
        | (MetaCommand::Set, Some(b'E' | b'A' | b'P' | b'R' | b'S'))
        | (MetaCommand::Arithmetic, Some(b'I' | b'+' | b'D' | b'-')) => {}
        (MetaCommand::Set, Some(_)) => return Err(RequestError::StoreMode),
        (MetaCommand::Arithmetic, Some(_)) => return Err(RequestError::ArithmeticMode),
    }
    Ok(Meta {
        command,
        key,
        is_base64,
        flags,
        words,
        data: &[],
    })
}

/// What an `me` line asks for.
pub(super) fn read_debug<'a>(
    words: Words<'a>,
    decoded: &'a mut Vec<u8>,
) -> Result<Request<'a>, Refusal<'a>> {
    let (text, flags) = words.split_first().ok_or(RequestError::Format)?;
    let is_base64 = flags.iter().next() == Some(b"b");
    if !is_key(text) {
        return Err(RequestError::Format.into());
    }
    let key = key(text, is_base64, decoded).map_err(|_| RequestError::Format)?;
    Ok(Request::MetaDebug { key, is_base64 })
}
