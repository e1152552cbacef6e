//! The database: products in a file of SQLite, which several processes may open.
//!
//! SQLite blocks the thread that asks it, so it is asked on threads that may block.

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, spawn_blocking};

/// How long to wait for another process that writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is sold, but for its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) name: String,
    pub(crate) price_cents: u32,
    pub(crate) stock: u32,
}

/// Why the database gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// SQLite says so.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that asked it has ended.
    #[error("the query was broken off")]
    BrokenOff(#[from] JoinError),
}

/// One connection; clones share it.
#[derive(Clone)]
pub(crate) struct Database {
    connection: Arc<Mutex<Connection>>,
}

impl Database {
    /// Makes a database with products numbered from 1 on, always the same.
    pub(crate) fn create(path: &Path, products: u32) -> Result<(), DatabaseError> {
        let mut connection = Connection::open(path)?;
        // The log lets processes read while one writes. That it is used is kept in the file.
        connection.pragma_update(None, "journal_mode", "wal")?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(
            "CREATE TABLE products (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL,
                price_cents INTEGER NOT NULL,
                stock INTEGER NOT NULL
            ) STRICT",
        )?;
        {
            let mut insert = transaction.prepare("INSERT INTO products VALUES (?1, ?2, ?3, ?4)")?;
            for id in 1..=products {
                let Product {
                    name,
                    price_cents,
                    stock,
                } = sample(id);
                insert.execute((id, name, price_cents, stock))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Opens a database that exists.
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// The product with a number, if there is one.
    pub(crate) async fn find(&self, id: u32) -> Result<Option<Product>, DatabaseError> {
        self.ask(move |connection| {
            let query = "SELECT name, price_cents, stock FROM products WHERE id = ?1";
            let product = connection.query_row(query, [id], |row| {
                Ok(Product {
                    name: row.get(0)?,
                    price_cents: row.get(1)?,
                    stock: row.get(2)?,
                })
            });
            product.optional()
        })
        .await
    }

    /// Stores a product under a number, over the one that is there. It has happened when this returns.
    pub(crate) async fn store(&self, id: u32, product: Product) -> Result<(), DatabaseError> {
        self.ask(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO products VALUES (?1, ?2, ?3, ?4)",
                (id, product.name, product.price_cents, product.stock),
            )
        })
        .await?;
        Ok(())
    }

    async fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let connection = Arc::clone(&self.connection);
        let answer = spawn_blocking(move || query(&connection.lock())).await?;
        Ok(answer?)
    }
}

/// The product that a new database has under a number.
fn sample(id: u32) -> Product {
    const MANNERS: [&str; 5] = ["Roasted", "Salted", "Candied", "Smoked", "Plain"];
    const NUTS: [&str; 7] = [
        "almonds",
        "cashews",
        "hazelnuts",
        "macadamias",
        "pecans",
        "pistachios",
        "walnuts",
    ];
    let place = id as usize;
    Product {
        name: format!(
            "{} {}, lot {id}",
            MANNERS[place % MANNERS.len()],
            NUTS[place % NUTS.len()]
        ),
        price_cents: 199 + id % 13 * 50,
        stock: id % 97,
    }
}
