//! Executes the marked stretches of another process's threads in single steps, and counts.

use super::decoder::{Decoded, LONGEST_BYTES};
use super::stage::{Actor, CUE, Cast};
use super::{Effort, FootprintError, FootprintRow, Operation, Subject};
use crate::caches::CacheSpec;
use nix::errno::Errno;
use nix::libc::user_regs_struct as Registers;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

const LINE_BYTES: u64 = 64;

/// Starts the process that performs `subject` on the cache, and measures there.
pub fn measure(
    mut performance: Command,
    cache: &CacheSpec,
    subject: Subject,
    effort: Effort,
) -> Result<FootprintRow, FootprintError> {
    let mut child = performance
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let process = Pid::from_raw(child.id().cast_signed());
    let stdin = child.stdin.take().expect("it was asked for");
    let stdout = child.stdout.take().expect("it was asked for");
    let mut traced = Vec::new();
    let (counted, timed_out) = thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        let watch = scope.spawn(move || {
            let timed_out = ended.recv_timeout(effort.limit) == Err(RecvTimeoutError::Timeout);
            // The process is not waited for before this thread has ended, so the number is its.
            timed_out && kill(process, Signal::SIGKILL).is_ok()
        });
        let counted = count(process, stdin, stdout, &mut traced, subject, effort);
        drop(done);
        (counted, watch.join().expect("it only waits"))
    });
    // A process that ended before it was traced has a status of its own, which this leaves.
    if !traced.is_empty() || timed_out {
        child.kill()?;
        traced.into_iter().for_each(reap);
    }
    let status = child.wait()?;
    match counted {
        _ if timed_out => Err(FootprintError::TimedOut(effort.limit)),
        Ok(tally) => Ok(tally.row(cache, subject)),
        Err(Interruption::Unheard) => Err(FootprintError::Died(status.to_string())),
        Err(Interruption::Ended(how)) => Err(FootprintError::Died(how)),
        Err(Interruption::Failed(error)) => Err(error),
    }
}

/// Why the steps came to an end.
enum Interruption {
    /// The process said nothing.
    Unheard,
    /// A traced thread has ended.
    Ended(String),
    Failed(FootprintError),
}

impl<E: Into<FootprintError>> From<E> for Interruption {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Errno> for FootprintError {
    fn from(errno: Errno) -> Self {
        Self::Trace(errno.into())
    }
}

/// A thread that has ended is not gone, nor is its process, before its tracer knows.
fn reap(thread: Pid) {
    while let Ok(status) = waitpid(thread, Some(WaitPidFlag::__WALL)) {
        if matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
            return;
        }
    }
}

/// Counts operations of the process; adds the threads of it that are traced from now on.
fn count(
    process: Pid,
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    traced: &mut Vec<Pid>,
    subject: Subject,
    effort: Effort,
) -> Result<Tally, Interruption> {
    let mut greeting = String::new();
    if BufReader::new(stdout).read_line(&mut greeting)? == 0 {
        return Err(Interruption::Unheard);
    }
    let cast: Cast = serde_json::from_str(&greeting)?;
    let (lead, rival) = (&cast.lead, &cast.rival);
    let is_hit = subject.operation == Operation::Hit;
    let playing = if is_hit {
        vec![lead, rival]
    } else {
        vec![lead]
    };
    for actor in &playing {
        seize(actor.pid())?;
        traced.push(actor.pid());
    }
    let mut stepper = Stepper {
        memory: File::open(format!("/proc/{process}/mem"))?,
        marks: cast.begin..cast.end,
        decoded: HashMap::new(),
        steps: 0,
    };
    stdin.write_all(b"go\n")?;
    for actor in &playing {
        await_cue(actor.pid())?;
    }

    let mut tally = Tally {
        empty: stepper.observe(lead)?,
        samples: Vec::new(),
    };
    while tally.samples.len() < effort.samples as usize && stepper.steps < effort.most_steps {
        let footprint = stepper.observe(lead)?;
        let (mut same_key, mut other_key) = (None, None);
        if is_hit {
            same_key = Some(stepper.observe(rival)?.meets(&footprint));
            other_key = Some(stepper.observe(rival)?.meets(&footprint));
        }
        tally.samples.push(Sample {
            footprint,
            same_key,
            other_key,
        });
    }
    Ok(tally)
}

impl Actor {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.thread)
    }
}

fn seize(thread: Pid) -> Result<(), FootprintError> {
    // The process ends with this one, whatever ends this one.
    ptrace::seize(thread, ptrace::Options::PTRACE_O_EXITKILL).map_err(|errno| match errno {
        Errno::EPERM | Errno::EACCES | Errno::ENOSYS => FootprintError::NotPermitted(errno.into()),
        errno => errno.into(),
    })
}

/// Lets a thread run until it announces an operation.
fn await_cue(thread: Pid) -> Result<(), Interruption> {
    let mut signal = stop_of(thread)?;
    while signal != Some(CUE) {
        resume(ptrace::cont(thread, signal))?;
        signal = stop_of(thread)?;
    }
    Ok(())
}

/// Waits until a thread stops: for a signal that it is about to get, or for none.
fn stop_of(thread: Pid) -> Result<Option<Signal>, Interruption> {
    match waitpid(thread, Some(WaitPidFlag::__WALL)).map_err(FootprintError::from)? {
        WaitStatus::Stopped(_, signal) => Ok(Some(signal)),
        WaitStatus::Signaled(_, signal, _) => Err(Interruption::Ended(signal.to_string())),
        WaitStatus::Exited(..) => Err(Interruption::Ended("its thread ended".to_owned())),
        _ => Ok(None),
    }
}

/// What became of a request to let a thread go on.
fn resume(request: nix::Result<()>) -> Result<(), Interruption> {
    match request {
        Ok(()) => Ok(()),
        // It is waited for to learn how it ended.
        Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Executes in single steps.
struct Stepper {
    memory: File,
    /// From the address of the first mark to that of the second. Not a range of addresses.
    marks: Range<u64>,
    /// By address. Code does not change.
    decoded: HashMap<u64, Decoded>,
    steps: u64,
}

impl Stepper {
    /// Counts the next operation of a thread that has announced it, and lets it run on until it
    /// announces another.
    fn observe(&mut self, actor: &Actor) -> Result<Footprint, Interruption> {
        let thread = actor.pid();
        let mut registers = self.step(thread)?;
        while registers.rip != self.marks.start {
            registers = self.step(thread)?;
        }
        let mut footprint = Footprint::default();
        let mut previous = None;
        while registers.rip != self.marks.end {
            let instruction = self.instruction(registers.rip)?;
            let is_repetition = instruction.is_repeated && previous == Some(registers.rip);
            if !is_repetition {
                footprint.execute(instruction);
            }
            footprint.touch(instruction, &registers, &actor.stack)?;
            previous = Some(registers.rip);
            registers = self.step(thread)?;
        }
        resume(ptrace::cont(thread, None))?;
        await_cue(thread)?;
        Ok(footprint)
    }

    fn step(&mut self, thread: Pid) -> Result<Registers, Interruption> {
        let mut signal = None;
        loop {
            resume(ptrace::step(thread, signal))?;
            match stop_of(thread)? {
                Some(Signal::SIGTRAP) => break,
                other => signal = other,
            }
        }
        self.steps += 1;
        Ok(ptrace::getregs(thread)?)
    }

    fn instruction(&mut self, address: u64) -> Result<&Decoded, FootprintError> {
        match self.decoded.entry(address) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let mut bytes = [0; LONGEST_BYTES];
                let length = self.memory.read_at(&mut bytes, address)?;
                let decoded = Decoded::new(address, &bytes[..length])
                    .ok_or(FootprintError::Undecodable { address })?;
                Ok(entry.insert(decoded))
            }
        }
    }
}

/// What a stretch executed and touched. Lines are numbered by their addresses.
#[derive(Clone, Debug, Default)]
struct Footprint {
    instructions: u64,
    atomic_instructions: u64,
    fences: u64,
    system_calls: u64,
    read: HashSet<u64>,
    written: HashSet<u64>,
}

impl Footprint {
    fn execute(&mut self, instruction: &Decoded) {
        self.instructions += 1;
        self.atomic_instructions += u64::from(instruction.is_atomic);
        self.fences += u64::from(instruction.is_fence);
        self.system_calls += u64::from(instruction.is_system_call);
    }

    fn touch(
        &mut self,
        instruction: &Decoded,
        registers: &Registers,
        stack: &Range<u64>,
    ) -> Result<(), FootprintError> {
        for access in instruction.accesses(registers)? {
            if stack.contains(&access.address) {
                continue;
            }
            let last = access.address + access.bytes - 1;
            let lines = access.address / LINE_BYTES..=last / LINE_BYTES;
            if access.reads {
                self.read.extend(lines.clone());
            }
            if access.writes {
                self.written.extend(lines);
            }
        }
        Ok(())
    }

    /// How many lines that `other` has written this one touches.
    fn meets(&self, other: &Self) -> usize {
        let written = other.written.iter();
        written
            .filter(|line| self.read.contains(line) || self.written.contains(line))
            .count()
    }
}

struct Sample {
    footprint: Footprint,
    same_key: Option<usize>,
    other_key: Option<usize>,
}

/// All that was seen.
struct Tally {
    /// What a stretch with nothing in it executes: the marks themselves.
    empty: Footprint,
    samples: Vec<Sample>,
}

impl Tally {
    fn row(&self, cache: &CacheSpec, subject: Subject) -> FootprintRow {
        FootprintRow {
            cache: cache.to_string(),
            operation: subject.operation,
            keys: subject.keys,
            samples: self.samples.len() as u32,
            instructions: mean(self.each(|footprint| footprint.instructions)),
            instructions_median: self.median_instructions(),
            atomic_instructions: mean(self.each(|footprint| footprint.atomic_instructions)),
            fences: mean(self.each(|footprint| footprint.fences)),
            system_calls: mean(self.each(|footprint| footprint.system_calls)),
            lines_read: mean(self.each(|footprint| footprint.read.len() as u64)),
            lines_written: mean(self.each(|footprint| footprint.written.len() as u64)),
            shared_lines_written_same_key: self.mean_if_any(|sample| sample.same_key),
            shared_lines_written_other_key: self.mean_if_any(|sample| sample.other_key),
        }
    }

    /// A figure of each sample, less that of the empty stretch.
    fn each(&self, figure: fn(&Footprint) -> u64) -> impl ExactSizeIterator<Item = u64> {
        let samples = self.samples.iter();
        samples.map(move |sample| {
            let whole = figure(&sample.footprint);
            let operation = whole.checked_sub(figure(&self.empty));
            operation.expect("what the empty stretch does, every stretch does")
        })
    }

    fn median_instructions(&self) -> f64 {
        let mut sorted: Vec<_> = self.each(|footprint| footprint.instructions).collect();
        sorted.sort_unstable();
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        (low + high) as f64 / 2.0
    }

    fn mean_if_any(&self, figure: fn(&Sample) -> Option<usize>) -> Option<f64> {
        let figures: Option<Vec<_>> = self.samples.iter().map(figure).collect();
        figures.map(|figures| mean(figures.into_iter().map(|figure| figure as u64)))
    }
}

fn mean(figures: impl ExactSizeIterator<Item = u64>) -> f64 {
    let count = figures.len();
    figures.sum::<u64>() as f64 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::decoder::ZEROED;
    use crate::keys::Kind;
    use std::time::Duration;

    /// What is said of a process that is not the laboratory's.
    fn refusal(program: &str, limit: Duration) -> FootprintError {
        let cache: CacheSpec = "nuthatch-lockfree".parse().unwrap();
        let subject = Subject {
            operation: Operation::Hit,
            keys: Kind::U64,
            capacity: 100,
        };
        let effort = Effort {
            samples: 1,
            most_steps: 1,
            limit,
        };
        measure(Command::new(program), &cache, subject, effort).unwrap_err()
    }

    #[test]
    fn a_process_that_dies_is_told_with_its_status() {
        let error = refusal("false", Duration::MAX);
        assert!(matches!(error, FootprintError::Died(_)), "{error}");
        assert!(error.to_string().contains("exit status: 1"), "{error}");
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        // It waits for input that never comes.
        let error = refusal("cat", Duration::from_millis(1));
        assert!(matches!(error, FootprintError::TimedOut(_)), "{error}");
    }

    #[test]
    fn a_process_that_says_something_else_is_not_traced() {
        let error = refusal("pwd", Duration::MAX);
        assert!(matches!(error, FootprintError::Greeting(_)), "{error}");
    }

    fn footprint(read: &[u64], written: &[u64]) -> Footprint {
        Footprint {
            read: read.iter().copied().collect(),
            written: written.iter().copied().collect(),
            ..Footprint::default()
        }
    }

    #[test]
    fn a_line_is_shared_if_one_writes_what_the_other_reads_or_writes() {
        let lead = footprint(&[1, 2, 3], &[3, 4, 5]);
        assert_eq!(footprint(&[1, 2], &[]).meets(&lead), 0);
        assert_eq!(footprint(&[3], &[3]).meets(&lead), 1);
        assert_eq!(footprint(&[1, 4], &[2, 5]).meets(&lead), 2);
    }

    #[test]
    fn an_access_across_a_boundary_touches_two_lines_and_the_stack_does_not_count() {
        // movups [rsp], xmm0
        let store = Decoded::new(0, &[0x0f, 0x11, 0x04, 0x24]).unwrap();
        let at = |rsp| Registers { rsp, ..ZEROED };
        let stack = 0x8000..0x9000;
        let mut touched = Footprint::default();
        for rsp in [0x7038, 0x8038, 0x9000] {
            touched.touch(&store, &at(rsp), &stack).unwrap();
        }
        let expected = [0x7038 / 64, 0x7040 / 64, 0x9000 / 64];
        assert_eq!(touched.written, expected.into_iter().collect());
        assert!(touched.read.is_empty());
    }
}
