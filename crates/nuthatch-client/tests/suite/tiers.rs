//! What reads and writes do, on every server that can be had.

use crate::servers::{Ours, Redis, ask, eventually};
use nuthatch::Cache;
use nuthatch_client::{LoadError, RemoteError, TieredCache, TieredCacheBuilder, WriteMode, codec};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

type Near = TieredCache<String, String>;

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub(crate) fn builder(url: &str) -> TieredCacheBuilder<String, String> {
    TieredCache::builder()
        .local(Cache::builder().capacity(10_000))
        .remote(url)
        .namespace("near")
        .codec(codec::Bytes)
        // Long enough for a machine that has much to do; no test waits for it.
        .max_staleness(Duration::from_secs(20))
        .remote_timeout(Duration::from_secs(10))
        .connect_timeout(Duration::from_secs(10))
}

/// Runs a test on each server; each gets its address.
pub(crate) fn on_each<F: Future<Output = ()>>(test: impl Fn(String) -> F) {
    let runtime = runtime();
    if let Some(redis) = Redis::start() {
        runtime.block_on(test(redis.url()));
    }
    let ours = Ours::start();
    runtime.block_on(test(ours.url()));
}

/// A loader that must not be called.
pub(crate) async fn never<V>(_key: &str) -> Result<V, Infallible> {
    panic!("nothing is to be loaded")
}

/// Waits until as many changes were heard of.
pub(crate) async fn heard(near: &Near, invalidations: u64) {
    for _ in 0..3_000 {
        if near.stats().invalidations >= invalidations {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no invalidation: {:?}", near.stats());
}

/// Waits until the value is kept no more. What is counted would not do: a node that tells of everything may just
/// have told of an earlier change.
async fn gone(near: &Near, key: &str) {
    for _ in 0..3_000 {
        if near.get_local(key).is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{key} is kept for ever: {:?}", near.stats());
}

/// Reads until the value is kept.
async fn kept(near: &Near, key: &str, value: &str) {
    for _ in 0..3_000 {
        assert_eq!(near.get(key).await.expect("read").as_deref(), Some(value));
        if near.get_local(key).is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{key} is never kept: {:?}", near.stats());
}

#[test]
fn a_read_finds_the_nearest_tier_that_has_the_value() {
    on_each(async |url| {
        let near = builder(&url).build().await.expect("built");
        assert_eq!(near.get("a").await.expect("answered"), None);
        let loaded = near.get_or_load("a", |key| async move {
            Ok::<_, Infallible>(format!("{key} loaded"))
        });
        assert_eq!(loaded.await.expect("loaded"), "a loaded");
        assert_eq!(near.get_local("a").as_deref(), Some("a loaded"));
        assert_eq!(ask::<String>(&url, &["GET", "near:a"]), "a loaded");
        let () = ask(&url, &["SET", "near:b", "from elsewhere"]);
        assert_eq!(near.get_local("b"), None);
        assert_eq!(
            near.get_or_load("b", never).await.expect("on the server"),
            "from elsewhere"
        );
        assert_eq!(
            near.get("b").await.expect("in process").as_deref(),
            Some("from elsewhere")
        );
        let stats = near.stats();
        assert_eq!(
            (stats.loads, stats.remote_hits, stats.local_hits()),
            (1, 1, 2)
        );
        assert_eq!(stats.remote_misses, 2);
        assert_eq!(stats.pending, 0);
    });
}

#[test]
fn a_change_by_others_is_heard_of_however_the_value_came_here() {
    on_each(async |url| {
        for broadcast in [false, true] {
            let () = ask(&url, &["FLUSHALL"]);
            let near = builder(&url)
                .broadcast(broadcast)
                .build()
                .await
                .expect("built");
            let () = ask(&url, &["SET", "near:read", "old"]);
            near.get("read").await.expect("read");
            near.insert("written".into(), "old".into())
                .await
                .expect("written");
            let load = |_: &str| async { Ok::<_, Infallible>("old".to_owned()) };
            near.get_or_load("loaded", load).await.expect("loaded");
            let () = ask(&url, &["SET", "near:many", "old"]);
            assert_eq!(
                near.get_many(["many"])
                    .await
                    .remove(0)
                    .expect("read")
                    .as_deref(),
                Some("old")
            );
            for key in ["read", "written", "loaded", "many"] {
                // A node that tells of everything may still have to tell of what was written first.
                kept(&near, key, "old").await;
                let () = ask(&url, &["SET", &format!("near:{key}"), "new"]);
                gone(&near, key).await;
                assert_eq!(near.get(key).await.expect("read").as_deref(), Some("new"));
                kept(&near, key, "new").await;
                let () = ask(&url, &["DEL", &format!("near:{key}")]);
                gone(&near, key).await;
                assert_eq!(near.get(key).await.expect("read"), None);
            }
            assert_eq!(near.stats().disconnects, 0);
        }
    });
}

#[test]
fn a_flush_drops_everything() {
    on_each(async |url| {
        let near = builder(&url).build().await.expect("built");
        for key in 0..100 {
            near.insert(key.to_string(), "v".into())
                .await
                .expect("written");
        }
        let () = ask(&url, &["FLUSHALL"]);
        for _ in 0..3_000 {
            if near.stats().flushes == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for key in 0..100 {
            assert_eq!(near.get(&key.to_string()).await.expect("read"), None);
        }
        near.insert("after".into(), "v".into())
            .await
            .expect("written");
        assert_eq!(near.get_local("after").as_deref(), Some("v"));
    });
}

#[test]
fn writes_go_through_or_around_and_are_read_back() {
    on_each(async |url| {
        let through = builder(&url).build().await.expect("built");
        let around = builder(&url)
            .write_mode(WriteMode::Around)
            .build()
            .await
            .expect("built");
        for near in [&through, &around] {
            for round in 0..20 {
                let value = format!("value {round}");
                near.insert("k".into(), value.clone())
                    .await
                    .expect("written");
                assert_eq!(near.get_local("k").is_some(), std::ptr::eq(near, &through));
                assert_eq!(near.get("k").await.expect("read"), Some(value));
            }
            assert!(near.remove("k").await.expect("removed"));
            assert!(!near.remove("k").await.expect("asked"));
            assert_eq!(near.get_local("k"), None);
            assert_eq!(near.get("k").await.expect("read"), None);
        }
    });
}

#[test]
fn what_expires_on_the_server_expires_in_process() {
    on_each(async |url| {
        let near = builder(&url)
            .time_to_live(Duration::from_secs(3_600))
            .build()
            .await
            .expect("built");
        near.insert("k".into(), "v".into()).await.expect("written");
        let remaining_ms: i64 = ask(&url, &["PTTL", "near:k"]);
        assert!(
            (3_500_000..=3_600_000).contains(&remaining_ms),
            "{remaining_ms}"
        );
        near.insert_with_ttl("short".into(), "v".into(), Duration::from_millis(400))
            .await
            .expect("written");
        let () = ask(&url, &["SET", "near:other", "v", "PX", "400"]);
        near.get("other").await.expect("read");
        eventually("both are gone", || {
            near.get_local("short").is_none() && near.get_local("other").is_none()
        });
        let remaining_ms = |key: &str| ask::<i64>(&url, &["PTTL", key]);
        eventually("on the server too", || {
            remaining_ms("near:short") < 0 && remaining_ms("near:other") < 0
        });
    });
}

#[test]
fn of_a_thousand_tasks_that_miss_together_one_loads() {
    on_each(async |url| {
        let near = builder(&url).build().await.expect("built");
        let loads = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..1_000)
            .map(|_| {
                let (near, loads) = (near.clone(), Arc::clone(&loads));
                tokio::spawn(async move {
                    let load = |_: &str| async {
                        loads.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        Ok::<_, Infallible>("v".to_owned())
                    };
                    near.get_or_load("hot", load).await.expect("loaded")
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("no panic"), "v");
        }
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        assert_eq!(near.stats().pending, 0);
    });
}

#[test]
fn a_loader_that_fails_panics_or_never_returns_poisons_nothing() {
    on_each(async |url| {
        let near = builder(&url)
            .load_timeout(Duration::from_millis(200))
            .build()
            .await
            .expect("built");
        let failing = near.get_or_load("k", |_| async { Err::<String, _>("no luck".to_owned()) });
        match failing.await {
            Err(LoadError::Failed(error)) => assert_eq!(*error, "no luck"),
            other => panic!("{other:?}"),
        }
        let panicking = near.clone();
        let panicked = tokio::spawn(async move {
            let load = |_: &str| async {
                while panicking.stats().followed == 0 {
                    tokio::task::yield_now().await;
                }
                panic!("a loader's own")
            };
            let _: Result<String, LoadError<Infallible>> = panicking.get_or_load("k", load).await;
        });
        while near.stats().pending == 0 {
            tokio::task::yield_now().await;
        }
        // One that follows takes over with a loader of its own.
        let follower = near.get_or_load("k", |_| async { Ok::<_, Infallible>("v".to_owned()) });
        assert_eq!(follower.await.expect("loaded"), "v");
        assert!(panicked.await.is_err());
        near.remove("k").await.expect("removed");
        let endless = near.get_or_load("k", |_| {
            std::future::pending::<Result<String, Infallible>>()
        });
        assert!(matches!(endless.await, Err(LoadError::TimedOut { .. })));
        assert_eq!(near.stats().pending, 0);
        assert_eq!(near.stats().load_failures, near.stats().loads - 1);
        let fine = near.get_or_load("k", |_| async { Ok::<_, Infallible>("v".to_owned()) });
        assert_eq!(fine.await.expect("loaded"), "v");
    });
}

#[test]
fn a_cancelled_leader_makes_way_for_who_follows() {
    on_each(async |url| {
        let near = builder(&url).build().await.expect("built");
        let leader = {
            let near = near.clone();
            tokio::spawn(async move {
                let load = |_: &str| std::future::pending::<Result<String, Infallible>>();
                near.get_or_load("k", load).await
            })
        };
        while near.stats().pending == 0 {
            tokio::task::yield_now().await;
        }
        let follower = {
            let near = near.clone();
            tokio::spawn(async move {
                let load = |_: &str| async { Ok::<_, Infallible>("v".to_owned()) };
                near.get_or_load("k", load).await
            })
        };
        while near.stats().followed == 0 {
            tokio::task::yield_now().await;
        }
        leader.abort();
        assert_eq!(follower.await.expect("no panic").expect("loaded"), "v");
    });
}

#[test]
fn that_there_is_nothing_is_remembered_on_both_tiers() {
    on_each(async |url| {
        let ttl = Duration::from_secs(60);
        let near = builder(&url)
            .negative_time_to_live(ttl)
            .build()
            .await
            .expect("built");
        let nothing = |_: &str| async { Ok::<Option<String>, Infallible>(None) };
        assert_eq!(
            near.get_or_load_optional("k", nothing)
                .await
                .expect("loaded"),
            None
        );
        let nobody = |_: &str| never::<Option<String>>("");
        assert_eq!(
            near.get_or_load_optional("k", nobody).await.expect("known"),
            None
        );
        assert_eq!(near.get("k").await.expect("known"), None);
        let other = builder(&url)
            .negative_time_to_live(ttl)
            .build()
            .await
            .expect("built");
        assert_eq!(
            other
                .get_or_load_optional("k", nobody)
                .await
                .expect("known"),
            None
        );
        assert_eq!(other.stats().loads, 0);
        // Who needs a value loads one, and the others hear of it.
        let some = |_: &str| async { Ok::<_, Infallible>("v".to_owned()) };
        assert_eq!(near.get_or_load("k", some).await.expect("loaded"), "v");
        heard(&other, 1).await;
        assert_eq!(other.get("k").await.expect("read").as_deref(), Some("v"));
    });
}

#[test]
fn many_keys_cost_one_request() {
    on_each(async |url| {
        let near = builder(&url).build().await.expect("built");
        for key in 0..50 {
            let () = ask(
                &url,
                &["SET", &format!("near:{key}"), &format!("value {key}")],
            );
        }
        near.get("7").await.expect("read");
        let keys: Vec<_> = (0..60).map(|key| key.to_string()).collect();
        let twice = [keys.clone(), keys.clone()].concat();
        let values = near.get_many(twice.iter().map(String::as_str)).await;
        for (place, value) in values.into_iter().enumerate() {
            let key = place % 60;
            let expected = (key < 50).then(|| format!("value {key}"));
            assert_eq!(value.expect("read"), expected, "{place}");
        }
        for key in 0..50 {
            assert!(near.get_local(&key.to_string()).is_some());
        }
        assert_eq!(near.stats().pending, 0);
    });
}

#[test]
fn values_that_cannot_be_read_or_written_are_told_apart() {
    on_each(async |url| {
        let near: TieredCache<String, u32> = TieredCache::builder()
            .local(Cache::builder().capacity(100))
            .remote(&url)
            .codec(codec::Json)
            .max_value_bytes(8)
            .build()
            .await
            .expect("built");
        let () = ask(&url, &["SET", "bad", "{"]);
        assert_eq!(near.get("bad").await.expect("a miss"), None);
        let () = ask(&url, &["SET", "long", "000000000"]);
        assert_eq!(near.get("long").await.expect("a miss"), None);
        let () = ask(&url, &["HSET", "hash", "field", "1"]);
        let wrong = near.get("hash").await;
        assert!(
            matches!(&wrong, Err(RemoteError::Refused { message, .. }) if message.contains("WRONGTYPE")),
            "{wrong:?}"
        );
        let stats = near.stats();
        assert_eq!((stats.undecodable, stats.oversized), (1, 1));
        // What does not decode is loaded and written anew.
        let load = |_: &str| async { Ok::<_, Infallible>(7) };
        assert_eq!(near.get_or_load("bad", load).await.expect("loaded"), 7);
        eventually("it is overwritten", || {
            ask::<String>(&url, &["GET", "bad"]) == "7"
        });
        let long = near.insert("n".into(), 1_000_000_000).await;
        assert!(
            matches!(long, Err(RemoteError::ValueTooLarge { len: 10, max: 8 })),
            "{long:?}"
        );
        // The caller gets what was loaded all the same.
        let load = |_: &str| async { Ok::<_, Infallible>(1_000_000_000) };
        assert_eq!(
            near.get_or_load("n", load).await.expect("loaded"),
            1_000_000_000
        );
        assert!(!ask::<bool>(&url, &["EXISTS", "n"]));
    });
}

#[test]
fn connections_end_with_the_last_clone() {
    on_each(async |url| {
        let clients = || {
            ask::<String>(&url, &["CLIENT", "LIST"])
                .matches(" resp=3")
                .count()
        };
        let near = builder(&url).build().await.expect("built");
        near.get("k").await.expect("read");
        let clone = near.clone();
        drop(near);
        assert_eq!(clients(), 1);
        drop(clone);
        // Not blocking the runtime that ends the tasks.
        for _ in 0..3_000 {
            if clients() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a connection is left");
    });
}
