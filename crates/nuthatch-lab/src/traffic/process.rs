//! What a server's process has used, by the word of the operating system.

use std::time::Duration;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// A process on this machine.
#[derive(Debug)]
pub struct ServerProcess {
    pid: Pid,
    /// `None` on machines that tell nothing of processes.
    system: Option<System>,
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on processors since it started, in the kernel and outside, of all its threads. The
    /// kernel tells it in hundredths of a second.
    pub cpu: Duration,
    /// Memory that it occupies.
    pub resident_bytes: u64,
}

impl ServerProcess {
    /// The process of this number.
    pub fn new(pid: u32) -> Self {
        Self {
            pid: Pid::from_u32(pid),
            system: System::new().ok(),
        }
    }

    /// This process.
    pub fn own() -> Self {
        Self::new(std::process::id())
    }

    /// What it has used; `None` if it is gone, or the machine does not tell.
    pub fn usage(&mut self) -> Option<Usage> {
        let kind = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .without_tasks();
        let only = ProcessesToUpdate::Some(&[self.pid]);
        let system = self.system.as_mut()?;
        system.refresh_processes_specifics(only, true, kind);
        let process = system.process(self.pid)?;
        Some(Usage {
            cpu: Duration::from_millis(process.accumulated_cpu_time()),
            resident_bytes: process.memory(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::process::{Command, Stdio};

    #[test]
    fn work_costs_processor_time_also_on_another_thread() {
        let mut process = ServerProcess::own();
        let before = process.usage().unwrap();
        assert!(before.resident_bytes > 0);
        while process.usage().unwrap().cpu == before.cpu {
            let work = || (0..1_000_000_u64).map(black_box).sum::<u64>();
            std::thread::spawn(work).join().unwrap();
        }
    }

    #[test]
    fn a_process_that_ended_has_no_usage() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut process = ServerProcess::new(child.id());
        assert!(process.usage().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.usage().is_none());
    }
}
