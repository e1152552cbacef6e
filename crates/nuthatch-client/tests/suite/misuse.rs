//! Bad addresses, passwords, settings and servers: an error that says what is wrong, and nothing poisoned.

use crate::servers::{Redis, ask, eventually};
use crate::tiers::{builder, never, runtime};
use nuthatch::Cache;
use nuthatch_client::{
    BuildError, LoadError, RemoteError, RemoteFailure, TieredCache, WithoutTracking, codec,
};
use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

async fn loads(_key: &str) -> Result<String, Infallible> {
    Ok("loaded".to_owned())
}

#[test]
fn a_remote_tier_that_cannot_be_reached_is_told_and_found_when_it_comes() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    redis.kill();
    let url = redis.url();
    runtime().block_on(async {
        let refused = builder(&url).build().await;
        assert!(
            matches!(&refused, Err(BuildError::Remote(RemoteError::Unavailable { node, .. })) if url.ends_with(&**node)),
            "{refused:?}"
        );
        let near = builder(&url).start_without_remote(true).build().await.expect("built");
        let failed = near.get("k").await;
        assert!(matches!(failed, Err(RemoteError::Unavailable { .. })), "{failed:?}");
        assert_eq!(near.get_or_load("k", loads).await.expect("loaded"), "loaded");
        assert_eq!(near.get_local("k").as_deref(), Some("loaded"), "for the staleness bound");
        let strict = builder(&url)
            .start_without_remote(true)
            .on_remote_failure(RemoteFailure::Fail)
            .build()
            .await
            .expect("built");
        let failed: Result<_, LoadError<Infallible>> = strict.get_or_load("k", never).await;
        assert!(matches!(failed, Err(LoadError::Remote(RemoteError::Unavailable { .. }))), "{failed:?}");
        assert!(near.insert("k".into(), "v".into()).await.is_err());
        assert_eq!(near.get_local("k"), None, "it is not known whether it was written");
        redis.restart();
        for near in [&near, &strict] {
            while near.get("other").await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            near.insert("k".into(), "v".into()).await.expect("written");
            assert_eq!(near.get_local("k").as_deref(), Some("v"));
        }
    });
}

#[test]
fn an_address_that_leads_nowhere_is_told() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let silent = silent.local_addr().expect("an address");
    runtime().block_on(async {
        for url in ["redis://no.such.host.invalid:6379".to_owned(), format!("redis://{silent}")] {
            let near = builder(&url).connect_timeout(Duration::from_millis(300)).build().await;
            assert!(matches!(near, Err(BuildError::Remote(RemoteError::Unavailable { .. }))), "{near:?}");
        }
        // A server that is no cluster.
        if let Some(redis) = Redis::start() {
            let near = builder(&redis.url().replace("redis:", "redis+cluster:")).build().await;
            assert!(
                matches!(&near, Err(BuildError::Remote(RemoteError::Refused { message, .. })) if message.contains("cluster")),
                "{near:?}"
            );
        }
    });
}

#[test]
fn a_wrong_password_is_told_without_showing_it() {
    let Some(redis) = Redis::with(&["--requirepass", "right"]) else {
        return;
    };
    let with = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port());
    runtime().block_on(async {
        let near = builder(&with("wrong")).build().await;
        let error = near.expect_err("the password is wrong");
        assert!(
            matches!(error, BuildError::Remote(RemoteError::Unavailable { .. })),
            "{error:?}"
        );
        assert!(
            !format!("{error} {error:?}").contains("wrong\""),
            "{error:?}"
        );
        let near = builder(&redis.url()).build().await;
        assert!(near.is_err(), "without a password");
        let near = builder(&with("right")).build().await.expect("built");
        near.insert("k".into(), "v".into()).await.expect("written");
    });
}

#[test]
fn a_server_that_cannot_tell_of_changes_is_bounded_or_refused() {
    let without_tracking = Redis::with(&[]);
    if let Some(redis) = &without_tracking {
        let () = ask(
            &redis.url(),
            &[
                "ACL",
                "SETUSER",
                "ada",
                "on",
                ">pw",
                "~*",
                "+@all",
                "-client|tracking",
            ],
        );
    }
    let without_resp3 = Redis::with(&["--rename-command", "HELLO", ""]);
    let servers = [
        without_tracking
            .as_ref()
            .map(|redis| (redis, format!("redis://ada:pw@127.0.0.1:{}", redis.port()))),
        without_resp3.as_ref().map(|redis| (redis, redis.url())),
    ];
    runtime().block_on(async {
        for (redis, url) in servers.into_iter().flatten() {
            let refused = builder(&url)
                .without_tracking(WithoutTracking::Refuse)
                .build()
                .await;
            assert!(
                matches!(
                    &refused,
                    Err(BuildError::Remote(RemoteError::NoTracking { .. }))
                ),
                "{refused:?}"
            );
            let bound = Duration::from_millis(200);
            let near = builder(&url)
                .remote_timeout(bound)
                .max_staleness(bound)
                .build()
                .await;
            let near = near.expect("built");
            near.insert("k".into(), "old".into())
                .await
                .expect("written");
            assert_eq!(near.get("k").await.expect("read").as_deref(), Some("old"));
            let () = ask(&redis.url(), &["SET", "near:k", "new"]);
            eventually("the old value's time is over", || {
                near.get_local("k").is_none()
            });
            assert_eq!(near.get("k").await.expect("read").as_deref(), Some("new"));
            assert_eq!(near.stats().staleness, None, "nobody vouches");
        }
    });
}

#[test]
fn requests_that_are_not_answered_end_and_do_not_pile_up() {
    let Some(redis) = Redis::start() else { return };
    runtime().block_on(async {
        let near = builder(&redis.url())
            .max_in_flight(8)
            .remote_timeout(Duration::from_millis(200))
            .build()
            .await
            .expect("built");
        redis.freeze();
        let tasks: Vec<_> = (0..100)
            .map(|key: u32| {
                let near = near.clone();
                tokio::spawn(async move { near.get(&key.to_string()).await })
            })
            .collect();
        let mut errors = Vec::new();
        for task in tasks {
            errors.push(task.await.expect("no panic").expect_err("no answer"));
        }
        let overloaded =
            |error: &&RemoteError| matches!(error, RemoteError::Overloaded { limit: 8, .. });
        assert_eq!(errors.iter().filter(overloaded).count(), 92, "{errors:?}");
        assert!(
            errors
                .iter()
                .any(|error| matches!(error, RemoteError::Timeout { .. }))
        );
        assert_eq!(near.stats().pending, 0);
        redis.thaw();
        while near.get("k").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn settings_that_make_no_sense_are_named() {
    type Builder = nuthatch_client::TieredCacheBuilder<String, String>;
    type Change = fn(Builder) -> Builder;
    let wrong: [(&str, Change); 12] = [
        ("max_staleness", |b| {
            b.max_staleness(Duration::from_millis(49))
        }),
        ("remote_timeout", |b| {
            b.max_staleness(Duration::from_secs(1))
                .remote_timeout(Duration::from_secs(2))
        }),
        ("time_to_live", |b| b.time_to_live(Duration::ZERO)),
        ("local_time_to_live", |b| {
            b.local_time_to_live(Duration::ZERO)
        }),
        ("negative_time_to_live", |b| {
            b.negative_time_to_live(Duration::ZERO)
        }),
        ("lease", |b| b.lease(Duration::ZERO)),
        ("load_timeout", |b| b.load_timeout(Duration::ZERO)),
        ("max_in_flight", |b| b.max_in_flight(0)),
        ("max_value_bytes", |b| b.max_value_bytes(0)),
        ("broadcast", |b| b.namespace("").broadcast(true)),
        ("lease", |b| {
            b.stale_while_revalidate(Duration::from_secs(1))
        }),
        ("time_to_live", |b| {
            b.lease(Duration::from_secs(1))
                .stale_while_revalidate(Duration::from_secs(1))
        }),
    ];
    runtime().block_on(async {
        for (setting, change) in wrong {
            let error = change(builder("redis://127.0.0.1:1"))
                .build()
                .await
                .expect_err(setting);
            assert!(
                error.to_string().starts_with(&format!("{setting} is ")),
                "{setting}: {error}"
            );
        }
        let nothing = TieredCache::<String, String>::builder();
        let error = nothing
            .build()
            .await
            .expect_err("all is missing")
            .to_string();
        assert!(error.starts_with("local is not set"), "{error}");
        let local = || TieredCache::<String, String>::builder().local(Cache::builder().capacity(1));
        let error = local().build().await.expect_err("no remote").to_string();
        assert!(error.starts_with("remote is not set"), "{error}");
        let error = local()
            .remote("redis://a")
            .build()
            .await
            .expect_err("no codec")
            .to_string();
        assert!(error.starts_with("codec is not set"), "{error}");
        let local = TieredCache::<String, String>::builder().local(Cache::builder());
        let error = local.remote("redis://a").codec(codec::Bytes).build().await;
        assert!(matches!(error, Err(BuildError::Local(_))), "{error:?}");
    });
}

#[test]
fn without_a_runtime_nothing_is_built() {
    let mut building = Box::pin(builder("redis://127.0.0.1:1").build());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = building.as_mut().poll(&mut context);
    assert!(matches!(
        polled,
        std::task::Poll::Ready(Err(BuildError::NoRuntime))
    ));
}
