//! Users, and what they may do.

use crate::harness::{Client, Running};
use std::fs;

fn log_entry(client: &mut Client, field: &str) -> String {
    let log = client.call("ACL LOG");
    let entry = log.elements()[0].elements().to_vec();
    let position = entry
        .iter()
        .step_by(2)
        .position(|name| name.bytes() == field.as_bytes())
        .unwrap_or_else(|| panic!("no {field} in {log}"));
    entry[2 * position + 1].to_string()
}

#[test]
fn a_user_does_what_the_rules_allow_and_no_more() {
    let server = Running::start();
    let mut admin = server.client();
    admin.check(&[("ACL SETUSER bob on >pw +get +set +acl|whoami ~b:*", "+OK")]);
    let mut bob = server.client();
    bob.check(&[
        ("AUTH bob pw", "+OK"),
        ("ACL WHOAMI", "\"bob\""),
        ("SET b:1 v", "+OK"),
        ("SET c:1 v", "-NOPERM No permissions to access a key"),
        (
            "INCR b:1",
            "-NOPERM User bob has no permissions to run the 'incr' command",
        ),
        (
            "ACL LIST",
            "-NOPERM User bob has no permissions to run the 'acl|list' command",
        ),
    ]);
    // A change holds for connections that are there.
    admin.check(&[("ACL SETUSER bob +incr ~c:*", "+OK")]);
    bob.check(&[("INCR c:1", ":1")]);
    admin.check(&[("ACL SETUSER bob off", "+OK")]);
    bob.check(&[("INCR c:1", ":2")]);
    server.client().check(&[(
        "AUTH bob pw",
        "-WRONGPASS invalid username-password pair or user is disabled.",
    )]);
}

#[test]
fn users_are_described_by_rules_that_hide_their_passwords() {
    let server = Running::start();
    server.client().check(&[
        (
            "ACL SETUSER a on >foobar %R~x ~y &c +@all -@hash (+get ~z)",
            "+OK",
        ),
        ("ACL USERS", "[\"a\", \"default\"]"),
        (
            "ACL LIST",
            "[\"user a on #c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2 %R~x \
             ~y resetchannels &c +@all -@hash (~z resetchannels -@all +get)\", \"user default on \
             nopass ~* &* +@all\"]",
        ),
        (
            "ACL GETUSER a",
            "[\"flags\", [\"on\"], \"passwords\", \
             [\"c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2\"], \"commands\", \
             \"+@all -@hash\", \"keys\", \"%R~x ~y\", \"channels\", \"&c\", \"selectors\", \
             [[\"commands\", \"-@all +get\", \"keys\", \"~z\", \"channels\", \"\"]]]",
        ),
        ("ACL GETUSER nobody", "nil"),
        ("ACL DELUSER a nobody", ":1"),
        (
            "ACL DELUSER default",
            "-ERR The 'default' user cannot be removed",
        ),
        (
            "ACL SETUSER a nonsense",
            "-ERR Error in ACL SETUSER modifier 'nonsense': Syntax error",
        ),
        (
            "ACL SETUSER \"a b\"",
            "-ERR Usernames can't contain spaces or null characters",
        ),
    ]);
}

#[test]
fn connections_of_a_removed_user_are_closed() {
    let server = Running::start();
    let mut admin = server.client();
    admin.check(&[("ACL SETUSER bob on nopass +@all ~*", "+OK")]);
    let mut bob = server.client();
    bob.check(&[("AUTH bob x", "+OK")]);
    admin.check(&[("ACL DELUSER bob", ":1")]);
    assert!(bob.read_to_end().is_empty());
    // Whoever removes themselves hears of it first.
    admin.check(&[("ACL SETUSER eve on nopass +@all", "+OK")]);
    let mut eve = server.client();
    eve.check(&[("AUTH eve x", "+OK"), ("ACL DELUSER eve", ":1")]);
    assert!(eve.read_to_end().is_empty());
    admin.check(&[("PING", "+PONG")]);
}

#[test]
fn what_is_refused_is_logged_and_counted() {
    let server = Running::start();
    let mut admin = server.client();
    admin.check(&[("ACL SETUSER bob on nopass +set ~b", "+OK")]);
    let mut bob = server.client();
    bob.check(&[("AUTH bob x", "+OK")]);
    for _ in 0..3 {
        bob.call("SET other v");
    }
    assert_eq!(log_entry(&mut admin, "count"), ":3");
    assert_eq!(log_entry(&mut admin, "reason"), "\"key\"");
    assert_eq!(log_entry(&mut admin, "context"), "\"toplevel\"");
    assert_eq!(log_entry(&mut admin, "object"), "\"other\"");
    assert_eq!(log_entry(&mut admin, "username"), "\"bob\"");
    let client = log_entry(&mut admin, "client-info");
    assert!(client.contains(" cmd=set user=bob "), "{client}");
    bob.call("GET b");
    assert_eq!(log_entry(&mut admin, "reason"), "\"command\"");
    admin.call("AUTH nobody secret");
    assert_eq!(log_entry(&mut admin, "reason"), "\"auth\"");
    assert!(!admin.call("ACL LOG").to_string().contains("secret"));
    let info = admin.call("INFO stats").text();
    for line in [
        "acl_access_denied_auth:1",
        "acl_access_denied_cmd:1",
        "acl_access_denied_key:3",
        "acl_access_denied_channel:0",
    ] {
        assert!(info.contains(&format!("{line}\r\n")), "{line}");
    }
    admin.check(&[("ACL LOG RESET", "+OK"), ("ACL LOG", "[]")]);
}

#[test]
fn permissions_are_asked_again_when_a_transaction_runs() {
    let server = Running::start();
    let mut admin = server.client();
    admin.check(&[("ACL SETUSER bob on nopass +@all ~*", "+OK")]);
    let mut bob = server.client();
    bob.check(&[
        ("AUTH bob x", "+OK"),
        ("MULTI", "+OK"),
        ("SET k v", "+QUEUED"),
        ("GET k", "+QUEUED"),
    ]);
    admin.check(&[("ACL SETUSER bob -set", "+OK")]);
    bob.check(&[(
        "EXEC",
        "[-NOPERM User bob has no permissions to run the 'set' command, nil]",
    )]);
    assert_eq!(log_entry(&mut admin, "context"), "\"multi\"");
}

#[test]
fn permissions_are_tried_without_running_anything() {
    let server = Running::start();
    server.client().check(&[
        ("ACL SETUSER bob +get ~b", "+OK"),
        ("ACL DRYRUN bob GET b", "+OK"),
        (
            "ACL DRYRUN bob GET c",
            "\"User bob has no permissions to access the \\'c\\' key\"",
        ),
        (
            "ACL DRYRUN bob SET b v",
            "\"User bob has no permissions to run the \\'set\\' command\"",
        ),
        ("ACL DRYRUN nobody GET b", "-ERR User 'nobody' not found"),
        (
            "ACL DRYRUN bob NONSENSE",
            "-ERR Command 'NONSENSE' not found",
        ),
        (
            "ACL DRYRUN bob GET",
            "-ERR wrong number of arguments for 'get' command",
        ),
    ]);
}

#[test]
fn whoever_may_only_write_a_key_may_ask_what_writes_tell_anyway() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[("ACL SETUSER writer nopass +@all %W~w", "+OK")]);
    for request in [
        "EXISTS w",
        "TYPE w",
        "STRLEN w",
        "HLEN w",
        "HEXISTS w f",
        "HSTRLEN w f",
        "WATCH w",
    ] {
        client.check(&[(&format!("ACL DRYRUN writer {request}"), "+OK")]);
    }
    client.check(&[
        (
            "ACL DRYRUN writer GET w",
            "\"User writer has no permissions to access the \\'w\\' key\"",
        ),
        (
            "ACL DRYRUN writer STRLEN other",
            "\"User writer has no permissions to access the \\'other\\' key\"",
        ),
    ]);
}

#[test]
fn random_passwords_have_the_bits_that_were_asked_for() {
    let server = Running::start();
    let mut client = server.client();
    let (one, other) = (client.call("ACL GENPASS"), client.call("ACL GENPASS"));
    assert_eq!(one.bytes().len(), 64);
    assert_ne!(one, other);
    assert_eq!(client.call("ACL GENPASS 5").bytes().len(), 2);
    for wrong in ["0", "-1", "4097"] {
        let reply = client.call(&format!("ACL GENPASS {wrong}")).to_string();
        assert!(
            reply.starts_with("-ERR ACL GENPASS argument must"),
            "{reply}"
        );
    }
}

#[test]
fn categories_list_their_commands() {
    let server = Running::start();
    let mut client = server.client();
    let categories = client.call("ACL CAT").to_string();
    assert!(categories.contains("\"dangerous\""), "{categories}");
    let strings = client.call("ACL CAT string").to_string();
    assert!(strings.contains("\"get\"") && !strings.contains("\"del\""));
    client.check(&[("ACL CAT nonsense", "-ERR Unknown category 'nonsense'")]);
}

#[test]
fn the_password_setting_is_the_default_users() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("CONFIG SET requirepass one", "+OK"),
        ("PING", "+PONG"),
        (
            "AUTH two",
            "-WRONGPASS invalid username-password pair or user is disabled.",
        ),
        ("AUTH one", "+OK"),
    ]);
    server
        .client()
        .check(&[("PING", "-NOAUTH Authentication required.")]);
    client.check(&[("ACL SETUSER default nopass", "+OK")]);
    server.client().check(&[("PING", "+PONG")]);
}

#[test]
fn users_are_loaded_from_their_file_and_saved_to_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users.acl");
    fs::write(&path, "user bob on nopass ~* +@all\n").expect("a file");
    let server = Running::with(&[("aclfile", path.to_str().expect("text"))]);
    let mut admin = server.client();
    let (mut bob, mut eve) = (server.client(), server.client());
    admin.check(&[("ACL SETUSER eve on nopass ~* +@all", "+OK")]);
    bob.check(&[("AUTH bob x", "+OK")]);
    eve.check(&[("AUTH eve x", "+OK")]);
    // Eve is in no file, so she is gone; bob is as he was.
    admin.check(&[("ACL LOAD", "+OK")]);
    assert!(eve.read_to_end().is_empty());
    bob.check(&[("PING", "+PONG"), ("ACL SETUSER carol", "+OK")]);
    admin.check(&[("ACL SAVE", "+OK")]);
    let text = fs::read_to_string(&path).expect("the file");
    assert!(
        text.contains("user carol off resetchannels -@all\n"),
        "{text}"
    );

    // Whoever merely may do less goes on, unless by listening to what is no longer allowed.
    fs::write(&path, "user bob on nopass +@all &news\n").expect("a file");
    let (mut listener, mut revoked) = (server.client(), server.client());
    for (client, channel) in [(&mut listener, "news"), (&mut revoked, "rumours")] {
        client.check(&[("AUTH bob x", "+OK")]);
        admin.check(&[("ACL SETUSER bob allchannels", "+OK")]);
        client.call(&format!("SUBSCRIBE {channel}"));
    }
    admin.check(&[("ACL LOAD", "+OK")]);
    assert!(revoked.read_to_end().is_empty());
    bob.check(&[
        ("PING", "+PONG"),
        ("GET key", "-NOPERM No permissions to access a key"),
    ]);
    admin.check(&[("PUBLISH news hello", ":1")]);
    assert_eq!(listener.read().elements()[2].text(), "hello");

    let without = Running::start();
    let refused = without.client().call("ACL LOAD").to_string();
    assert!(
        refused.contains("not configured to use an ACL file"),
        "{refused}"
    );
}

#[test]
fn subscribers_are_closed_when_their_channels_are_taken_away() {
    let server = Running::start();
    let mut admin = server.client();
    admin.check(&[("ACL SETUSER bob on nopass +@all &one &two:*", "+OK")]);
    let mut revoked = server.client();
    revoked.check(&[("AUTH bob x", "+OK")]);
    revoked.call("SUBSCRIBE one");
    let mut pattern = server.client();
    pattern.check(&[("AUTH bob x", "+OK")]);
    pattern.call("PSUBSCRIBE two:*");
    // More channels take nothing away.
    admin.check(&[
        ("ACL SETUSER bob &three", "+OK"),
        ("PUBLISH one hello", ":1"),
    ]);
    assert_eq!(revoked.read().elements()[2].text(), "hello");
    admin.check(&[("ACL SETUSER bob resetchannels &two:*", "+OK")]);
    assert!(revoked.read_to_end().is_empty());
    admin.check(&[("PUBLISH two:1 hello", ":1")]);
    assert_eq!(pattern.read().elements()[3].text(), "hello");
    pattern.check(&[("PING", "[\"pong\", \"\"]")]);
}
