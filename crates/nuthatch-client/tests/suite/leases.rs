//! One load for all processes, and what the others are given meanwhile.

use crate::servers::{Ours, Redis, ask};
use crate::tiers::{builder, heard, never, on_each, runtime};
use std::convert::Infallible;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const LEASE: Duration = Duration::from_secs(30);
/// Tells a process of this test what to do.
const CHILD: &str = "NUTHATCH_TEST_NEAR_CHILD";

#[test]
fn who_misses_what_another_loads_waits_for_it() {
    on_each(async |url| {
        let [a, b] = [(); 2].map(|()| builder(&url).lease(LEASE).build());
        let (a, b) = (a.await.expect("built"), b.await.expect("built"));
        let go = Arc::new(Notify::new());
        let loading = {
            let go = Arc::clone(&go);
            tokio::spawn(async move {
                let load = async |_: &str| {
                    go.notified().await;
                    Ok::<_, Infallible>("v".to_owned())
                };
                a.get_or_load("k", load).await
            })
        };
        while !ask::<bool>(&url, &["EXISTS", "{near:k}:lease"]) {
            tokio::task::yield_now().await;
        }
        let waiting = {
            let b = b.clone();
            tokio::spawn(async move { b.get_or_load("k", never).await })
        };
        while b.stats().lease_waits == 0 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        assert_eq!(loading.await.expect("no panic").expect("loaded"), "v");
        assert_eq!(waiting.await.expect("no panic").expect("found"), "v");
        assert!(
            !ask::<bool>(&url, &["EXISTS", "{near:k}:lease"]),
            "given back"
        );
    });
}

#[test]
fn a_lease_whose_holder_is_gone_ends() {
    on_each(async |url| {
        let lease = Duration::from_millis(300);
        let a = builder(&url).lease(lease).build().await.expect("built");
        let b = builder(&url).lease(lease).build().await.expect("built");
        let endless = |_: &str| std::future::pending::<Result<String, Infallible>>();
        let loading = tokio::spawn(async move { a.get_or_load("k", endless).await });
        while !ask::<bool>(&url, &["EXISTS", "{near:k}:lease"]) {
            tokio::task::yield_now().await;
        }
        loading.abort();
        let load = async |_: &str| Ok::<_, Infallible>("v".to_owned());
        assert_eq!(b.get_or_load("k", load).await.expect("loaded"), "v");
        assert_eq!(ask::<String>(&url, &["GET", "near:k"]), "v");
    });
}

#[test]
fn a_load_does_not_write_what_was_removed_meanwhile() {
    on_each(async |url| {
        let a = builder(&url).lease(LEASE).build().await.expect("built");
        let b = builder(&url).lease(LEASE).build().await.expect("built");
        for remover in [&a, &b] {
            let go = Arc::new(Notify::new());
            let loading = {
                let (a, go) = (a.clone(), Arc::clone(&go));
                tokio::spawn(async move {
                    let load = async |_: &str| {
                        go.notified().await;
                        Ok::<_, Infallible>("old".to_owned())
                    };
                    a.get_or_load("k", load).await
                })
            };
            while !ask::<bool>(&url, &["EXISTS", "{near:k}:lease"]) {
                tokio::task::yield_now().await;
            }
            remover.remove("k").await.expect("removed");
            go.notify_one();
            // Who asked before the removal may be given what was true then.
            assert_eq!(loading.await.expect("no panic").expect("loaded"), "old");
            assert!(!ask::<bool>(&url, &["EXISTS", "near:k"]));
        }
        assert_eq!(
            a.get_local("k"),
            None,
            "what the remover's own process loaded is not kept"
        );
    });
}

#[test]
fn what_is_due_is_loaded_by_one_and_served_old_by_the_others() {
    on_each(async |url| {
        let build = || {
            builder(&url)
                .lease(LEASE)
                .time_to_live(Duration::from_secs(100))
                .stale_while_revalidate(Duration::from_secs(100))
                .build()
        };
        let (a, b) = (build().await.expect("built"), build().await.expect("built"));
        // Its time is over, and the time to load it anew has begun.
        let () = ask(&url, &["SET", "near:k", "old", "PX", "90000"]);
        let go = Arc::new(Notify::new());
        let loading = {
            let (a, go) = (a.clone(), Arc::clone(&go));
            tokio::spawn(async move {
                let load = async |_: &str| {
                    go.notified().await;
                    Ok::<_, Infallible>("new".to_owned())
                };
                a.get_or_load("k", load).await
            })
        };
        while !ask::<bool>(&url, &["EXISTS", "{near:k}:lease"]) {
            tokio::task::yield_now().await;
        }
        assert_eq!(b.get_or_load("k", never).await.expect("old"), "old");
        assert_eq!(b.stats().stale_served, 1);
        go.notify_one();
        assert_eq!(loading.await.expect("no panic").expect("loaded"), "new");
        let remaining_ms: i64 = ask(&url, &["PTTL", "near:k"]);
        assert!(
            (150_000..=200_000).contains(&remaining_ms),
            "{remaining_ms}"
        );
        heard(&b, 1).await;
        assert_eq!(b.get_or_load("k", never).await.expect("new"), "new");
        assert_eq!(a.get_local("k").as_deref(), Some("new"));
    });
}

#[test]
fn four_processes_and_a_thousand_tasks_that_miss_together_load_once() {
    let ours = Ours::start();
    let redis = Redis::start();
    let urls = redis.iter().map(Redis::url).chain([ours.url()]);
    for url in urls {
        let mut children: Vec<Child> = (0..4)
            .map(|_| {
                Command::new(std::env::current_exe().expect("this program"))
                    .args(["--exact", "leases::one_process_of_four", "--nocapture"])
                    .env(CHILD, &url)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()
                    .expect("a process")
            })
            .collect();
        while ask::<Option<u32>>(&url, &["GET", "ready"]) != Some(4) {
            for child in &mut children {
                assert_eq!(child.try_wait().expect("a child"), None, "it has not ended");
            }
            std::thread::yield_now();
        }
        let () = ask(&url, &["SET", "go", "1"]);
        for mut child in children {
            assert!(child.wait().expect("a child").success());
        }
        assert_eq!(ask::<u32>(&url, &["GET", "loads"]), 1);
    }
}

/// Not a test of its own: does nothing unless it is one of the processes of the test above.
#[test]
fn one_process_of_four() {
    let Ok(url) = std::env::var(CHILD) else {
        return;
    };
    runtime().block_on(async {
        let near = builder(&url).lease(LEASE).build().await.expect("built");
        let _ready: u32 = ask(&url, &["INCR", "ready"]);
        while !ask::<bool>(&url, &["EXISTS", "go"]) {
            tokio::task::yield_now().await;
        }
        let tasks: Vec<_> = (0..250)
            .map(|_| {
                let (near, url) = (near.clone(), url.clone());
                tokio::spawn(async move {
                    let load = async |_: &str| {
                        let _loads: u32 = ask(&url, &["INCR", "loads"]);
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
    });
}
