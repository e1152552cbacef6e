//! The heap meter under the counting allocator that the binary has.
#![forbid(unsafe_code)]

use nuthatch_lab::heap::HeapMeter;
use std::alloc::System;
use std::hint::black_box;

#[global_allocator]
static HEAP: alloc_tracker::Allocator<System> = alloc_tracker::Allocator::system();

fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

// One test: the counts are of the whole process, so a test that ran beside it would be in them.
#[test]
fn the_meter_tells_what_work_allocates_and_what_it_leaves() {
    let meter = HeapMeter::new().unwrap();

    let ((), counted) = meter.allocations(|| {
        for _ in 0..1000 {
            drop(block(1024));
        }
    });
    // The test harness's own thread may add a few.
    assert!((1000..1010).contains(&counted.count), "{counted:?}");
    assert!(
        (1_024_000..1_034_000).contains(&counted.bytes),
        "{counted:?}"
    );

    let ((), counted) = meter.allocations(|| {
        let other = std::thread::spawn(|| drop(block(5000)));
        other.join().unwrap();
    });
    assert!(counted.bytes >= 5000, "{counted:?}");

    // A peak far above what is left does not show.
    let (kept, grown) = meter
        .growth(0, || {
            drop(block(100 << 20));
            block(12_345)
        })
        .unwrap();
    assert_eq!(grown, 12_345);

    let ((), grown) = meter
        .growth(12_345, || {
            drop(block(50_000));
            drop(kept);
        })
        .unwrap();
    assert_eq!(grown, -12_345);
}
