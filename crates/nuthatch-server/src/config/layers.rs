//! Where settings come from: defaults, a file, the environment, the command line.

use super::{Config, SETTINGS, SettingError, info};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a setting's value comes from. Later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The program.
    Default,
    /// `nuthatch.toml`.
    File,
    /// `NUTHATCH_...`.
    Environment,
    /// The command line.
    Flag,
    /// `CONFIG SET`.
    Client,
}

impl Origin {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
            Self::Client => "CONFIG SET",
        }
    }
}

/// What went wrong while the layers were read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The file could not be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A setting was not taken.
    #[error("{source_name}: {error}")]
    Setting {
        /// The layer: a file's name, a variable, a flag.
        source_name: String,
        /// Why.
        error: SettingError,
    },
}

/// The layers, put together.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    config: Config,
    file: Option<PathBuf>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Layers {
    /// The values, each from the highest layer that has it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file that was read, if one was.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Where the value of `name` comes from.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).copied().unwrap_or(Origin::Default)
    }

    /// Where values come from that are not the defaults.
    pub fn origins(&self) -> impl Iterator<Item = (&'static str, Origin)> + '_ {
        self.origins.iter().map(|(&name, &origin)| (name, origin))
    }

    /// Sets one value, unless a higher layer has set it.
    pub fn set(&mut self, origin: Origin, name: &str, text: &str) -> Result<(), SettingError> {
        let name = info(name)?.name;
        if self.origin(name) > origin {
            // Checked all the same: a mistake that is hidden today surprises tomorrow.
            return self.config.clone().set(name, text);
        }
        self.config.set(name, text)?;
        self.origins.insert(name, origin);
        Ok(())
    }

    /// Reads a file.
    pub fn read_file(&mut self, path: &Path) -> Result<(), LayerError> {
        let text = std::fs::read_to_string(path).map_err(|error| LayerError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        self.file = Some(path.to_owned());
        self.read_toml(&path.display().to_string(), &text)
    }

    fn read_toml(&mut self, path: &str, text: &str) -> Result<(), LayerError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let error = error.to_string();
            LayerError::File {
                path: path.to_owned(),
                reason: error.trim_end().to_owned(),
            }
        })?;
        for (name, value) in &table {
            let text = text_of(value).ok_or_else(|| LayerError::File {
                path: path.to_owned(),
                reason: format!("{name} must be text, a number, true, false or a list of those"),
            })?;
            self.set(Origin::File, name, &text)
                .map_err(|error| LayerError::Setting {
                    source_name: path.to_owned(),
                    error,
                })?;
        }
        Ok(())
    }

    /// Reads the variables that begin with `NUTHATCH_`; `NUTHATCH_CONFIG` is the file's path and no
    /// setting.
    pub fn read_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), LayerError> {
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix("NUTHATCH_") else {
                continue;
            };
            if name == "CONFIG" {
                continue;
            }
            let name = name.to_ascii_lowercase().replace('_', "-");
            self.set(Origin::Environment, &name, &value)
                .map_err(|error| LayerError::Setting {
                    source_name: variable.clone(),
                    error,
                })?;
        }
        Ok(())
    }

    /// All settings with their values as text, secrets hidden, and where they come from.
    pub fn describe(&self) -> Vec<(&'static str, String, Origin)> {
        SETTINGS
            .iter()
            .map(|info| {
                let value = self.config.get(info.name).expect("listed settings exist");
                let value = if info.is_secret && !value.is_empty() {
                    "(hidden)".to_owned()
                } else {
                    value
                };
                (info.name, value, self.origin(info.name))
            })
            .collect()
    }
}

/// As [`text_of`], of a file's item that keeps its form.
pub(super) fn text_of_item(item: &toml_edit::Item) -> Option<String> {
    let text = format!("it = {}", item.as_value()?.clone().decorated("", ""));
    let table: toml::Table = text.parse().ok()?;
    text_of(&table["it"])
}

fn text_of(value: &toml::Value) -> Option<String> {
    Some(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(value) => if *value { "yes" } else { "no" }.to_owned(),
        toml::Value::Array(values) => {
            let words: Option<Vec<String>> = values.iter().map(text_of).collect();
            words?.join(" ")
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Layers, Origin};

    #[test]
    fn the_higher_layer_wins_whatever_is_read_first() {
        let mut layers = Layers::default();
        layers.set(Origin::Flag, "port", "1").unwrap();
        layers
            .read_environment([
                ("NUTHATCH_PORT".to_owned(), "2".to_owned()),
                ("NUTHATCH_MAXMEMORY".to_owned(), "1gb".to_owned()),
                ("HOME".to_owned(), "/".to_owned()),
            ])
            .unwrap();
        layers
            .read_toml("f.toml", "port = 3\nmaxmemory = \"2gb\"\nthreads = 4")
            .unwrap();
        assert_eq!(layers.config().port, 1);
        assert_eq!(layers.config().maxmemory.0, 1 << 30);
        assert_eq!(layers.config().threads, 4);
        assert_eq!(layers.origin("maxmemory"), Origin::Environment);
        assert_eq!(layers.origin("timeout"), Origin::Default);
    }

    #[test]
    fn mistakes_name_their_layer_even_where_another_wins() {
        let mut layers = Layers::default();
        layers.set(Origin::Flag, "port", "1").unwrap();
        let error = layers.read_toml("f.toml", "port = \"x\"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "f.toml: port: 'x' is not allowed: it takes a whole number from 0 to 65535"
        );
        let error = layers
            .read_environment([("NUTHATCH_PROT".to_owned(), "2".to_owned())])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "NUTHATCH_PROT: unknown setting 'prot', did you mean 'port'?"
        );
    }
}
