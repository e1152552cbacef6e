//! A cache bounded by bytes, whose listener keeps the account of what left and why.
//!
//! Run it with `cargo run --example weighted_with_listener`.

#![expect(clippy::print_stdout, reason = "an example speaks to people")]

use nuthatch::{BuildError, Cache, Insertion, RemovalCause};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// 64 KiB, for thumbnails of up to 4 KiB.
const CAPACITY_BYTES: u64 = 64 << 10;

fn main() -> Result<(), BuildError> {
    let evicted_bytes = Arc::new(AtomicU64::new(0));
    let account = Arc::clone(&evicted_bytes);
    let thumbnails: Cache<String, Vec<u8>> = Cache::builder()
        .weight_capacity(CAPACITY_BYTES)
        .weigher(|name: &String, image: &Vec<u8>| {
            // What does not fit into the number is too heavy for the cache, and is refused.
            u32::try_from(name.len() + image.len()).unwrap_or(u32::MAX)
        })
        .listener(move |name, image, cause| {
            let bytes = (name.len() + image.len()) as u64;
            match cause {
                // Called on the thread whose write made them leave, after it released its lock.
                RemovalCause::Evicted => _ = account.fetch_add(bytes, Ordering::Relaxed),
                cause => println!("{name} ({bytes} bytes) was {cause}"),
            }
        })
        .build()?;

    thumbnails.insert("logo.png".to_owned(), vec![0; 4_000]);
    // Never evicted from here on, though its weight still counts.
    assert!(thumbnails.pin("logo.png"));
    thumbnails.insert("logo.png".to_owned(), vec![1; 3_000]);

    let mut written_bytes = 3_008;
    for number in 0..200 {
        let name = format!("photo {number:03}");
        let image = vec![2; 1_000 + number * 15];
        written_bytes += (name.len() + image.len()) as u64;
        thumbnails.insert(name, image);
        assert!(thumbnails.weight() <= CAPACITY_BYTES);
    }
    assert!(thumbnails.contains_key("logo.png"));

    let poster = vec![3; CAPACITY_BYTES as usize];
    let refused = thumbnails.insert("poster".to_owned(), poster);
    assert_eq!(refused, Insertion::Rejected);
    thumbnails.invalidate("logo.png");

    let left_bytes = evicted_bytes.load(Ordering::Relaxed);
    println!(
        "{} thumbnails stay, {} bytes of {CAPACITY_BYTES}; {left_bytes} bytes were evicted",
        thumbnails.len(),
        thumbnails.weight(),
    );
    // Every byte that was written has stayed, was evicted, or was the logo's.
    assert_eq!(written_bytes, thumbnails.weight() + left_bytes + 3_008);
    Ok(())
}
