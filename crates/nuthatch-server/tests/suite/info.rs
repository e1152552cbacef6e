//! What `INFO` tells.

use crate::harness::{Client, Running};
use std::collections::BTreeMap;

fn info(client: &mut Client, sections: &str) -> BTreeMap<String, String> {
    let text = client.call(&format!("INFO {sections}")).text();
    let lines = text.split("\r\n").filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn counts_are_those_of_what_was_done() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("SET k v", "+OK"),
        ("GET k", "\"v\""),
        ("GET none", "nil"),
        ("SET k v nonsense", "-ERR syntax error"),
        ("SET k", "-ERR wrong number of arguments for 'set' command"),
        (
            "NONSENSE",
            "-ERR unknown command 'NONSENSE', with args beginning with: ",
        ),
    ]);
    let told = info(&mut client, "all");
    assert_eq!(told["keyspace_hits"], "1");
    assert_eq!(told["keyspace_misses"], "1");
    assert_eq!(told["total_error_replies"], "3");
    assert_eq!(told["errorstat_ERR"], "count=3");
    assert_eq!(told["connected_clients"], "1");
    assert!(told["cmdstat_set"].starts_with("calls=2,"), "{told:?}");
    assert!(
        told["cmdstat_set"].ends_with(",rejected_calls=1,failed_calls=1"),
        "{told:?}"
    );
    assert!(
        told["latency_percentiles_usec_get"].starts_with("p50="),
        "{told:?}"
    );
    assert!(told["db0"].starts_with("keys=1,"), "{told:?}");
    assert!(told["used_memory"].parse::<u64>().unwrap() > 0);
    assert!(told["redis_version"].starts_with("7.4."));
    client.check(&[("CONFIG RESETSTAT", "+OK")]);
    let told = info(&mut client, "everything");
    assert_eq!(told["keyspace_hits"], "0");
    assert_eq!(told["total_error_replies"], "0");
    assert!(!told.contains_key("errorstat_ERR"));
    assert!(!told.contains_key("cmdstat_set"));
}

#[test]
fn sections_are_told_as_asked_for() {
    let server = Running::start();
    let mut client = server.client();
    let cpu = info(&mut client, "CPU nonsense");
    assert!(cpu.contains_key("used_cpu_user") && !cpu.contains_key("used_memory"));
    let default = info(&mut client, "");
    assert_eq!(
        default.keys().collect::<Vec<_>>(),
        info(&mut client, "default").keys().collect::<Vec<_>>()
    );
    assert!(default.contains_key("used_memory"));
    assert!(!default.keys().any(|name| name.starts_with("cmdstat_")));
    assert!(info(&mut client, "nonsense").is_empty());
}

#[test]
fn keys_that_expire_are_counted() {
    let server = Running::start();
    let mut client = server.client();
    let mut expires = |commands: &[(&str, &str)]| {
        client.check(commands);
        let told = info(&mut client, "keyspace");
        let fields = told["db0"].split(',').map(str::to_owned);
        let found = fields
            .into_iter()
            .find(|field| field.starts_with("expires="));
        found.expect("a count")
    };
    assert_eq!(expires(&[("SET a 1", "+OK")]), "expires=0");
    let both = [("SET b 1 EX 100", "+OK"), ("EXPIRE a 100", ":1")];
    assert_eq!(expires(&both), "expires=2");
    assert_eq!(expires(&[("PERSIST a", ":1")]), "expires=1");
    assert_eq!(expires(&[("SET b 1", "+OK")]), "expires=0");
    let gone = [("SET b 1 PX 100000", "+OK"), ("DEL b", ":1")];
    assert_eq!(expires(&gone), "expires=0");
}
