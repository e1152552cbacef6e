//! The same among tasks: one loads, the others wait without blocking a thread; and if the loading
//! task is cancelled, one that waited takes over.
//!
//! The cache knows no runtime; tokio is this example's choice.
//!
//! Run it with `cargo run --example single_flight_tokio`.

#![expect(clippy::print_stdout, reason = "an example speaks to people")]

use nuthatch::Cache;
use std::error::Error;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::task::{JoinSet, yield_now};

type Pages = Cache<String, Arc<str>>;

/// Stands for a request over the network: it gives way a few times before it answers.
async fn fetch(url: &str, requests: &AtomicU32) -> io::Result<Arc<str>> {
    requests.fetch_add(1, Ordering::Relaxed);
    for _ in 0..10 {
        yield_now().await;
    }
    Ok(format!("the page at {url}").into())
}

async fn ask(pages: Pages, url: &str, requests: Arc<AtomicU32>) -> Arc<str> {
    let page = pages.get_or_insert_async(url, fetch(url, &requests)).await;
    page.expect("the network works")
}

async fn run() -> Result<(), Box<dyn Error>> {
    let (pages, requests) = (Pages::new(1_000), Arc::new(AtomicU32::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        tasks.spawn(ask(pages.clone(), "/news", Arc::clone(&requests)));
    }
    for page in tasks.join_all().await {
        assert_eq!(&*page, "the page at /news");
    }
    println!(
        "100 tasks asked, {} request was made",
        requests.load(Ordering::Relaxed)
    );
    assert_eq!(requests.load(Ordering::Relaxed), 1);

    // A task that hangs while it loads holds up those that wait for the key, until it is cancelled.
    let (hanging, begun) = (pages.clone(), Arc::new(AtomicBool::new(false)));
    let begins = Arc::clone(&begun);
    let hangs = tokio::spawn(async move {
        let load = async {
            begins.store(true, Ordering::Relaxed);
            pending::<io::Result<Arc<str>>>().await
        };
        hanging.get_or_insert_async("/slow", load).await.is_ok()
    });
    while !begun.load(Ordering::Relaxed) {
        yield_now().await;
    }
    let waits = tokio::spawn(ask(pages.clone(), "/slow", Arc::clone(&requests)));
    hangs.abort();
    println!("after the cancelled task: {}", waits.await?);
    assert_eq!(requests.load(Ordering::Relaxed), 2);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Runtime::new()?.block_on(run())
}
