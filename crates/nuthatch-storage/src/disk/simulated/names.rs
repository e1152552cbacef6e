//! The names of a directory, and which of their changes a crash may keep.
//!
//! Until the names are synced, every change survives by itself, or not, as long as what it changed is there:
//! a rename does not survive without the creation of the file.

use std::collections::BTreeMap;

use fastrand::Rng;

/// What a name stands for: a file as long as anything needs it.
pub(super) type FileId = u64;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// As processes see them.
    current: BTreeMap<String, FileId>,
    /// As they were when they were last synced.
    settled: BTreeMap<String, FileId>,
    /// What has happened since.
    changes: Vec<Change>,
}

/// What one operation did: names, with what they stood for before and after it.
type Change = Vec<(String, Option<FileId>, Option<FileId>)>;

impl Names {
    pub(super) fn settled(names: BTreeMap<String, FileId>) -> Self {
        Self {
            current: names.clone(),
            settled: names,
            changes: Vec::new(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<FileId> {
        self.current.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, FileId)> {
        self.current
            .iter()
            .map(|(name, file)| (name.as_str(), *file))
    }

    /// Whether the file may be found again, now or after a crash.
    pub(super) fn needs(&self, file: FileId) -> bool {
        let changed = |change: &Change| change.iter().any(|(_, _, after)| *after == Some(file));
        self.settled.values().any(|settled| *settled == file) || self.changes.iter().any(changed)
    }

    pub(super) fn create(&mut self, name: &str, file: FileId) {
        self.change(vec![(name.to_owned(), None, Some(file))]);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.change(vec![(name.to_owned(), self.get(name), None)]);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let file = self.get(from);
        if from != to {
            self.change(vec![
                (from.to_owned(), file, None),
                (to.to_owned(), self.get(to), file),
            ]);
        }
    }

    fn change(&mut self, change: Change) {
        let possible = apply(&mut self.current, &change);
        assert!(possible, "a change of what is there: {change:?}");
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.settled.clone_from(&self.current);
        self.changes.clear();
    }

    /// What a crash leaves.
    pub(super) fn crash(&self, rng: &mut Rng) -> Self {
        let survives = [0.0, 0.5, 0.9, 1.0][rng.usize(0..4)];
        let mut left = self.settled.clone();
        for change in &self.changes {
            if rng.f64() < survives {
                apply(&mut left, change);
            }
        }
        Self::settled(left)
    }
}

/// Does a change if all is as it was before it.
fn apply(names: &mut BTreeMap<String, FileId>, change: &Change) -> bool {
    let possible = change
        .iter()
        .all(|(name, before, _)| names.get(name) == before.as_ref());
    if possible {
        for (name, _, after) in change {
            match after {
                Some(file) => names.insert(name.clone(), *file),
                None => names.remove(name),
            };
        }
    }
    possible
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All that crashes may leave, as `name=file` in the order of names.
    fn left(names: &Names) -> BTreeSet<String> {
        let crash = |seed| {
            let left = names.crash(&mut Rng::with_seed(seed));
            let entries: Vec<_> = left
                .iter()
                .map(|(name, file)| format!("{name}={file}"))
                .collect();
            entries.join(" ")
        };
        (0..1_000).map(crash).collect()
    }

    fn set<const N: usize>(all: [&str; N]) -> BTreeSet<String> {
        all.map(str::to_owned).into()
    }

    #[test]
    fn changes_survive_each_by_itself_until_they_are_synced() {
        let mut names = Names::default();
        names.create("a", 1);
        names.create("b", 2);
        assert_eq!(left(&names), set(["", "a=1", "b=2", "a=1 b=2"]));
        names.sync();
        assert_eq!(left(&names), set(["a=1 b=2"]));
        names.remove("a");
        names.create("c", 3);
        assert_eq!(
            left(&names),
            set(["a=1 b=2", "b=2", "a=1 b=2 c=3", "b=2 c=3"])
        );
    }

    #[test]
    fn rename_survives_only_with_what_it_renamed_and_replaced() {
        let mut names = Names::default();
        names.create("tmp", 1);
        names.rename("tmp", "a");
        assert_eq!(left(&names), set(["", "tmp=1", "a=1"]));
        names.sync();
        names.rename("a", "old");
        names.create("tmp", 2);
        names.rename("tmp", "a");
        let all = left(&names);
        assert!(all.iter().all(|names| names.contains("=1")), "{all:?}");
        assert!(all.contains("a=2 old=1"));
    }

    #[test]
    fn files_are_needed_as_long_as_a_crash_may_bring_them_back() {
        let mut names = Names::default();
        names.create("a", 1);
        names.sync();
        names.remove("a");
        assert_eq!(names.get("a"), None);
        assert!(names.needs(1));
        names.sync();
        assert!(!names.needs(1));
    }
}
