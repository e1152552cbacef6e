//! How durability is doing in words: one sentence for dashboard, terminal and health checks, and how bad it
//! is.

use super::{Admission, Figures, Outcome};
use crate::config::SyncPolicy;
use serde::{Deserialize, Serialize};

/// How much attention it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is kept, as the settings say.
    #[default]
    Off,
    /// All is well.
    Good,
    /// What is on disk is being loaded.
    Busy,
    /// Something is wrong, and no write is lost or refused by it so far.
    Warn,
    /// Writes are refused, or not kept.
    Bad,
}

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// How much attention it needs.
    pub health: Severity,
    /// What it is.
    pub state: String,
}

impl Condition {
    /// What these figures mean: the worst of it.
    pub fn of(figures: &Figures) -> Self {
        let say = |health, state: &str| Self {
            health,
            state: state.to_owned(),
        };
        if !figures.is_on {
            return say(
                Severity::Off,
                "Nothing is kept on disk, so the cache is empty after a restart. Set data-dir to keep it.",
            );
        }
        if figures.is_loading {
            let part = figures.loaded_part() * 100.0;
            let state = format!("What is on disk is being loaded: {part:.0} % done.");
            return say(Severity::Busy, &state);
        }
        let error = figures.last_error.as_ref();
        let cause = error.map_or_else(String::new, |(text, _)| format!(" ({text})"));
        match (figures.admission, &figures.last_write, &figures.last_save) {
            (Admission::Refused, ..) => {
                let state = format!("Writes are refused, for the disk has failed{cause}.");
                say(Severity::Bad, &state)
            }
            (Admission::Unprotected, ..) => {
                let state = format!(
                    "Writes are taken, and a restart would lose them, for the disk has failed{cause}."
                );
                say(Severity::Bad, &state)
            }
            (Admission::Waiting, ..) => say(
                Severity::Warn,
                "Writes wait until the disk has caught up with them.",
            ),
            (Admission::Open, Outcome::Failed(why), _) => {
                let state = format!("The log could not be written ({why}); it is tried again.");
                say(Severity::Warn, &state)
            }
            (Admission::Open, Outcome::Well, Outcome::Failed(why)) => say(
                Severity::Warn,
                &format!("The last snapshot has failed ({why})."),
            ),
            (Admission::Open, Outcome::Well, Outcome::Well) => {
                say(Severity::Good, promise(figures))
            }
        }
    }

    /// Whether people should be told wherever they look.
    pub fn is_alarming(&self) -> bool {
        matches!(self.health, Severity::Busy | Severity::Warn | Severity::Bad)
    }
}

/// What a write may rely on while all is well.
fn promise(figures: &Figures) -> &'static str {
    if !figures.is_logging {
        return "Snapshots are kept; a crash loses what has changed since the last one.";
    }
    match figures.sync_policy {
        SyncPolicy::Always => "Every write is on disk before it is answered.",
        SyncPolicy::EverySec => "Every write is logged, and on disk within a second or so.",
        SyncPolicy::No => "Every write is logged, and on disk when the system sees fit.",
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Severity};
    use crate::config::SyncPolicy;
    use crate::durability::{Admission, Figures, Outcome};

    /// One fault after the other, each worse than those before it.
    #[test]
    fn the_worst_is_told_first() {
        let mut figures = Figures::default();
        let mut says = |change: fn(&mut Figures), health, words: &str| {
            change(&mut figures);
            let condition = Condition::of(&figures);
            assert_eq!(condition.health, health, "{condition:?}");
            assert!(
                condition.state.contains(words),
                "{condition:?} lacks {words}"
            );
            let is_calm = matches!(health, Severity::Off | Severity::Good);
            assert_eq!(condition.is_alarming(), !is_calm);
        };
        says(|_| {}, Severity::Off, "data-dir");
        says(|all| all.is_on = true, Severity::Good, "since the last");
        says(
            |all| all.is_logging = true,
            Severity::Good,
            "when the system",
        );
        let soon = |all: &mut Figures| all.sync_policy = SyncPolicy::EverySec;
        says(soon, Severity::Good, "a second");
        let always = |all: &mut Figures| all.sync_policy = SyncPolicy::Always;
        says(always, Severity::Good, "before it is answered");
        let unsaved = |all: &mut Figures| all.last_save = Outcome::Failed("no room".to_owned());
        says(unsaved, Severity::Warn, "snapshot has failed (no room)");
        let unwritten = |all: &mut Figures| all.last_write = Outcome::Failed("torn".to_owned());
        says(unwritten, Severity::Warn, "log could not be written (torn)");
        says(
            |all| all.admission = Admission::Waiting,
            Severity::Warn,
            "wait",
        );
        let serving = |all: &mut Figures| all.admission = Admission::Unprotected;
        says(serving, Severity::Bad, "a restart would lose them");
        let refusing = |all: &mut Figures| {
            all.admission = Admission::Refused;
            all.last_error = Some(("the disk is full".to_owned(), 7));
        };
        says(
            refusing,
            Severity::Bad,
            "refused, for the disk has failed (the disk is full).",
        );
        let loading = |all: &mut Figures| {
            all.is_loading = true;
            all.loading_total_bytes = 200;
            all.loading_loaded_bytes = 50;
        };
        says(loading, Severity::Busy, "25 %");
    }
}
