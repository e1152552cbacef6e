//! Runs many independent cells on several threads, with a progress bar on stderr.

use crate::progress;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `work` on every cell and returns the results in the cells' order. The bar shows only on a
/// terminal.
///
/// # Panics
/// If `work` does.
pub fn sweep<C: Sync, R: Send>(
    label: &str,
    cells: &[C],
    threads: NonZeroUsize,
    work: impl Fn(&C) -> R + Sync,
) -> Vec<R> {
    let bar = progress::bar(label, cells.len() as u64);
    let results: Mutex<Vec<Option<R>>> = Mutex::new(cells.iter().map(|_| None).collect());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads.get().min(cells.len()) {
            scope.spawn(|| {
                loop {
                    // Relaxed: each thread only needs a place of its own.
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(place) else {
                        break;
                    };
                    let result = work(cell);
                    results.lock().expect("no thread panicked")[place] = Some(result);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let results = results.into_inner().expect("no thread panicked");
    results
        .into_iter()
        .map(|result| result.expect("every cell was done"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_cells() {
        let cells: Vec<_> = (0..100).collect();
        let threads = NonZeroUsize::new(3).unwrap();
        let squares = sweep("squares", &cells, threads, |&cell| cell * cell);
        assert!(
            squares
                .iter()
                .zip(&cells)
                .all(|(square, cell)| *square == cell * cell)
        );
        assert!(sweep("nothing", &[], threads, |(): &()| ()).is_empty());
    }
}
