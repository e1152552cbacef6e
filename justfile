# Recipes for people; continuous integration runs only scripts/test. Each calls plain cargo commands.

host := `rustc -vV | sed -n 's/^host: //p'`

# Lists the recipes.
default:
    @just --list

# Every check that a change must pass.
test:
    scripts/test

# Formats the code and denies what clippy finds.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# The performance analysis in brief; machines in other use give useless timings.
report-quick out="target/report-quick":
    cargo run --release --package nuthatch-lab -- report --quick --out {{out}}

# The performance analysis, an hour or so.
report out="target/report":
    cargo run --release --package nuthatch-lab -- report --out {{out}}

# Installs the clients with which the server is tested, under target/client-tools.
client-tools:
    scripts/client-tools

# Instructions that an operation executes, which no noise disturbs. Needs valgrind.
instructions policies="default,s3_fifo,fifo" operations="get,miss,update,evict,load" capacities="1000,10000,100000,1000000":
    scripts/instructions {{policies}} {{operations}} {{capacities}}

# The server under full load for so many minutes: flat memory, counters that agree, no trace of clients that left.
soak minutes="30":
    scripts/soak {{minutes}}

# What the server holds resident beside its bound, by the length of values; fails above 5 %.
memory-bound:
    scripts/memory-bound

# Cache servers beside one another: cpu, memory, hits or latency. See the script for where peers are looked for.
compare-servers what="cpu":
    scripts/compare-servers {{what}}

# What event loops cost by themselves.
runtimes:
    scripts/runtimes

# Model-checks the concurrent parts: every interleaving of a few threads' steps.
loom:
    RUSTFLAGS="--cfg loom" cargo test --package nuthatch --lib --release --target-dir target/loom model

# So many crashes of the storage, at random places and of all kinds, against a model.
crashes count="20000":
    NUTHATCH_CRASHES={{count}} cargo test --release --package nuthatch-storage --features simulation --test crashes -- --nocapture

# So many crashes of the server's durability on a simulated disk, against what was there.
server-crashes count="20000":
    NUTHATCH_CRASHES={{count}} cargo test --release --package nuthatch-server --test crashes -- --nocapture

# Durability beside Redis: restart, snapshot, throughput or latency. See the script for what it needs.
compare-durability what="restart":
    scripts/compare-durability {{what}}

# So many kills of the program under load, of each kind: of each policy of syncing, with one and two threads.
kills count="50":
    NUTHATCH_KILLS={{count}} cargo test --release --package nuthatch-server --test kills -- --nocapture

# Feeds each fuzz target, or those named, new inputs for so many seconds.
fuzz seconds="300" *targets="":
    scripts/fuzz {{seconds}} {{targets}}

# As `fuzz`, under AddressSanitizer. Needs a nightly toolchain.
fuzz-asan seconds="300" *targets="":
    SANITIZER=address scripts/fuzz {{seconds}} {{targets}}

# The library's tests under AddressSanitizer: use after free, leaks. Needs a nightly toolchain.
# `stress` multiplies the stress tests' work.
asan stress="1":
    CARGO_PROFILE_DEV_OPT_LEVEL=1 NUTHATCH_STRESS={{stress}} RUSTFLAGS="-Zsanitizer=address --cfg nuthatch_plain_items" \
        cargo +nightly test --package nuthatch --all-features \
        --lib --tests --target {{host}} --target-dir target/asan

# The library's tests under ThreadSanitizer: data races. Needs a nightly toolchain with rust-src
# (`rustup component add rust-src --toolchain nightly`), for a standard library that is not
# instrumented hides synchronisation and so raises false alarms. Nothing is suppressed.
tsan stress="1":
    CARGO_PROFILE_DEV_OPT_LEVEL=1 NUTHATCH_STRESS={{stress}} RUSTFLAGS="-Zsanitizer=thread" \
        cargo +nightly test --package nuthatch --all-features \
        --lib --tests -Zbuild-std --target {{host}} --target-dir target/tsan

# The library's unit tests under Miri: undefined behaviour. Needs a nightly toolchain with miri.
miri filter="":
    cargo +nightly miri test --package nuthatch --lib {{filter}}

# Dependencies' licences, sources and known flaws. Needs cargo-deny and its advisory database.
deny:
    cargo deny check

# Records the traces anew and computes their reference miss ratios; PYTHON has libcachesim 0.3.5.
traces python="python3":
    scripts/record-traces
    {{python}} scripts/reference-miss-ratios
