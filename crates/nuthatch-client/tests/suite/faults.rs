//! The staleness bound under faults: no read is out of date beyond it, nothing hangs or piles up, and the near
//! cache is useful again when the fault is over.

use crate::proxy::Proxy;
use crate::servers::{Cluster, Ours, Redis};
use crate::staleness::{MAX_STALENESS, Trial};
use parking_lot::Mutex;
use std::process::{Command, Stdio};
use std::time::Duration;

/// One trial after the other: they are about faults of servers, not about a machine with too much to do.
static TURN: Mutex<()> = Mutex::new(());

const A_WHILE: Duration = Duration::from_secs(2);

/// One server, with a writer of its own.
fn alone(redis: &Redis) -> Trial {
    Trial::start(&redis.url(), vec![redis.port()], 0)
}

#[test]
fn alone_under_load_killed_paused_and_flushed() {
    let _turn = TURN.lock();
    let Some(redis) = Redis::start() else { return };
    let trial = alone(&redis);
    trial.go_on(A_WHILE);
    for _ in 0..10 {
        let _killed: u32 = redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        trial.go_on(Duration::from_millis(100));
    }
    eprintln!(
        "useful {:?} after its clients were killed",
        trial.becomes_useful()
    );
    for what in ["ALL", "WRITE"] {
        let () = redis.ask(&["CLIENT", "PAUSE", "1500", what]);
        trial.go_on(A_WHILE);
        eprintln!(
            "useful {:?} after CLIENT PAUSE {what}",
            trial.becomes_useful()
        );
    }
    for _ in 0..3 {
        let () = redis.ask(&["FLUSHALL"]);
        trial.all_flushed();
        trial.go_on(2 * MAX_STALENESS);
    }
    eprintln!("useful {:?} after FLUSHALL", trial.becomes_useful());
    let stats = trial.end("alone");
    assert!(stats.invalidations > 0 && stats.disconnects >= 10 && stats.flushes >= 3);
}

#[test]
fn our_own_server_under_load_killed_paused_and_flushed() {
    let _turn = TURN.lock();
    let ours = Ours::start();
    let trial = Trial::start(&ours.url(), vec![ours.port()], 0);
    trial.go_on(A_WHILE);
    for _ in 0..5 {
        let _killed: u32 = ours.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        trial.go_on(Duration::from_millis(100));
    }
    let () = ours.ask(&["CLIENT", "PAUSE", "1500", "ALL"]);
    trial.go_on(A_WHILE);
    let () = ours.ask(&["FLUSHALL"]);
    trial.all_flushed();
    trial.go_on(2 * MAX_STALENESS);
    eprintln!("useful {:?} after all of it", trial.becomes_useful());
    let stats = trial.end("our own server");
    assert!(stats.invalidations > 0 && stats.disconnects >= 5 && stats.flushes == 1);
}

#[test]
fn a_server_that_is_stopped_or_killed_and_comes_back() {
    let _turn = TURN.lock();
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let trial = alone(&redis);
    redis.freeze();
    trial.go_on(Duration::from_secs(5));
    redis.thaw();
    eprintln!(
        "useful {:?} after 5 seconds of SIGSTOP",
        trial.becomes_useful()
    );
    redis.kill();
    trial.all_flushed();
    trial.go_on(A_WHILE);
    redis.restart();
    eprintln!("useful {:?} after a restart", trial.becomes_useful());
    let stats = trial.end("stopped and killed");
    assert!(stats.disconnects >= 2 && stats.remote_unavailable > 0);
}

#[test]
fn a_server_that_is_cut_off_while_others_write() {
    let _turn = TURN.lock();
    let Some(redis) = Redis::start() else { return };
    let network = Proxy::to(redis.port());
    let trial = Trial::start(&network.url(), vec![redis.port()], 0);
    for _ in 0..3 {
        trial.go_on(A_WHILE);
        network.cut();
        trial.go_on(4 * MAX_STALENESS);
        network.mend();
        eprintln!(
            "useful {:?} after {:?} without a network",
            trial.becomes_useful(),
            4 * MAX_STALENESS
        );
    }
    // Too short for anybody to notice; what waited comes late.
    for _ in 0..10 {
        network.cut();
        trial.go_on(MAX_STALENESS / 3);
        network.mend();
        trial.go_on(MAX_STALENESS / 2);
    }
    let stats = trial.end("cut off");
    assert!(stats.disconnects >= 3 && stats.unvouched > 0);
}

/// The cluster's ports, where a writer may begin.
fn ports(cluster: &Cluster) -> Vec<u16> {
    cluster.nodes.iter().map(Redis::port).collect()
}

#[test]
fn a_cluster_whose_primary_is_killed() {
    let _turn = TURN.lock();
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let trial = Trial::start(&cluster.url(), ports(&cluster), 1);
    trial.go_on(A_WHILE);
    let victim = cluster.primary(0, 0);
    let witness = (victim + 1) % cluster.nodes.len();
    cluster.nodes[victim].kill();
    eprintln!(
        "useful {:?} after a primary was killed",
        trial.becomes_useful()
    );
    crate::servers::eventually("a replica takes its place", || {
        cluster.primary(0, witness) != victim
    });
    trial.go_on(A_WHILE);
    eprintln!("useful {:?} after the failover", trial.becomes_useful());
    let stats = trial.end("a primary was killed");
    assert!(stats.moved_slots >= 5_000, "{}", stats.moved_slots);
}

#[test]
fn a_cluster_whose_primary_is_stopped_for_longer_than_an_election_takes() {
    let _turn = TURN.lock();
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let trial = Trial::start(&cluster.url(), ports(&cluster), 1);
    trial.go_on(A_WHILE);
    let victim = cluster.primary(0, 0);
    let witness = (victim + 1) % cluster.nodes.len();
    cluster.nodes[victim].freeze();
    trial.go_on(Duration::from_secs(5));
    crate::servers::eventually("a replica takes its place", || {
        cluster.primary(0, witness) != victim
    });
    // It believes for a moment that nothing has changed.
    cluster.nodes[victim].thaw();
    trial.go_on(A_WHILE);
    eprintln!(
        "useful {:?} after 5 seconds of SIGSTOP",
        trial.becomes_useful()
    );
    let stats = trial.end("a primary was stopped");
    assert!(stats.moved_slots >= 5_000, "{}", stats.moved_slots);
}

#[test]
fn a_cluster_whose_primary_is_deposed_and_back_before_it_is_missed() {
    let _turn = TURN.lock();
    let Some(cluster) = Cluster::electing_after("300") else {
        return;
    };
    let bound = Duration::from_secs(4);
    let trial = Trial::bounded(&cluster.url(), ports(&cluster), 1, bound);
    trial.go_on(A_WHILE);
    let victim = cluster.primary(0, 0);
    let witness = (victim + 1) % cluster.nodes.len();
    cluster.nodes[victim].freeze();
    crate::servers::eventually("a replica takes its place", || {
        cluster.primary(0, witness) != victim
    });
    cluster.nodes[victim].thaw();
    // Its connection has not broken: that the slots are another's is told by the others' epoch.
    trial.go_on(2 * bound);
    eprintln!("useful {:?} after it", trial.becomes_useful());
    let stats = trial.end("a primary was deposed");
    assert!(stats.moved_slots >= 5_000, "{}", stats.moved_slots);
}

#[test]
fn a_cluster_whose_slots_move_and_whose_nodes_are_flushed() {
    let _turn = TURN.lock();
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let trial = Trial::start(&cluster.url(), ports(&cluster), 1);
    let (from, to) = (cluster.primary(0, 0), cluster.primary(16_383, 0));
    let id = |place: usize| cluster.nodes[place].ask::<String>(&["CLUSTER", "MYID"]);
    let status = Command::new("redis-cli")
        .args([
            "--cluster",
            "reshard",
            &format!("127.0.0.1:{}", cluster.nodes[0].port()),
        ])
        .args(["--cluster-from", &id(from), "--cluster-to", &id(to)])
        .args(["--cluster-slots", "1000", "--cluster-yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("redis-cli");
    assert!(status.success(), "slots are moved");
    eprintln!(
        "useful {:?} after 1,000 slots have moved",
        trial.becomes_useful()
    );
    for place in [0, 1, 2, 3, 4, 5] {
        let role: redis::Value = cluster.nodes[place].ask(&["ROLE"]);
        if format!("{role:?}").contains("master") {
            let () = cluster.nodes[place].ask(&["FLUSHALL"]);
        }
    }
    trial.all_flushed();
    trial.go_on(A_WHILE);
    eprintln!("useful {:?} after FLUSHALL", trial.becomes_useful());
    let stats = trial.end("slots have moved");
    assert!(
        stats.moved_slots >= 1_000 && stats.flushes >= 3,
        "{stats:?}"
    );
}
