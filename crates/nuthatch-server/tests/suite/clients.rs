//! The commands about clients; with one data thread and with two.

use crate::harness::Running;

fn for_any_number_of_threads(test: impl Fn(&Running)) {
    for threads in ["1", "2"] {
        test(&Running::with(&[("threads", threads)]));
    }
}

#[test]
fn a_client_is_described_field_by_field() {
    let server = Running::start();
    let mut client = server.client();
    client.check(&[
        ("CLIENT SETNAME me", "+OK"),
        ("CLIENT GETNAME", r#""me""#),
        ("CLIENT SETINFO LIB-NAME lib", "+OK"),
        ("CLIENT SETINFO lib-ver 1.2", "+OK"),
        ("CLIENT SETINFO x y", "-ERR Unrecognized option 'x'"),
        (
            r#"CLIENT SETNAME "a b""#,
            "-ERR Client names cannot contain spaces, newlines or special characters.",
        ),
    ]);
    let info = client.call("CLIENT INFO").text();
    let fields: Vec<&str> = info
        .trim_end()
        .split(' ')
        .map(|field| field.split('=').next().expect("a name"))
        .collect();
    assert_eq!(
        fields.join(" "),
        "id addr laddr fd name age idle flags capa db sub psub ssub multi watch qbuf qbuf-free \
         argv-mem multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp lib-name lib-ver \
         tot-net-in tot-net-out tot-cmds"
    );
    for expected in [
        " name=me ",
        " flags=N ",
        " multi=-1 ",
        " qbuf=0 ",
        " cmd=client|info ",
        " user=default ",
        " redir=-1 ",
        " resp=2 ",
        " lib-name=lib ",
        " lib-ver=1.2 ",
    ] {
        assert!(info.contains(expected), "{expected} in {info}");
    }
    let id = client.call("CLIENT ID").integer();
    assert!(info.starts_with(&format!("id={id} ")));
    assert_eq!(client.call("CLIENT LIST ID 99 98").text(), "");
    assert!(
        client
            .call("CLIENT LIST TYPE normal NAME me")
            .text()
            .contains("name=me")
    );
    assert_eq!(client.call("CLIENT LIST NOT-NAME me").text(), "");
}

#[test]
fn clients_are_killed_by_address_and_by_filter() {
    for_any_number_of_threads(|server| {
        let mut killer = server.client();
        let own = killer.call("CLIENT ID").integer();
        let mut victims: Vec<_> = (0..4).map(|_| server.client()).collect();
        let ids: Vec<_> = victims
            .iter_mut()
            .map(|v| v.call("CLIENT ID").integer())
            .collect();
        let line = killer.call(&format!("CLIENT LIST ID {}", ids[0])).text();
        let address = line.split(' ').nth(1).and_then(|f| f.strip_prefix("addr="));
        killer.check(&[
            ("CLIENT KILL 1.2.3.4:5", "-ERR No such client"),
            (
                &format!("CLIENT KILL {}", address.expect("an address")),
                "+OK",
            ),
            (&format!("CLIENT KILL ID {} {own}", ids[1]), ":1"),
            ("CLIENT KILL TYPE pubsub", ":0"),
            ("CLIENT KILL MAXAGE 1000", ":0"),
            ("CLIENT KILL ID x", "-ERR syntax error"),
            (
                &format!("CLIENT KILL ID {} {} TYPE normal", ids[2], ids[3]),
                ":2",
            ),
            ("CLIENT KILL SKIPME x", "-ERR syntax error"),
            (
                "CLIENT KILL ID 0",
                "-ERR client-id should be greater than 0",
            ),
        ]);
        for victim in &mut victims {
            assert_eq!(victim.read_to_end(), b"");
        }
        killer.check(&[("CLIENT KILL SKIPME no TYPE normal", ":1")]);
        assert_eq!(killer.read_to_end(), b"");
        server.await_clients(0);
    });
}

#[test]
fn replies_can_be_switched_off_and_skipped() {
    let server = Running::start();
    let mut client = server.client();
    client.send(
        b"CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\n\
          ECHO lost\r\nECHO heard\r\n",
    );
    assert_eq!(client.read().to_string(), "+OK");
    assert_eq!(client.read().to_string(), r#""heard""#);
}

#[test]
fn paused_writes_wait_and_reads_go_on() {
    for_any_number_of_threads(|server| {
        let (mut admin, mut reader) = (server.client(), server.client());
        let mut writers: Vec<_> = (0..4).map(|_| server.client()).collect();
        let mut transaction = server.client();
        transaction.check(&[("MULTI", "+OK"), ("SET t 1", "+QUEUED")]);
        admin.check(&[("CLIENT PAUSE 1000000 WRITE", "+OK")]);
        for writer in &mut writers {
            writer.send(b"INCR n\r\nINCR n\r\nGET n\r\nINC");
        }
        transaction.send(b"EXEC\r\n");
        let pause = &server.server().observers.pause;
        while pause.waiting() < 5 {
            reader.check(&[("GET n", "nil"), ("GET t", "nil")]);
        }
        assert!(admin.call("CLIENT LIST FLAGS b").text().lines().count() == 5);
        drop(writers.pop());
        server.await_clients(6);
        assert_eq!(pause.waiting(), 4);
        admin.check(&[("CLIENT UNPAUSE", "+OK")]);
        for writer in &mut writers {
            let numbers = [writer.read().integer(), writer.read().integer()];
            assert!(numbers[0] < numbers[1]);
            writer.read();
            writer.send(b"R n\r\n");
            assert!(writer.read().integer() > numbers[1]);
        }
        assert_eq!(transaction.read().to_string(), "[+OK]");
        assert_eq!(pause.waiting(), 0);
        assert!(server.server().observers.attention.get().is_empty());
    });
}

#[test]
fn a_pause_ends_in_time() {
    for_any_number_of_threads(|server| {
        let mut client = server.client();
        client.check(&[
            ("CLIENT PAUSE 50", "+OK"),
            ("PING", "+PONG"),
            ("CLIENT PAUSE -1", "-ERR timeout is negative"),
            (
                "CLIENT PAUSE x",
                "-ERR timeout is not an integer or out of range",
            ),
            (
                "CLIENT PAUSE 1 SOME",
                "-ERR CLIENT PAUSE mode must be WRITE or ALL",
            ),
            ("CLIENT UNBLOCK 1", ":0"),
        ]);
    });
}

#[test]
fn reads_of_a_client_that_does_not_touch_leave_no_trace() {
    let server = Running::start();
    let cache = server.server().keyspace.cache();
    let mut client = server.client();
    client.check(&[
        ("SET k v", "+OK"),
        ("HSET h f v", ":1"),
        ("CLIENT NO-TOUCH ON", "+OK"),
        ("GET k", r#""v""#),
        ("MGET k none h", r#"["v", nil, nil]"#),
        ("GETRANGE k 0 0", r#""v""#),
        ("GETEX k", r#""v""#),
        ("STRLEN k", ":1"),
        ("GETBIT k 1", ":1"),
        ("HGETALL h", r#"["f", "v"]"#),
        ("COPY k copy", ":1"),
    ]);
    client.call("DUMP k");
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
    client.check(&[("TOUCH k h none", ":2")]);
    assert_eq!((cache.stats().hits, cache.stats().misses), (2, 1));
    client.check(&[
        ("CLIENT NO-TOUCH OFF", "+OK"),
        ("GET k", r#""v""#),
        ("MGET k none h", r#"["v", nil, nil]"#),
    ]);
    assert_eq!((cache.stats().hits, cache.stats().misses), (5, 2));
}

#[test]
fn nothing_expires_during_a_pause() {
    for_any_number_of_threads(|server| {
        let (mut admin, mut reader) = (server.client(), server.client());
        admin.check(&[
            ("SET k v PX 20", "+OK"),
            ("CLIENT PAUSE 1000000 WRITE", "+OK"),
        ]);
        let removed = |reader: &mut crate::harness::Client| {
            let removed = reader.call("DBSIZE").integer() == 0;
            let info = reader.call("INFO stats").text();
            assert_eq!(info.contains("expired_keys:1\r\n"), removed, "{info}");
            removed
        };
        // The key may have expired before the pause began.
        let was_removed = removed(&mut reader);
        assert!(!server.server().may_expire(), "upkeep leaves it");
        while reader.call("GET k").to_string() != "nil" {}
        reader.check(&[("EXISTS k", ":0")]);
        assert_eq!(removed(&mut reader), was_removed);
        admin.check(&[("CLIENT UNPAUSE", "+OK")]);
        assert!(server.server().may_expire());
        reader.check(&[("GET k", "nil"), ("DBSIZE", ":0")]);
        assert!(removed(&mut reader));
    });
}

#[test]
fn clients_are_found_by_their_user() {
    for_any_number_of_threads(|server| {
        let (mut admin, mut other) = (server.client(), server.client());
        admin.check(&[
            ("ACL SETUSER nut on >secret ~* +@all", "+OK"),
            ("CLIENT LIST USER nobody", "-ERR No such user 'nobody'"),
            ("CLIENT KILL USER nobody", "-ERR No such user 'nobody'"),
        ]);
        assert_eq!(admin.call("CLIENT LIST USER nut").text(), "");
        other.check(&[("AUTH nut secret", "+OK")]);
        let lines = admin.call("CLIENT LIST USER nut").text();
        assert_eq!(lines.lines().count(), 1);
        assert!(lines.contains(" user=nut "), "{lines}");
        let others = admin.call("CLIENT LIST NOT-USER nut").text();
        assert!(others.contains(" user=default "), "{others}");
        assert_eq!(others.lines().count(), 1);
        admin.check(&[("CLIENT KILL USER nut", ":1")]);
        assert_eq!(other.read_to_end(), b"");
        admin.check(&[("CLIENT KILL USER nut", ":0")]);
    });
}
