//! Users and what they may do.
//!
//! A connection belongs to a [`User`] that it shares with the registry, so a change of the user's rules
//! holds for its connections from their next request on. A user who may do everything costs a request
//! one look at a flag.

mod denials;
mod rules;

pub use denials::{Context as DenialContext, Denials, Record, Refusal};
pub use rules::{Denial, DenialReason, PasswordHash, Rules, Selector, hash, hexadecimal};

use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The user that connections belong to before they authenticate as another.
pub const DEFAULT_USER: &[u8] = b"default";

/// Why a rule was not taken. The texts are Redis'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is no rule.
    #[error("Syntax error")]
    Syntax,
    /// It names a command or a category that is not there.
    #[error("Unknown command or category name in ACL")]
    UnknownCommand,
    /// It gives a pattern of keys to who may use all keys.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
         have any effect. Try 'resetkeys' to start with an empty list of patterns"
    )]
    KeyAfterAll,
    /// It gives a pattern of channels to who may use all channels.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not \
         have any effect. Try 'resetchannels' to start with an empty list of channels"
    )]
    ChannelAfterAll,
    /// It removes a password that is not there.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// It gives a hash that is none.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal \
         characters"
    )]
    PasswordHash,
    /// It names the argument of a subcommand.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
}

/// Why a user was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A rule was not taken.
    #[error("Error in ACL SETUSER modifier '{rule}': {error}")]
    Rule {
        /// As it was given, without a password.
        rule: String,
        /// Why.
        error: RuleError,
    },
    /// A selector is not closed.
    #[error("Unmatched parenthesis in acl selector starting at '{0}'.")]
    Unmatched(String),
    /// The name cannot be written in a line of rules.
    #[error("Usernames can't contain spaces or null characters")]
    Name,
}

/// A user, as the registry and the user's connections share it.
#[derive(Debug)]
pub struct User {
    name: Vec<u8>,
    rules: RwLock<Arc<Rules>>,
    /// Whether the rules allow everything.
    is_unbound: AtomicBool,
}

impl User {
    fn new(name: &[u8], rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_vec(),
            is_unbound: AtomicBool::new(rules.is_unbound()),
            rules: RwLock::new(Arc::new(rules)),
        })
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether nothing needs to be checked.
    #[inline]
    pub fn is_unbound(&self) -> bool {
        self.is_unbound.load(Ordering::Relaxed)
    }

    /// The rules at present.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    fn set_rules(&self, rules: Rules) {
        let mut current = self.rules.write();
        self.is_unbound.store(rules.is_unbound(), Ordering::Relaxed);
        *current = Arc::new(rules);
    }
}

/// What users' connections must hear of when the users were read from a file.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// The names of users who are no longer there.
    pub gone: Vec<Vec<u8>>,
    /// Users whose rules are others now.
    pub changed: Vec<Arc<User>>,
}

/// All users, by name, and what they were refused.
#[derive(Debug)]
pub struct Acl {
    users: RwLock<BTreeMap<Vec<u8>, Arc<User>>>,
    default: Arc<User>,
    /// What users were refused.
    pub denials: Denials,
}

impl Acl {
    /// The default user alone, who needs this password, unless it is empty.
    pub fn new(password: &str) -> Self {
        let default = User::new(DEFAULT_USER, Rules::unbound());
        let acl = Self {
            users: RwLock::new(BTreeMap::from([(
                DEFAULT_USER.to_vec(),
                Arc::clone(&default),
            )])),
            default,
            denials: Denials::default(),
        };
        acl.set_default_password(password);
        acl
    }

    /// The default user.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Whether connections may do something before they authenticate.
    pub fn default_user_is_open(&self) -> bool {
        let rules = self.default.rules();
        rules.is_on && rules.no_password
    }

    /// Whether the default user needs a password.
    pub fn default_user_has_password(&self) -> bool {
        !self.default.rules().no_password
    }

    /// The default user needs this password alone from now on; none if it is empty.
    pub fn set_default_password(&self, password: &str) {
        let mut rules = Rules::clone(&self.default.rules());
        rules.no_password = password.is_empty();
        rules.passwords = match password {
            "" => Vec::new(),
            password => vec![hash(password.as_bytes())],
        };
        self.default.set_rules(rules);
    }

    /// The user of this name.
    pub fn user(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.read().get(name).cloned()
    }

    /// All users, by name.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.users.read().values().cloned().collect()
    }

    /// The user of this name, if the password is right.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        let user = self.user(name)?;
        user.rules().admits(password).then_some(user)
    }

    /// Changes a user by all of these rules, or by none; makes one who is not there.
    pub fn set_user<'a>(
        &self,
        name: &[u8],
        rules: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Arc<User>, UserError> {
        let words = merge_selectors(rules)?;
        if is_unwritable(name) {
            return Err(UserError::Name);
        }
        let mut users = self.users.write();
        let user = users.get(name).cloned();
        let mut rules = match &user {
            Some(user) => Rules::clone(&user.rules()),
            None => Rules::default(),
        };
        apply_all(&mut rules, &words)?;
        if let Some(user) = user {
            user.set_rules(rules);
            return Ok(user);
        }
        let user = User::new(name, rules);
        users.insert(name.to_vec(), Arc::clone(&user));
        Ok(user)
    }

    /// Removes a user, whose connections the caller closes. The default user stays.
    pub fn remove_user(&self, name: &[u8]) -> bool {
        name != DEFAULT_USER && self.users.write().remove(name).is_some()
    }

    /// The rules of all users, a line each.
    pub fn describe(&self) -> Vec<Vec<u8>> {
        let line = |user: &Arc<User>| {
            let rules = user.rules().describe();
            [b"user ", user.name(), b" ", &rules].concat()
        };
        self.users.read().values().map(line).collect()
    }

    /// Makes the users those of a file, all of them or none.
    pub fn load(&self, path: &Path) -> Result<Reloaded, String> {
        let shown = path.display();
        let text = fs::read(path)
            .map_err(|error| format!("Error loading ACLs, opening file '{shown}': {error}"))?;
        let mut loaded = read_lines(&shown.to_string(), &text)?;
        let default = loaded.remove(DEFAULT_USER);
        let mut users = self.users.write();
        let mut reloaded = Reloaded::default();
        for (name, user) in users.iter() {
            let is_default = name == DEFAULT_USER;
            let new = if is_default {
                default.as_ref()
            } else {
                loaded.get(name)
            };
            match new {
                Some(new) if *new != *user.rules() => reloaded.changed.push(Arc::clone(user)),
                None if !is_default => reloaded.gone.push(name.clone()),
                _ => {}
            }
        }
        if let Some(rules) = default {
            self.default.set_rules(rules);
        }
        // Who was there keeps the user that connections hold.
        let before = std::mem::take(&mut *users);
        users.insert(DEFAULT_USER.to_vec(), Arc::clone(&self.default));
        for (name, rules) in loaded {
            let user = match before.get(&name) {
                Some(user) => {
                    user.set_rules(rules);
                    Arc::clone(user)
                }
                None => User::new(&name, rules),
            };
            users.insert(name, user);
        }
        Ok(reloaded)
    }

    /// Writes all users to a file, which is replaced as a whole.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".new");
        let mut file = fs::File::create(&aside)?;
        for line in self.describe() {
            file.write_all(&line)?;
            file.write_all(b"\n")?;
        }
        file.sync_all()?;
        fs::rename(&aside, path)
    }
}

fn is_unwritable(name: &[u8]) -> bool {
    name.iter()
        .any(|byte| byte.is_ascii_whitespace() || *byte == 0)
}

fn apply_all(rules: &mut Rules, words: &[Vec<u8>]) -> Result<(), UserError> {
    for word in words {
        rules.apply(word).map_err(|error| UserError::Rule {
            rule: shown(word),
            error,
        })?;
    }
    Ok(())
}

/// A rule as errors quote it: passwords and hashes of passwords are left out.
fn shown(rule: &[u8]) -> String {
    match rule {
        [mark @ (b'>' | b'<' | b'#' | b'!'), ..] => format!("{}(hidden)", char::from(*mark)),
        rule => String::from_utf8_lossy(rule).into_owned(),
    }
}

/// Puts the words of a selector together that was given as several.
fn merge_selectors<'a>(
    words: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Vec<u8>>, UserError> {
    let mut merged = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for word in words {
        match &mut open {
            Some(selector) => {
                selector.push(b' ');
                selector.extend(word);
            }
            None if word.starts_with(b"(") => open = Some(word.to_vec()),
            None => {
                merged.push(word.to_vec());
                continue;
            }
        }
        if word.ends_with(b")") {
            merged.extend(open.take());
        }
    }
    match open {
        Some(selector) => Err(UserError::Unmatched(
            String::from_utf8_lossy(selector.split(|byte| *byte == b' ').next().unwrap_or(b""))
                .into_owned(),
        )),
        None => Ok(merged),
    }
}

/// The users that a file describes.
fn read_lines(path: &str, text: &[u8]) -> Result<BTreeMap<Vec<u8>, Rules>, String> {
    let mut users = BTreeMap::new();
    let mut errors = Vec::new();
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let (Some(b"user"), Some(name)) = (words.next(), words.next()) else {
            errors.push(format!(
                "{path}:{number}: line should start with user keyword followed by the username"
            ));
            continue;
        };
        let mut rules = Rules::default();
        let applied = merge_selectors(words).and_then(|words| apply_all(&mut rules, &words));
        if let Err(error) = applied {
            errors.push(format!("{path}:{number}: {error}"));
        }
        if users.insert(name.to_vec(), rules).is_some() {
            let name = String::from_utf8_lossy(name);
            errors.push(format!("{path}:{number}: Duplicate user '{name}' found"));
        }
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.push(
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
            .to_owned(),
    );
    Err(errors.join(". "))
}

#[cfg(test)]
mod tests {
    use super::{Acl, UserError};
    use std::fs;

    #[test]
    fn a_user_changes_by_all_rules_or_by_none() {
        let acl = Acl::new("");
        acl.set_user(b"a", [&b"on"[..], b"nopass"]).unwrap();
        let before = acl.describe();
        let error = acl.set_user(b"a", [&b"off"[..], b"nonsense"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Error in ACL SETUSER modifier 'nonsense': Syntax error"
        );
        assert_eq!(acl.set_user(b"a b", []).unwrap_err(), UserError::Name);
        assert!(matches!(
            acl.set_user(b"c", [&b"(+get"[..]]).unwrap_err(),
            UserError::Unmatched(_)
        ));
        assert_eq!(acl.describe(), before);
    }

    #[test]
    fn errors_tell_no_secret() {
        let acl = Acl::new("");
        let error = acl.set_user(b"a", [&b"<secret"[..]]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn connections_feel_a_change_of_their_user() {
        let acl = Acl::new("");
        let held = acl.default_user().clone();
        assert!(held.is_unbound() && acl.default_user_is_open());
        acl.set_user(b"default", [&b"-get"[..]]).unwrap();
        assert!(!held.is_unbound());
        acl.set_default_password("secret");
        assert!(!acl.default_user_is_open());
        assert!(acl.authenticate(b"default", b"secret").is_some());
        assert!(acl.authenticate(b"default", b"secreT").is_none());
        assert!(!acl.remove_user(b"default"));
    }

    #[test]
    fn what_is_saved_is_loaded_and_mistakes_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.acl");
        let acl = Acl::new("secret");
        acl.set_user(b"a", [&b"on"[..], b">pw", b"~x", b"(+get", b"%R~y)"])
            .unwrap();
        acl.save(&path).unwrap();
        let other = Acl::new("");
        other.set_user(b"gone", []).unwrap();
        let reloaded = other.load(&path).unwrap();
        assert_eq!(reloaded.gone, [b"gone"]);
        let changed: Vec<_> = reloaded.changed.iter().map(|user| user.name()).collect();
        assert_eq!(changed, [b"default"]);
        assert_eq!(other.describe(), acl.describe());
        let again = other.load(&path).unwrap();
        assert!(again.gone.is_empty() && again.changed.is_empty());

        fs::write(
            &path,
            "# comment\n\nuser b on\nuser c nonsense\nuser b\nx\n",
        )
        .unwrap();
        let error = other.load(&path).unwrap_err();
        for part in [
            ":4: Error in ACL",
            ":5: Duplicate user 'b'",
            ":6: line should",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(other.describe(), acl.describe());
    }
}
