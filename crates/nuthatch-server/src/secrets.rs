//! Which arguments must never be kept or shown.

use crate::command::{self, Entry};
use crate::config;
use nuthatch_wire::resp::Args;

/// What stands in a secret's place.
pub const REDACTED: &str = "(redacted)";

/// Settings of Redis with secrets that this server does not have, but that clients may try to set.
const FOREIGN_SECRETS: [&str; 6] = [
    "masterauth",
    "masteruser",
    "primaryauth",
    "primaryuser",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
];

/// Whether an argument may be a password, or give one away: names and rules of users, passwords,
/// secret settings.
pub fn is_secret(entry: &Entry, args: Args<'_>, index: usize) -> bool {
    match entry.full_name.as_str() {
        "auth" => index >= 1,
        "hello" => {
            let is_auth = |at: usize| at >= 2 && command::is_word(args.at(at), "AUTH");
            (index >= 1 && is_auth(index - 1)) || (index >= 2 && is_auth(index - 2))
        }
        "acl|setuser" | "acl|getuser" | "acl|deluser" => index >= 2,
        "config|set" => index >= 3 && index % 2 == 1 && is_secret_setting(args.at(index - 1)),
        _ => false,
    }
}

fn is_secret_setting(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    config::info(&name).is_ok_and(|info| info.is_secret)
        || FOREIGN_SECRETS
            .iter()
            .any(|secret| secret.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::is_secret;
    use crate::command::table;
    use nuthatch_wire::resp::OwnedRequest;

    #[test]
    fn passwords_and_what_gives_them_away_are_secret() {
        let cases = [
            ("auth PW", "auth *"),
            ("auth user PW", "auth * *"),
            (
                "hello 3 AUTH user PW SETNAME n",
                "hello 3 AUTH * * SETNAME n",
            ),
            ("acl setuser bob >pw", "acl setuser * *"),
            ("acl whoami", "acl whoami"),
            (
                "config set timeout 1 RequirePass pw masterauth pw",
                "config set timeout 1 RequirePass * masterauth *",
            ),
            ("set requirepass pw", "set requirepass pw"),
        ];
        for (line, expected) in cases {
            let request = OwnedRequest::new(line.split(' ').map(str::as_bytes));
            let args = request.args();
            let entry = table().resolve(args).expect("a command");
            let shown: Vec<&str> = line
                .split(' ')
                .enumerate()
                .map(|(index, word)| {
                    if is_secret(entry, args, index) {
                        "*"
                    } else {
                        word
                    }
                })
                .collect();
            assert_eq!(shown.join(" "), expected);
        }
    }
}
