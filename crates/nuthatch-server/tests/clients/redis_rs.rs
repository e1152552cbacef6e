//! redis-rs, over both versions of the protocol.

use crate::serving::Serving;
use redis::{
    Commands as _, Connection, ConnectionLike as _, ErrorKind, ExistenceCheck, Pipeline,
    ProtocolVersion, PushKind, RedisResult, ServerErrorKind, SetExpiry, SetOptions, Value,
};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

#[test]
fn redis_rs_works_over_version_2() {
    exercise("resp2");
}

#[test]
fn redis_rs_works_over_version_3() {
    exercise("resp3");
}

fn exercise(protocol: &str) {
    let server = Serving::start();
    let client = || {
        let url = format!("redis://127.0.0.1:{}/?protocol={protocol}", server.port());
        redis::Client::open(url).expect("a URL")
    };
    let connect = || -> Connection {
        let connection = client().get_connection().expect("the server accepts");
        let patience = Some(Duration::from_secs(30));
        connection.set_read_timeout(patience).expect("a socket");
        connection
    };
    let mut connection = connect();
    strings(&mut connection).expect("strings");
    hashes(&mut connection).expect("hashes");
    scans(&mut connection).expect("scans");
    pipelines(&mut connection).expect("pipelines");
    watched_keys(&mut connection, &mut connect()).expect("transactions");
    messages(&mut connection, &mut connect()).expect("messages");
    errors(&mut connection);
    if protocol == "resp3" {
        invalidations(&client(), &mut connection).expect("invalidations");
    }
}

fn strings(c: &mut Connection) -> RedisResult<()> {
    assert!(c.check_connection());
    let () = c.set("k", "v")?;
    assert_eq!(c.get::<_, String>("k")?, "v");
    assert_eq!(c.get::<_, Option<String>>("none")?, None);
    let new = SetOptions::default()
        .conditional_set(ExistenceCheck::NX)
        .with_expiration(SetExpiry::EX(100));
    assert_eq!(
        c.set_options::<_, _, Value>("k", "w", new.clone())?,
        Value::Nil
    );
    assert_eq!(c.set_options::<_, _, Value>("new", "w", new)?, Value::Okay);
    assert!((1..=100).contains(&c.ttl::<_, i64>("new")?));
    let () = c.mset(&[("a", 1), ("b", 2)])?;
    assert_eq!(
        c.mget::<_, Vec<Option<i64>>>(&["a", "none", "b"])?,
        [Some(1), None, Some(2)]
    );
    assert_eq!(c.incr::<_, _, i64>("a", 41)?, 42);
    assert_eq!(c.append::<_, _, usize>("k", "w")?, 2);
    assert_eq!(c.getrange::<_, String>("k", 0, 0)?, "v");
    assert!(c.expire::<_, bool>("k", 100)? && c.persist::<_, bool>("k")?);
    let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| at as u8).collect();
    let () = c.set(&bytes[..256], &bytes)?;
    assert!(c.get::<_, Vec<u8>>(&bytes[..256])? == bytes);
    c.flushall()
}

fn hashes(c: &mut Connection) -> RedisResult<()> {
    let () = c.hset_multiple("h", &[("a", "1"), ("b", "2")])?;
    let all: HashMap<String, i64> = c.hgetall("h")?;
    assert_eq!(
        all,
        HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)])
    );
    assert_eq!(c.hincr::<_, _, _, i64>("h", "a", 4)?, 5);
    assert_eq!(c.hget::<_, _, Option<i64>>("h", "none")?, None);
    let set: Vec<i64> = c.hexpire("h", 100, redis::ExpireOption::NONE, &["a", "none"])?;
    assert_eq!(set, [1, -2]);
    let ttl: Vec<i64> = c.httl("h", &["a", "b"])?;
    assert!((1..=100).contains(&ttl[0]) && ttl[1] == -1, "{ttl:?}");
    assert_eq!(c.hdel::<_, _, usize>("h", &["a", "b"])?, 2);
    assert!(!c.exists::<_, bool>("h")?);
    Ok(())
}

fn scans(c: &mut Connection) -> RedisResult<()> {
    let mut pipeline = Pipeline::new();
    for number in 0..10_000 {
        pipeline.set(format!("key:{number}"), number).ignore();
    }
    let () = pipeline.query(c)?;
    let keys: HashSet<String> = c.scan::<String>()?.collect::<RedisResult<_>>()?;
    assert_eq!(keys.len(), 10_000);
    let some: HashSet<String> = c
        .scan_match::<_, String>("key:99*")?
        .collect::<RedisResult<_>>()?;
    assert_eq!(some.len(), 111);
    c.flushall()
}

fn pipelines(c: &mut Connection) -> RedisResult<()> {
    let mut pipeline = Pipeline::new();
    pipeline.set("n", 1).ignore().incr("n", 1).get("n");
    assert_eq!(pipeline.query::<(i64, i64)>(c)?, (2, 2));
    assert_eq!(pipeline.atomic().query::<(i64, i64)>(c)?, (2, 2));
    Ok(())
}

fn watched_keys(c: &mut Connection, other: &mut Connection) -> RedisResult<()> {
    let mut attempts = 0;
    let changed = redis::transaction(c, &["n"], |c, pipeline| {
        attempts += 1;
        let value: i64 = c.get("n")?;
        if attempts == 1 {
            // Another client gets in between: this attempt must fail.
            let () = other.set("n", 10)?;
        }
        pipeline.set("n", value + 1).ignore().get("n").query(c)
    });
    let (value,): (i64,) = changed?;
    assert_eq!((value, attempts), (11, 2));
    Ok(())
}

fn messages(c: &mut Connection, subscriber: &mut Connection) -> RedisResult<()> {
    let mut subscriber = subscriber.as_pubsub();
    subscriber.subscribe("news")?;
    subscriber.psubscribe("n?ws")?;
    assert_eq!(c.publish::<_, _, usize>("news", "one")?, 2);
    let mut patterns = Vec::new();
    for _ in 0..2 {
        let message = subscriber.get_message()?;
        assert_eq!(message.get_payload::<String>()?, "one");
        assert_eq!(message.get_channel_name(), "news");
        patterns.push(message.get_pattern::<Option<String>>()?);
    }
    assert_eq!(patterns, [None, Some("n?ws".to_owned())]);
    subscriber.unsubscribe("news")?;
    assert_eq!(c.publish::<_, _, usize>("news", "two")?, 1);
    Ok(())
}

fn errors(c: &mut Connection) {
    let kind = |result: RedisResult<Value>| result.expect_err("an error").kind();
    let () = c.hset("h", "f", "v").expect("a hash");
    let () = c.set("s", "text").expect("a string");
    let of_get = c.get::<_, Value>("h").expect_err("a hash is no string");
    assert_eq!(of_get.code(), Some("WRONGTYPE"));
    let of_increment = c.incr::<_, _, Value>("s", 1).expect_err("no number");
    assert!(
        of_increment
            .to_string()
            .contains("value is not an integer or out of range"),
        "{of_increment}"
    );
    let unknown = redis::cmd("FOO").query(c);
    assert_eq!(
        kind(unknown),
        ErrorKind::Server(ServerErrorKind::ResponseError)
    );
}

fn invalidations(client: &redis::Client, other: &mut Connection) -> RedisResult<()> {
    let mut tracked = client.get_connection()?;
    let (sender, pushes) = std::sync::mpsc::channel();
    tracked.set_push_sender(sender);
    let () = redis::cmd("CLIENT")
        .arg("TRACKING")
        .arg("ON")
        .query(&mut tracked)?;
    let () = other.set("t", 1)?;
    assert_eq!(tracked.get::<_, i64>("t")?, 1);
    let () = other.set("t", 2)?;
    // A push is seen when the connection reads.
    let push = loop {
        assert_eq!(tracked.get::<_, i64>("t")?, 2);
        if let Ok(push) = pushes.try_recv() {
            break push;
        }
    };
    assert_eq!(push.kind, PushKind::Invalidate);
    assert_eq!(
        push.data,
        [Value::Array(vec![Value::BulkString(b"t".to_vec())])]
    );
    assert_eq!(
        client.get_connection_info().redis_settings().protocol(),
        ProtocolVersion::RESP3
    );
    Ok(())
}
