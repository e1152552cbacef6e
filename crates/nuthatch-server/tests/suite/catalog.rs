//! What `COMMAND` tells of the table.

use crate::harness::{Running, Value};

fn map(value: &Value) -> Vec<(String, Value)> {
    let Value::Map(pairs) = value else {
        panic!("a map was expected, not {value}");
    };
    let pair = |(name, value): &(Value, Value)| (name.text(), value.clone());
    pairs.iter().map(pair).collect()
}

fn field(value: &Value, name: &str) -> Value {
    let found = map(value).into_iter().find(|(key, _)| key == name);
    found.unwrap_or_else(|| panic!("no {name} in {value}")).1
}

#[test]
fn info_has_the_shape_that_clients_read() {
    let server = Running::start();
    let mut client = server.client();
    client.call("HELLO 3");
    client.check(&[
        (
            "COMMAND INFO get",
            "[[\"get\", :2, ~[+readonly, +fast], :1, :1, :1, ~[+@read, +@string, +@fast], ~[], \
             ~[{\"flags\": ~[+RO, +access], \"begin_search\": {\"type\": \"index\", \"spec\": \
             {\"index\": :1}}, \"find_keys\": {\"type\": \"range\", \"spec\": {\"lastkey\": :0, \
             \"keystep\": :1, \"limit\": :0}}}], []]]",
        ),
        ("COMMAND INFO no-such-command get|x", "[nil, nil]"),
    ]);
    let container = client.call("COMMAND INFO cluster");
    let subcommands = &container.elements()[0].elements()[9];
    let names: Vec<String> = subcommands
        .elements()
        .iter()
        .map(|sub| sub.elements()[0].text())
        .collect();
    assert!(names.contains(&"cluster|info".to_owned()), "{names:?}");
    let sub = client.call("COMMAND INFO cluster|info");
    assert_eq!(sub.elements()[0].elements()[0].text(), "cluster|info");
}

#[test]
fn the_whole_table_is_told_without_subcommands_at_the_top() {
    let server = Running::start();
    let mut client = server.client();
    let all = client.call("COMMAND");
    let count = client.call("COMMAND COUNT").integer();
    assert_eq!(all.elements().len() as i64, count);
    assert_eq!(client.call("COMMAND INFO").elements().len() as i64, count);
    let listed = client.call("COMMAND LIST").elements().len() as i64;
    assert!(listed > count, "{listed} with subcommands, {count} without");
    for entry in all.elements() {
        assert!(!entry.elements()[0].text().contains('|'));
    }
}

#[test]
fn lists_are_filtered_by_category_and_pattern() {
    let server = Running::start();
    server.client().check(&[
        ("COMMAND LIST FILTERBY PATTERN gEt", "[\"get\"]"),
        (
            "COMMAND LIST FILTERBY PATTERN cluster|*nodes",
            "[\"cluster|nodes\"]",
        ),
        ("COMMAND LIST FILTERBY ACLCAT nonsense", "[]"),
        ("COMMAND LIST FILTERBY MODULE any", "[]"),
        ("COMMAND LIST nonsense", "-ERR syntax error"),
        ("COMMAND LIST FILTERBY nonsense x", "-ERR syntax error"),
    ]);
    let reads = server.client().call("COMMAND LIST FILTERBY ACLCAT read");
    let reads = reads.to_string();
    assert!(
        reads.contains("\"get\"") && !reads.contains("\"set\""),
        "{reads}"
    );
}

#[test]
fn keys_of_requests_are_found_with_what_is_done_to_them() {
    let server = Running::start();
    server.client().check(&[
        ("COMMAND GETKEYS get k", "[\"k\"]"),
        ("COMMAND GETKEYS del a b c", "[\"a\", \"b\", \"c\"]"),
        (
            "COMMAND GETKEYSANDFLAGS set k v",
            "[[\"k\", [+OW, +update]]]",
        ),
        (
            "COMMAND GETKEYSANDFLAGS set k v GET",
            "[[\"k\", [+RW, +access, +update]]]",
        ),
        ("COMMAND GETKEYSANDFLAGS get k", "[[\"k\", [+RO, +access]]]"),
        (
            "COMMAND GETKEYS nonsense k",
            "-ERR Invalid command specified",
        ),
        (
            "COMMAND GETKEYS ping",
            "-ERR The command has no key arguments",
        ),
        (
            "COMMAND GETKEYS get a b",
            "-ERR Invalid number of arguments specified for command",
        ),
    ]);
}

#[test]
fn documentation_has_arguments_as_a_tree() {
    let server = Running::start();
    let mut client = server.client();
    client.call("HELLO 3");
    let docs = client.call("COMMAND DOCS set no-such-command");
    assert_eq!(map(&docs).len(), 1);
    let set = field(&docs, "set");
    assert_eq!(field(&set, "group").text(), "string");
    let arguments = field(&set, "arguments");
    let names: Vec<String> = arguments
        .elements()
        .iter()
        .map(|argument| field(argument, "name").text())
        .collect();
    assert_eq!(&names[..2], ["key", "value"]);
    assert_eq!(field(&arguments.elements()[2], "type").text(), "oneof");
    let all = client.call("COMMAND DOCS");
    let count = client.call("COMMAND COUNT").integer();
    assert_eq!(map(&all).len() as i64, count);
}
