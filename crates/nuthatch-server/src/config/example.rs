//! The settings as a file to begin with: every one with what it does, what it takes and its default,
//! commented out.

use super::{Config, SETTINGS};
use std::fmt::Write;

/// Columns of the file's comments.
const WIDTH: usize = 100;

/// The text of the file.
pub fn example_file() -> String {
    let mut text = "# Settings of Nuthatch. What stands here is the default; remove the # to change it.\n\
         # Each setting is also a flag (--maxmemory 2gb) and a variable (NUTHATCH_MAXMEMORY=2gb); flags\n\
         # win over variables, variables over this file.\n"
        .to_owned();
    let defaults = Config::default();
    for info in SETTINGS {
        let value = defaults.get(info.name).expect("listed settings exist");
        let value = match value.parse::<i64>() {
            Ok(number) => number.to_string(),
            Err(_) => toml_edit::Value::from(value).to_string(),
        };
        let when = if info.is_live {
            "Can be changed with CONFIG SET."
        } else {
            "Read at the start."
        };
        let help = format!("{} It takes {}. {when}", info.help.trim(), info.allowed);
        text.push('\n');
        comment(&mut text, &help);
        writeln!(text, "#{} = {value}", info.name).expect("a string takes all that is written");
    }
    text
}

/// Appends `words` in lines that begin with `#`.
fn comment(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let width = word.chars().count() + 1;
        if column == 0 || column + width > WIDTH {
            text.push_str(if column == 0 { "#" } else { "\n#" });
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, example_file};
    use crate::config::{Config, SETTINGS};

    #[test]
    fn every_line_taken_as_a_setting_gives_the_defaults() {
        let text = example_file();
        let settings: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.starts_with(' '))
            .collect();
        assert_eq!(settings.len(), SETTINGS.len());
        let table: toml::Table = settings.join("\n").parse().unwrap();
        let mut config = Config::default();
        for (name, value) in table {
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                other => panic!("{name} is {other:?}"),
            };
            config.set(&name, &value).unwrap();
        }
        assert_eq!(config, Config::default());
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
