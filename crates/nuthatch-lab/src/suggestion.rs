//! What to say of a name that nothing has: what was probably meant, and what there is.

use strsim::{jaro, osa_distance};

/// Names at least this much alike are taken for one another, and so are those that one slip of a
/// finger turns into each other, which short names may be without being much alike.
const ALIKE: f64 = 0.8;
/// The most names that may have been meant.
const MOST: usize = 3;

/// Says that there is no such `kind` of thing, and which `names` there are. What follows a name in
/// brackets belongs to its listing only.
pub(crate) fn unknown<S: AsRef<str>>(kind: &str, name: &str, names: &[S]) -> String {
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    let listed = names.join(", ");
    if name.is_empty() {
        return format!("the name of a {kind} is missing; there are {listed}");
    }
    let plain = names
        .iter()
        .map(|name| name.split('[').next().unwrap_or(name));
    let is_near = |other: &&str| jaro(name, other) >= ALIKE || osa_distance(name, other) == 1;
    let mut near: Vec<_> = plain.filter(is_near).collect();
    near.sort_by_key(|other| osa_distance(name, other));
    near.truncate(MOST);
    if near.is_empty() {
        return format!("there is no {kind} {name:?}; there are {listed}");
    }
    let near = near.join(" or ");
    format!("there is no {kind} {name:?}; did you mean {near}? There are {listed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["lru", "slru[:protected]", "s3_fifo", "sieve"];

    #[test]
    fn a_slip_is_answered_by_what_was_meant() {
        let text = unknown("policy", "lur", &NAMES);
        assert!(text.contains("did you mean lru"), "{text}");
        let text = unknown("policy", "s3fifo", &NAMES);
        assert!(text.contains("did you mean s3_fifo?"), "{text}");
        assert!(
            text.ends_with("lru, slru[:protected], s3_fifo, sieve"),
            "{text}"
        );
    }

    #[test]
    fn a_name_unlike_all_others_is_answered_by_the_list_alone() {
        assert_eq!(
            unknown("policy", "random", &["lru", "sieve"]),
            "there is no policy \"random\"; there are lru, sieve"
        );
    }

    #[test]
    fn no_name_is_not_a_strange_one() {
        assert_eq!(
            unknown("policy", "", &["lru"]),
            "the name of a policy is missing; there are lru"
        );
    }
}
