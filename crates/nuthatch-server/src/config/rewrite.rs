//! Settings written back to the file that they were read from, comments and order kept.

use super::{Config, SETTINGS};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use toml_edit::{DocumentMut, value};

/// Writes `config` to `path`: what the file sets already, and what differs from the defaults. The file
/// is replaced as a whole, so a crash leaves the old or the new one.
pub fn rewrite(path: &Path, config: &Config) -> io::Result<()> {
    let text = rewritten(&fs::read_to_string(path)?, config)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    let mut file = File::create(aside)?;
    // It may hold a password: whoever could not read the old one cannot read the new one.
    file.set_permissions(fs::metadata(path)?.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(aside, path)
}

fn rewritten(text: &str, config: &Config) -> io::Result<String> {
    let mut document: DocumentMut = text.parse().map_err(io::Error::other)?;
    let default = Config::default();
    for info in SETTINGS {
        let now = config.get(info.name).expect("listed settings exist");
        let is_default = default.get(info.name).as_deref() == Some(&now);
        match document.get_mut(info.name) {
            Some(item) => {
                let mut read = Config::default();
                let was = super::layers::text_of_item(item);
                let is_same = was.is_some_and(|was| {
                    read.set(info.name, &was).is_ok() && read.get(info.name).as_ref() == Some(&now)
                });
                if !is_same {
                    let mut new = value(now);
                    if let (Some(old), Some(new)) = (item.as_value(), new.as_value_mut()) {
                        *new.decor_mut() = old.decor().clone();
                    }
                    *item = new;
                }
            }
            None if !is_default => document[info.name] = value(now),
            None => {}
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::rewritten;
    use crate::config::Config;

    #[test]
    fn comments_stay_and_only_what_changed_is_written() {
        let mut config = Config::default();
        for (name, text) in [("maxmemory", "2gb"), ("port", "7000"), ("timeout", "5")] {
            config.set(name, text).unwrap();
        }
        let before = "# ours\nmaxmemory = \"2gb\" # two\nport = 1 # why\n";
        assert_eq!(
            rewritten(before, &config).unwrap(),
            "# ours\nmaxmemory = \"2gb\" # two\nport = \"7000\" # why\ntimeout = \"5\"\n"
        );
    }

    #[test]
    fn a_setting_that_went_back_to_its_default_is_written_where_the_file_has_it() {
        let text = rewritten("timeout = 5\n", &Config::default()).unwrap();
        assert_eq!(text, "timeout = \"0\"\n");
    }
}
