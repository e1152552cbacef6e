//! The arguments of a command, read from the line that documents them.
//!
//! The line is written as Redis' documentation writes it: `key [NX | XX] [EX seconds | KEEPTTL]
//! [field ...]`. Capitals are words as they stand, `[]` may be left out, `|` separates alternatives,
//! `...` repeats. `COMMAND DOCS` tells clients the same as a tree, which this module makes, so that
//! the line is the only place that says it.

/// What kind of argument it is, in the words of `COMMAND DOCS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Key,
    Pattern,
    UnixTime,
    Token,
    OneOf,
    Block,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::Token => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }

    fn of(name: &str) -> Self {
        match name {
            "key" | "newkey" | "source" | "destination" | "destkey" | "key1" | "key2" => Self::Key,
            "pattern" => Self::Pattern,
            _ if name.starts_with("unix-time") => Self::UnixTime,
            "seconds" | "milliseconds" | "increment" | "decrement" | "offset" | "count"
            | "numkeys" | "numfields" | "index" | "cursor" | "start" | "end" | "timeout"
            | "bit" | "ttl" | "bytes" | "numreplicas" | "min-match-len" => Self::Integer,
            _ => Self::Text,
        }
    }
}

/// One argument, or several that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The word that stands before it.
    pub(super) token: Option<String>,
    pub(super) is_optional: bool,
    pub(super) is_multiple: bool,
    /// What it consists of, or what it is one of.
    pub(super) arguments: Vec<Argument>,
}

impl Argument {
    fn new(name: String, kind: Kind) -> Self {
        Self {
            name,
            kind,
            token: None,
            is_optional: false,
            is_multiple: false,
            arguments: Vec::new(),
        }
    }

    fn value(name: &str) -> Self {
        Self::new(name.to_owned(), Kind::of(name))
    }

    fn word(word: &str) -> Self {
        let mut argument = Self::new(word.to_ascii_lowercase(), Kind::Token);
        argument.token = Some(word.to_owned());
        argument
    }

    fn block(name: String, arguments: Vec<Self>) -> Self {
        let mut block = Self::new(name, Kind::Block);
        block.arguments = arguments;
        block
    }
}

/// The arguments that a line documents.
pub(super) fn arguments(syntax: &str) -> Vec<Argument> {
    let spaced = syntax
        .replace('[', " [ ")
        .replace(']', " ] ")
        .replace('<', " < ")
        .replace('>', " > ")
        .replace('|', " | ");
    let mut words = spaced.split_whitespace();
    let mut alternatives = read_alternatives(&mut words);
    match alternatives.len() {
        1 => arguments_of(&alternatives.remove(0)),
        _ => vec![one_of(&alternatives)],
    }
}

/// A piece of the line.
#[derive(Debug)]
enum Node<'a> {
    Word(&'a str),
    More,
    Group {
        is_optional: bool,
        alternatives: Vec<Vec<Node<'a>>>,
    },
}

fn read_alternatives<'a>(words: &mut impl Iterator<Item = &'a str>) -> Vec<Vec<Node<'a>>> {
    let mut alternatives = vec![Vec::new()];
    while let Some(word) = words.next() {
        let node = match word {
            "|" => {
                alternatives.push(Vec::new());
                continue;
            }
            "]" | ">" => break,
            "[" | "<" => Node::Group {
                is_optional: word == "[",
                alternatives: read_alternatives(words),
            },
            "..." => Node::More,
            word => Node::Word(word),
        };
        alternatives.last_mut().expect("one at least").push(node);
    }
    alternatives
}

/// Whether a word stands for itself.
fn is_token(word: &str) -> bool {
    !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn arguments_of(nodes: &[Node<'_>]) -> Vec<Argument> {
    let mut arguments: Vec<Argument> = Vec::new();
    let mut nodes = nodes.iter().peekable();
    while let Some(node) = nodes.next() {
        match node {
            Node::Word(word) if is_token(word) => {
                let value =
                    nodes.next_if(|next| matches!(next, Node::Word(word) if !is_token(word)));
                arguments.push(match value {
                    Some(Node::Word(name)) => {
                        let mut argument = Argument::value(name);
                        argument.token = Some((*word).to_owned());
                        argument
                    }
                    _ => Argument::word(word),
                });
            }
            Node::Word(name) => arguments.push(Argument::value(name)),
            Node::More => {
                if let Some(last) = arguments.last_mut() {
                    last.is_multiple = true;
                }
            }
            Node::Group {
                is_optional,
                alternatives,
            } => {
                if !repeat(&mut arguments, alternatives) {
                    let mut argument = group(alternatives);
                    argument.is_optional = *is_optional;
                    arguments.push(argument);
                }
            }
        }
    }
    arguments
}

/// `key value [key value ...]`: marks what the group repeats, if it does.
fn repeat(arguments: &mut Vec<Argument>, alternatives: &[Vec<Node<'_>>]) -> bool {
    let [nodes] = alternatives else {
        return false;
    };
    let Some((Node::More, repeated)) = nodes.split_last() else {
        return false;
    };
    let repeated = arguments_of(repeated);
    let Some(start) = arguments.len().checked_sub(repeated.len()) else {
        return false;
    };
    if repeated.is_empty() || arguments[start..] != repeated[..] {
        return false;
    }
    let mut last = if repeated.len() == 1 {
        arguments.remove(start)
    } else {
        Argument::block("data".to_owned(), arguments.split_off(start))
    };
    last.is_multiple = true;
    arguments.push(last);
    true
}

fn group(alternatives: &[Vec<Node<'_>>]) -> Argument {
    match alternatives {
        [nodes] => one(nodes),
        alternatives => one_of(alternatives),
    }
}

fn one_of(alternatives: &[Vec<Node<'_>>]) -> Argument {
    let choices: Vec<Argument> = alternatives.iter().map(|nodes| one(nodes)).collect();
    let names: Vec<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
    let mut argument = Argument::new(names.join("-or-"), Kind::OneOf);
    argument.arguments = choices;
    argument
}

/// Pieces that belong together, as one argument.
fn one(nodes: &[Node<'_>]) -> Argument {
    let mut arguments = arguments_of(nodes);
    if arguments.len() == 1 {
        return arguments.remove(0);
    }
    // The word before several values belongs to all of them.
    let token = match nodes.first() {
        Some(Node::Word(word)) if is_token(word) => arguments[0].token.take(),
        _ => None,
    };
    if arguments
        .first()
        .is_some_and(|first| first.kind == Kind::Token)
    {
        arguments.remove(0);
    }
    let name = token
        .as_ref()
        .map_or_else(|| arguments[0].name.clone(), |token| token.to_lowercase());
    let mut block = Argument::block(name, arguments);
    block.token = token;
    block
}

#[cfg(test)]
mod tests {
    use super::{Argument, Kind, arguments};
    use crate::command::table;

    /// A short form: names, `?` optional, `+` multiple, tokens in front.
    fn shown(arguments: &[Argument]) -> String {
        let one = |argument: &Argument| {
            let mut text = String::new();
            if let Some(token) = &argument.token {
                text += &format!("{token}:");
            }
            text += match argument.kind {
                Kind::Block | Kind::OneOf => "",
                _ => &argument.name,
            };
            if argument.kind == Kind::Block {
                text += &format!("({})", shown(&argument.arguments));
            }
            if argument.kind == Kind::OneOf {
                text += &format!("<{}>", shown(&argument.arguments));
            }
            if argument.is_optional {
                text.push('?');
            }
            if argument.is_multiple {
                text.push('+');
            }
            text
        };
        let all: Vec<String> = arguments.iter().map(one).collect();
        all.join(" ")
    }

    #[test]
    fn lines_become_trees() {
        let cases = [
            ("", ""),
            ("key [key ...]", "key+"),
            ("key value [key value ...]", "(key value)+"),
            ("[message]", "message?"),
            ("key [NX | XX] [GET]", "key <NX:nx XX:xx>? GET:get?"),
            (
                "key [EX seconds | KEEPTTL]",
                "key <EX:seconds KEEPTTL:keepttl>?",
            ),
            (
                "FIELDS numfields field [field ...]",
                "FIELDS:numfields field+",
            ),
            (
                "key [FIELDS numfields field [field ...]]",
                "key FIELDS:(numfields field+)?",
            ),
            (
                "protover [AUTH username password]",
                "protover AUTH:(username password)?",
            ),
            ("ON | OFF", "<ON:on OFF:off>"),
            ("[pattern ...]", "pattern?+"),
        ];
        for (syntax, expected) in cases {
            assert_eq!(shown(&arguments(syntax)), expected, "{syntax}");
        }
    }

    #[test]
    fn every_commands_line_is_read_whole() {
        for entry in table().entries() {
            let syntax = entry.command.syntax;
            assert_eq!(
                arguments(syntax).is_empty(),
                syntax.is_empty(),
                "{}",
                entry.full_name
            );
            for (open, close) in [('[', ']'), ('<', '>')] {
                assert_eq!(
                    syntax.matches(open).count(),
                    syntax.matches(close).count(),
                    "{}: {syntax}",
                    entry.full_name
                );
            }
        }
    }
}
