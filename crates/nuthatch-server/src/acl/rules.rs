//! What a user may do: passwords, commands, keys, channels; read from rules and written as rules.
//!
//! A selector is one set of permissions. A user has a root selector and may have more; a request is
//! allowed if one of them allows it as a whole. The grammar is Redis'
//! (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>).

use super::RuleError;
use crate::command::{self, Access, Categories, Entry, Flags};
use crate::glob;
use nuthatch_wire::resp::Args;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The SHA-256 of a password: the password itself is never kept.
pub type PasswordHash = [u8; 32];

/// The hash of a password.
pub fn hash(password: &[u8]) -> PasswordHash {
    Sha256::digest(password).into()
}

/// Whether two hashes are the same, found out in a time that does not depend on where they differ.
fn is_equal(one: &PasswordHash, other: &PasswordHash) -> bool {
    let pairs = one.iter().zip(other);
    std::hint::black_box(pairs.fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

/// What a request was denied for. The position is that of the argument at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which kind of permission lacks.
    pub reason: DenialReason,
    /// Where the argument at fault stands; 0 for the command.
    pub position: usize,
}

/// Which kind of permission lacks. Later ones are more telling: the others were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenialReason {
    /// The command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
}

bitflags::bitflags! {
    /// What may be done with keys.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct KeyRights: u8 {
        const READ = 1;
        const WRITE = 1 << 1;
    }
}

impl KeyRights {
    fn needed(access: Access) -> Self {
        let mut needed = Self::empty();
        needed.set(Self::READ, access.reads());
        needed.set(Self::WRITE, access.writes());
        needed
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    rights: KeyRights,
    pattern: Vec<u8>,
}

/// Which channels a request has to do with, and how.
fn channels(entry: &Entry, args: Args<'_>) -> (std::ops::Range<usize>, bool) {
    match entry.full_name.as_str() {
        "publish" | "spublish" => (1..2, false),
        "subscribe" | "ssubscribe" => (1..args.len(), false),
        "psubscribe" => (1..args.len(), true),
        _ => (0..0, false),
    }
}

/// One set of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Whether commands are allowed that no rule names.
    all_commands: bool,
    /// The rules after that, as they were given: `+get`, `-@hash`.
    command_rules: Vec<String>,
    /// By the command's number: what the rules come to.
    allowed: Vec<bool>,
    /// Commands that are allowed with these first arguments only.
    first_args: BTreeMap<u32, Vec<Vec<u8>>>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Vec<u8>>,
}

impl Default for Selector {
    /// Nothing is allowed.
    fn default() -> Self {
        Self {
            all_commands: false,
            command_rules: Vec::new(),
            allowed: vec![false; command::table().entries().len()],
            first_args: BTreeMap::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: false,
            channels: Vec::new(),
        }
    }
}

impl Selector {
    /// Whether it allows everything.
    pub fn is_unbound(&self) -> bool {
        self.all_commands && self.command_rules.is_empty() && self.all_keys && self.all_channels
    }

    /// Changes it as a rule says.
    fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let word = rule.to_ascii_lowercase();
        match word.as_slice() {
            b"allkeys" | b"~*" => {
                self.all_keys = true;
                self.keys.clear();
            }
            b"resetkeys" => {
                self.all_keys = false;
                self.keys.clear();
            }
            b"allchannels" | b"&*" => {
                self.all_channels = true;
                self.channels.clear();
            }
            b"resetchannels" => {
                self.all_channels = false;
                self.channels.clear();
            }
            b"allcommands" | b"+@all" => self.set_all_commands(true),
            b"nocommands" | b"-@all" => self.set_all_commands(false),
            _ => match rule.first() {
                Some(b'~') => self.add_key(KeyRights::all(), &rule[1..])?,
                Some(b'%') => {
                    let (rights, pattern) = key_rule(&rule[1..])?;
                    self.add_key(rights, pattern)?;
                }
                Some(b'&') => self.add_channel(&rule[1..])?,
                Some(b'+') => self.set_command(&word[1..], true)?,
                Some(b'-') => self.set_command(&word[1..], false)?,
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    fn set_all_commands(&mut self, allowed: bool) {
        self.all_commands = allowed;
        self.command_rules.clear();
        self.first_args.clear();
        self.allowed.fill(allowed);
    }

    fn add_key(&mut self, rights: KeyRights, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeyAfterAll);
        }
        if has_blanks(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => known.rights |= rights,
            None => self.keys.push(KeyPattern {
                rights,
                pattern: pattern.to_vec(),
            }),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelAfterAll);
        }
        if has_blanks(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// `name` is lower case: a command, a subcommand, a category, or a command and its first argument.
    fn set_command(&mut self, name: &[u8], allowed: bool) -> Result<(), RuleError> {
        let table = command::table();
        if let Some(category) = name.strip_prefix(b"@") {
            let category = Categories::named(category).ok_or(RuleError::UnknownCommand)?;
            for entry in table.entries() {
                if entry.command.all_categories().contains(category) {
                    self.allow(entry, allowed);
                }
            }
        } else if let Some(entry) = table.find(name) {
            self.allow(entry, allowed);
            for &id in &entry.subcommands {
                self.allow(table.entry(id), allowed);
            }
        } else {
            self.allow_first_arg(name, allowed)?;
        }
        self.note_rule(name, allowed);
        Ok(())
    }

    fn allow(&mut self, entry: &Entry, allowed: bool) {
        self.allowed[entry.id as usize] = allowed;
        self.first_args.remove(&entry.id);
    }

    /// `select|0`: the command with this first argument alone.
    fn allow_first_arg(&mut self, name: &[u8], allowed: bool) -> Result<(), RuleError> {
        let bar = name.iter().rposition(|&byte| byte == b'|');
        let bar = bar.filter(|_| allowed).ok_or(RuleError::UnknownCommand)?;
        let (name, arg) = (&name[..bar], &name[bar + 1..]);
        let entry = command::table()
            .find(name)
            .ok_or(RuleError::UnknownCommand)?;
        if name.contains(&b'|') {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if !entry.subcommands.is_empty() {
            return Err(RuleError::UnknownCommand);
        }
        if arg.is_empty() {
            return Err(RuleError::Syntax);
        }
        let args = self.first_args.entry(entry.id).or_default();
        if !args.iter().any(|known| known == arg) {
            args.push(arg.to_vec());
        }
        Ok(())
    }

    /// Keeps a rule, in the place of those that it makes void.
    fn note_rule(&mut self, name: &[u8], allowed: bool) {
        let name = String::from_utf8_lossy(name);
        self.command_rules.retain(|rule| {
            let rest = rule[1..].strip_prefix(&*name);
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
        });
        let sign = if allowed { '+' } else { '-' };
        self.command_rules.push(format!("{sign}{name}"));
    }

    /// What speaks against a request, if anything.
    fn check(&self, entry: &Entry, args: Args<'_>) -> Result<(), Denial> {
        let denied = |reason, position| Err(Denial { reason, position });
        // Whoever may connect may authenticate, and leave.
        if !entry.command.flags.contains(Flags::NO_AUTH) && !self.allows_command(entry, args) {
            return denied(DenialReason::Command, 0);
        }
        if !self.all_keys {
            for (position, access) in entry.keys_and_access(args) {
                if !self.allows_key(args.at(position), KeyRights::needed(access)) {
                    return denied(DenialReason::Key, position);
                }
            }
        }
        if !self.all_channels {
            let (positions, is_pattern) = channels(entry, args);
            for position in positions {
                if !self.allows_channel(args.at(position), is_pattern) {
                    return denied(DenialReason::Channel, position);
                }
            }
        }
        Ok(())
    }

    fn allows_command(&self, entry: &Entry, args: Args<'_>) -> bool {
        if self.allowed[entry.id as usize] {
            return true;
        }
        let first = args.get(1);
        self.first_args.get(&entry.id).is_some_and(|allowed| {
            first.is_some_and(|first| allowed.iter().any(|arg| first.eq_ignore_ascii_case(arg)))
        })
    }

    fn allows_key(&self, key: &[u8], needed: KeyRights) -> bool {
        self.all_keys
            || self
                .keys
                .iter()
                .any(|known| known.rights.contains(needed) && glob::matches(&known.pattern, key))
    }

    /// Whether it allows a channel, or a pattern of channels, which must be one of its own.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels
            || self.channels.iter().any(|known| {
                if is_pattern {
                    known == channel
                } else {
                    glob::matches(known, channel)
                }
            })
    }

    /// Its rules of commands.
    pub fn describe_commands(&self) -> String {
        let mut text = String::from(if self.all_commands { "+@all" } else { "-@all" });
        for rule in &self.command_rules {
            text.push(' ');
            text += rule;
        }
        text
    }

    /// Its rules of keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let rules: Vec<Vec<u8>> = self.keys.iter().map(KeyPattern::describe).collect();
        rules.join(&b' ')
    }

    /// Its rules of channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let rule = |pattern: &Vec<u8>| [b"&", pattern.as_slice()].concat();
        let rules: Vec<Vec<u8>> = self.channels.iter().map(rule).collect();
        rules.join(&b' ')
    }

    /// All its rules.
    fn describe(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        if self.all_keys || !self.keys.is_empty() {
            parts.push(self.describe_keys());
        }
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        if self.all_channels || !self.channels.is_empty() {
            parts.push(self.describe_channels());
        }
        parts.push(self.describe_commands().into_bytes());
        parts.join(&b' ')
    }
}

impl KeyPattern {
    fn describe(&self) -> Vec<u8> {
        let prefix: &[u8] = if self.rights == KeyRights::READ {
            b"%R~"
        } else if self.rights == KeyRights::WRITE {
            b"%W~"
        } else {
            b"~"
        };
        [prefix, &self.pattern].concat()
    }
}

/// The rights and the pattern of a rule that began with `%`.
fn key_rule(rule: &[u8]) -> Result<(KeyRights, &[u8]), RuleError> {
    let mut rights = KeyRights::empty();
    let mut rest = rule;
    while let [letter, tail @ ..] = rest {
        rest = tail;
        match letter.to_ascii_uppercase() {
            b'R' if !rights.contains(KeyRights::READ) => rights |= KeyRights::READ,
            b'W' if !rights.contains(KeyRights::WRITE) => rights |= KeyRights::WRITE,
            b'~' if !rights.is_empty() => return Ok((rights, rest)),
            _ => return Err(RuleError::Syntax),
        }
    }
    // Redis takes a rule without `~` for one of the empty pattern.
    if rights.is_empty() {
        Err(RuleError::Syntax)
    } else {
        Ok((rights, rest))
    }
}

fn has_blanks(text: &[u8]) -> bool {
    text.iter()
        .any(|byte| byte.is_ascii_whitespace() || *byte == 0)
}

/// All that a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether the user may authenticate.
    pub is_on: bool,
    /// Whether any password will do.
    pub no_password: bool,
    /// Hashes of the passwords.
    pub passwords: Vec<PasswordHash>,
    /// What the user may do.
    pub root: Selector,
    /// What else.
    pub selectors: Vec<Selector>,
}

impl Rules {
    /// Those of the default user at the start: everything, without a password.
    pub fn unbound() -> Self {
        let mut rules = Self {
            is_on: true,
            no_password: true,
            ..Self::default()
        };
        rules.root.all_keys = true;
        rules.root.all_channels = true;
        rules.root.set_all_commands(true);
        rules
    }

    /// Changes them as a rule says.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"nopass" => {
                self.no_password = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.no_password = false;
                self.passwords.clear();
            }
            // Payloads of RESTORE are checked whoever sends them.
            b"sanitize-payload" | b"skip-sanitize-payload" => {}
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = Self::default(),
            _ => return self.apply_marked(rule),
        }
        Ok(())
    }

    fn apply_marked(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        match rule {
            [b'>', password @ ..] => self.add_password(hash(password)),
            [b'#', digits @ ..] => self.add_password(read_hash(digits)?),
            [b'<', password @ ..] => self.remove_password(&hash(password))?,
            [b'!', digits @ ..] => self.remove_password(&read_hash(digits)?)?,
            [b'(', inner @ .., b')'] => {
                let mut selector = Selector::default();
                let rules = inner.split(u8::is_ascii_whitespace);
                for rule in rules.filter(|rule| !rule.is_empty()) {
                    selector.apply(rule)?;
                }
                self.selectors.push(selector);
            }
            rule => self.root.apply(rule)?,
        }
        Ok(())
    }

    fn add_password(&mut self, hash: PasswordHash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.no_password = false;
    }

    fn remove_password(&mut self, hash: &PasswordHash) -> Result<(), RuleError> {
        let before = self.passwords.len();
        self.passwords.retain(|known| known != hash);
        if self.passwords.len() == before {
            return Err(RuleError::NoSuchPassword);
        }
        Ok(())
    }

    /// Whether the user may authenticate with this password.
    pub fn admits(&self, password: &[u8]) -> bool {
        let hash = hash(password);
        let mut is_right = self.no_password;
        for known in &self.passwords {
            is_right |= is_equal(known, &hash);
        }
        self.is_on && is_right
    }

    /// Whether the user may do everything, so that nothing needs to be checked.
    pub fn is_unbound(&self) -> bool {
        self.root.is_unbound()
    }

    /// What speaks against a request, if anything: of several selectors' reasons, the most telling.
    pub fn check(&self, entry: &Entry, args: Args<'_>) -> Result<(), Denial> {
        let mut most_telling: Option<Denial> = None;
        for selector in std::iter::once(&self.root).chain(&self.selectors) {
            let Err(denial) = selector.check(entry, args) else {
                return Ok(());
            };
            let rank = |denial: &Denial| (denial.reason, denial.position);
            if most_telling.is_none_or(|known| rank(&denial) > rank(&known)) {
                most_telling = Some(denial);
            }
        }
        Err(most_telling.expect("the root selector was asked"))
    }

    /// Whether a channel, or a pattern of channels, may be subscribed to.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let mut selectors = std::iter::once(&self.root).chain(&self.selectors);
        selectors.any(|selector| selector.allows_channel(channel, is_pattern))
    }

    /// The rules that give these permissions, as a line.
    pub fn describe(&self) -> Vec<u8> {
        let mut text = String::from(if self.is_on { "on" } else { "off" });
        if self.no_password {
            text += " nopass";
        }
        for hash in &self.passwords {
            text += " #";
            text += &hexadecimal(hash);
        }
        let mut line = text.into_bytes();
        line.push(b' ');
        line.extend(self.root.describe());
        for selector in &self.selectors {
            line.extend(b" (");
            line.extend(selector.describe());
            line.push(b')');
        }
        line
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what is written to it");
        text
    })
}

fn read_hash(digits: &[u8]) -> Result<PasswordHash, RuleError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(RuleError::PasswordHash),
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return Err(RuleError::PasswordHash);
    }
    let mut hash = PasswordHash::default();
    for (byte, &[high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::{DenialReason, RuleError, Rules};
    use crate::command::table;
    use nuthatch_wire::resp::OwnedRequest;

    fn rules(words: &[&str]) -> Rules {
        let mut rules = Rules::default();
        for word in words {
            rules
                .apply(word.as_bytes())
                .unwrap_or_else(|error| panic!("{word}: {error}"));
        }
        rules
    }

    fn check(rules: &Rules, line: &str) -> Option<DenialReason> {
        let request = OwnedRequest::new(line.split(' ').map(str::as_bytes));
        let entry = table().resolve(request.args()).expect("a command");
        let checked = rules.check(entry, request.args());
        checked.err().map(|denial| denial.reason)
    }

    #[test]
    fn commands_are_allowed_by_name_category_and_first_argument() {
        use DenialReason::Command;
        let rules = rules(&["allkeys", "+@read", "-exists", "+config|get", "+select|0"]);
        assert_eq!(check(&rules, "get k"), None);
        assert_eq!(check(&rules, "exists k"), Some(Command));
        assert_eq!(check(&rules, "set k v"), Some(Command));
        assert_eq!(check(&rules, "config get x"), None);
        assert_eq!(check(&rules, "config resetstat"), Some(Command));
        assert_eq!(check(&rules, "select 0"), None);
        assert_eq!(check(&rules, "select 1"), Some(Command));
        assert_eq!(check(&rules, "auth password"), None);
    }

    #[test]
    fn keys_need_the_rights_that_the_command_uses() {
        use DenialReason::Key;
        let rules = rules(&["+@all", "%R~r:*", "%W~w:*", "~both:*"]);
        assert_eq!(check(&rules, "get r:1"), None);
        assert_eq!(check(&rules, "get w:1"), Some(Key));
        assert_eq!(check(&rules, "set w:1 v"), None);
        assert_eq!(check(&rules, "set w:1 v get"), Some(Key));
        assert_eq!(check(&rules, "set r:1 v"), Some(Key));
        assert_eq!(check(&rules, "incr both:1"), None);
        assert_eq!(check(&rules, "del both:1 other"), Some(Key));
    }

    #[test]
    fn one_selector_must_allow_the_whole_request() {
        let rules = rules(&["(+get ~a)", "( +set ~b )"]);
        assert_eq!(check(&rules, "get a"), None);
        assert_eq!(check(&rules, "set b v"), None);
        assert_eq!(check(&rules, "get b"), Some(DenialReason::Key));
        assert_eq!(check(&rules, "incr a"), Some(DenialReason::Command));
    }

    #[test]
    fn passwords_are_kept_as_hashes_and_compared() {
        let mut rules = rules(&["on", ">one", ">two", "<one"]);
        assert!(rules.admits(b"two") && !rules.admits(b"one") && !rules.admits(b""));
        assert_eq!(rules.apply(b"<one"), Err(RuleError::NoSuchPassword));
        assert_eq!(rules.apply(b"#abc"), Err(RuleError::PasswordHash));
        let line = String::from_utf8(rules.describe()).unwrap();
        assert!(!line.contains("two"), "{line}");
        rules.apply(b"off").unwrap();
        assert!(!rules.admits(b"two"));
    }

    #[test]
    fn a_description_gives_the_same_rules() {
        let cases: &[&[&str]] = &[
            &[],
            &["on", "nopass", "allkeys", "allchannels", "+@all"],
            &[
                "on",
                ">pw",
                "~a*",
                "%R~b",
                "&c",
                "+@all",
                "-@hash",
                "-config|set",
            ],
            &["-@all", "+get", "+select|0", "(+@read ~x &y)", "(~*)"],
        ];
        for words in cases {
            let before = rules(words);
            let line = String::from_utf8(before.describe()).unwrap();
            let words = super::super::merge_selectors(line.split(' ').map(str::as_bytes)).unwrap();
            let mut after = Rules::default();
            for word in words {
                after.apply(&word).unwrap_or_else(|error| panic!("{error}"));
            }
            assert_eq!(before, after, "{line}");
        }
    }

    #[test]
    fn later_rules_take_the_place_of_those_that_they_make_void() {
        let commands = |words: &[&str]| rules(words).root.describe_commands();
        let cases: &[(&[&str], &str)] = &[
            (&["+@all", "-@string", "+@string"], "+@all +@string"),
            (&["+GET", "+get", "-set", "+set"], "-@all +get +set"),
            (&["+config|get", "+config"], "-@all +config"),
            (&["+@all", "-get", "-@all"], "-@all"),
            (
                &["+select|0", "+select|0", "+ping"],
                "-@all +select|0 +ping",
            ),
        ];
        for (words, expected) in cases {
            assert_eq!(commands(words), *expected, "{words:?}");
        }
    }

    #[test]
    fn wrong_rules_say_what_is_wrong() {
        let cases: &[(&[&str], RuleError)] = &[
            (&["nonsense"], RuleError::Syntax),
            (&["%~x"], RuleError::Syntax),
            (&["%"], RuleError::Syntax),
            (&["%X~x"], RuleError::Syntax),
            (&["+nonsense"], RuleError::UnknownCommand),
            (&["+@nonsense"], RuleError::UnknownCommand),
            (&["+config|nonsense"], RuleError::UnknownCommand),
            (&["-select|0"], RuleError::UnknownCommand),
            (&["+config|get|x"], RuleError::FirstArgOfSubcommand),
            (&["~*", "~x"], RuleError::KeyAfterAll),
            (&["&*", "&x"], RuleError::ChannelAfterAll),
        ];
        for (words, expected) in cases {
            let mut rules = Rules::default();
            let results: Vec<_> = words
                .iter()
                .map(|word| rules.apply(word.as_bytes()))
                .collect();
            assert_eq!(*results.last().unwrap(), Err(*expected), "{words:?}");
        }
    }
}
