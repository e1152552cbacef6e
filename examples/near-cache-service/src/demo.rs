//! The demonstration: requests to both processes, what came of them, and an error where that is not what was
//! claimed. A claim rests on what the processes answer: the product, the place that it came from, and their
//! statistics.

use crate::database::Product;
use crate::service::{ANSWERED_BY, MAX_STALENESS, SERVER_TIMING};
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many clients of each process ask for the same product at once.
const CROWD: usize = 25;

/// Plays it to the end.
pub(crate) async fn play(addresses: [SocketAddr; 2], products: u32) -> Result<()> {
    let [mut a, mut b] = [
        Client::connect("A", addresses[0]).await?,
        Client::connect("B", addresses[1]).await?,
    ];
    read_by_both(&mut a, &mut b, 42).await?;
    change_through_one(&mut a, &mut b, 42).await?;
    create_what_was_missing(&mut a, &mut b, products + 1).await?;
    read_by_a_crowd(&mut a, &mut b, 7).await?;
    for client in [&mut a, &mut b] {
        let stats = client.get("/stats?format=text").await?.body;
        let stats = String::from_utf8_lossy(&stats);
        println!("process {}: {}", client.name, stats.trim_end());
    }
    Ok(())
}

async fn read_by_both(a: &mut Client, b: &mut Client, id: u32) -> Result<()> {
    println!("Product {id} is read by both processes, each twice.");
    let first = a.read(id).await?.told().from("database")?;
    ensure!(first.product.is_some(), "there is no product {id}");
    let others = [
        a.read(id).await?.told().from("process")?,
        b.read(id).await?.told().from("redis")?,
        b.read(id).await?.told().from("process")?,
    ];
    ensure!(
        others.iter().all(|answer| answer.product == first.product),
        "the answers differ: {first:?}, {others:?}"
    );
    println!();
    Ok(())
}

async fn change_through_one(a: &mut Client, b: &mut Client, id: u32) -> Result<()> {
    println!("Its price is changed through A. B has the old one in process.");
    let old = a.product(id).await?;
    let new = Product {
        price_cents: old.price_cents + 100,
        ..old
    };
    let heard = b.stat("invalidations").await?;
    let changed = a.write(id, &new).await?;
    let seen = b.sees(id, &new, changed).await?;
    // B was told, rather than left with an entry that was too old to be believed.
    ensure!(b.stat("invalidations").await? > heard, "B was not told");
    seen.from("database")?;
    let read = a.read(id).await?.told().from("redis")?;
    ensure!(
        read.product == Some(new),
        "A does not give what it wrote: {read:?}"
    );
    println!();
    Ok(())
}

async fn create_what_was_missing(a: &mut Client, b: &mut Client, id: u32) -> Result<()> {
    println!("Product {id} does not exist. That is remembered, until it does.");
    let missing = [
        a.read(id).await?.told().from("database")?,
        a.read(id).await?.told().from("remembered")?,
        b.read(id).await?.told().from("remembered")?,
    ];
    ensure!(
        missing.iter().all(|answer| answer.product.is_none()),
        "there is a product {id}: {missing:?}"
    );
    let new = Product {
        name: "Acorns".to_owned(),
        price_cents: 99,
        stock: 1,
    };
    let created = b.write(id, &new).await?;
    a.sees(id, &new, created).await?.from("database")?;
    println!();
    Ok(())
}

/// Many clients of both processes ask for a product that no cache has. In each process one asks for all, and a
/// lease lets one of the processes load.
async fn read_by_a_crowd(a: &mut Client, b: &mut Client, id: u32) -> Result<()> {
    let crowd = 2 * CROWD;
    println!("{crowd} clients, half of them A's, read product {id} at once, which no cache has.");
    let loads = a.stat("loads").await? + b.stat("loads").await?;
    let mut clients = Vec::new();
    for client in [&*a, &*b] {
        for _ in 0..CROWD {
            clients.push(Client::connect(client.name, client.address).await?);
        }
    }
    let mut reads = JoinSet::new();
    for mut client in clients {
        reads.spawn(async move { client.read(id).await });
    }
    let mut queries = 0;
    while let Some(read) = reads.join_next().await {
        let read = read??;
        ensure!(read.product.is_some(), "there is no product {id}");
        queries += u64::from(read.source == "database");
    }
    let loads = a.stat("loads").await? + b.stat("loads").await? - loads;
    println!("  Queries of the database: {loads}.\n");
    ensure!(
        loads == 1 && queries == 1,
        "one query of both processes: not {loads} by the statistics and {queries} by the answers"
    );
    Ok(())
}

/// A client of one process, on one connection.
struct Client {
    name: &'static str,
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// What a process answered.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn header(&self, name: &HeaderName) -> Result<&str> {
        let header = self.headers.get(name);
        let header = header.with_context(|| format!("an answer without {name}"))?;
        Ok(header.to_str()?)
    }
}

/// What was read of a product.
#[derive(Debug)]
struct Answer {
    process: &'static str,
    /// Nothing if there is none.
    product: Option<Product>,
    source: String,
    /// How long the process took to find out, as it says.
    took: String,
}

impl Answer {
    /// Tells of it.
    fn told(self) -> Self {
        println!("  {self}");
        self
    }

    /// Checks where it came from.
    fn from(self, source: &str) -> Result<Self> {
        ensure!(self.source == source, "not from {source}: {self}");
        Ok(self)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            process,
            source,
            took,
            ..
        } = self;
        write!(f, "{process} answers from: {source:<10} {took:>8} ms  ")?;
        match &self.product {
            Some(product) => write!(
                f,
                "{} at {}.{:02}",
                product.name,
                product.price_cents / 100,
                product.price_cents % 100
            ),
            None => write!(f, "there is none"),
        }
    }
}

impl Client {
    async fn connect(name: &'static str, address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("no connection to process {name}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; if it fails, requests do.
        tokio::spawn(connection);
        Ok(Self {
            name,
            address,
            sender,
        })
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Reply> {
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let failed = || format!("process {}: {method} {path} failed", self.name);
        self.sender.ready().await.with_context(failed)?;
        let response = self.sender.send_request(request).await;
        let (head, body) = response.with_context(failed)?.into_parts();
        let body = body.collect().await.with_context(failed)?.to_bytes();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    async fn get(&mut self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    async fn read(&mut self, id: u32) -> Result<Answer> {
        let reply = self.get(&format!("/products/{id}")).await?;
        let product = match reply.status {
            StatusCode::OK => Some(serde_json::from_slice(&reply.body)?),
            StatusCode::NOT_FOUND => None,
            status => {
                let body = String::from_utf8_lossy(&reply.body);
                bail!("process {}: {status}: {body}", self.name)
            }
        };
        let timing = reply.header(&SERVER_TIMING)?;
        let (_, took) = timing
            .split_once("dur=")
            .context("a timing without a time")?;
        Ok(Answer {
            process: self.name,
            product,
            source: reply.header(&ANSWERED_BY)?.to_owned(),
            took: took.to_owned(),
        })
    }

    async fn product(&mut self, id: u32) -> Result<Product> {
        let product = self.read(id).await?.product;
        product.with_context(|| format!("there is no product {id}"))
    }

    /// Writes a product; the time from which on the new one is to be seen.
    async fn write(&mut self, id: u32, product: &Product) -> Result<Instant> {
        let body = serde_json::to_vec(product)?.into();
        let start = Instant::now();
        let reply = self
            .send(Method::PUT, &format!("/products/{id}"), body)
            .await?;
        let written = Instant::now();
        ensure!(
            reply.status == StatusCode::NO_CONTENT,
            "process {}: {}: {}",
            self.name,
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
        println!("  {} writes it, in {:.1?}", self.name, written - start);
        Ok(written)
    }

    /// Reads until the change of a product is seen, which the bound on staleness limits.
    async fn sees(&mut self, id: u32, new: &Product, changed: Instant) -> Result<Answer> {
        let mut outdated = 0;
        loop {
            let begun = changed.elapsed();
            let answer = self.read(id).await?;
            if answer.product.as_ref() == Some(new) {
                let since = changed.elapsed();
                println!(
                    "  {} sees it {since:.1?} later, after {outdated} outdated reads",
                    self.name
                );
                return Ok(answer.told());
            }
            ensure!(
                begun < MAX_STALENESS,
                "{} gives an outdated answer {begun:?} after the change: {answer}",
                self.name
            );
            outdated += 1;
        }
    }

    /// One of the process's statistics.
    async fn stat(&mut self, name: &str) -> Result<u64> {
        let stats: Value = serde_json::from_slice(&self.get("/stats").await?.body)?;
        let count = stats[name].as_u64();
        count.with_context(|| format!("no {name} in the statistics: {stats}"))
    }
}
