//! Processor time and processor affinity of the processes that are measured.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// Binds the calling thread, and every thread it starts from here on, to one core.
///
/// # Errors
/// If the machine has no such core or does not let us have it.
pub(crate) fn pin_this_thread(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core} alone"))
}

/// Starts a process that can run on one core only, all its threads and children included.
///
/// # Errors
/// As [`pin_this_thread`], or if the program cannot be started.
pub(crate) fn spawn_pinned(mut command: Command, core: usize) -> Result<Child> {
    // Affinity is inherited from the thread that forks, so a thread of its own forks.
    let forked = std::thread::spawn(move || {
        pin_this_thread(core)?;
        command
            .spawn()
            .with_context(|| format!("cannot start `{}`", command.get_program().display()))
    });
    forked.join().map_err(|_| anyhow::anyhow!("the forking thread ended early"))?
}

/// Time that a process, its children and all their threads have spent on a processor.
///
/// It is the scheduler's own sum, in nanoseconds (`/proc/PID/task/TID/schedstat`, first number): user and system time,
/// and interrupts served meanwhile. Threads and children that have ended are not in it, so the processes measured here
/// keep theirs; what kernel threads do for a process, writing to a disk for instance, is nobody's.
///
/// # Errors
/// If there is no such process, or the kernel keeps no such sum (`CONFIG_SCHED_INFO`).
pub(crate) fn time_on_processor(pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    let tasks = format!("/proc/{pid}/task");
    for task in std::fs::read_dir(&tasks).with_context(|| format!("no process {pid}"))? {
        let task = task?.path();
        match task_time(&task) {
            Ok(time) => sum += time,
            // A thread that ended since the folder was read.
            Err(_) if !task.exists() => continue,
            Err(error) => {
                return Err(error.context(format!("no `schedstat` in {}", task.display())));
            }
        }
        let children = std::fs::read_to_string(task.join("children")).unwrap_or_default();
        for child in children.split_ascii_whitespace() {
            sum += time_on_processor(child.parse()?)?;
        }
    }
    Ok(sum)
}

fn task_time(task: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(task.join("schedstat"))?;
    let nanos = text.split_ascii_whitespace().next().context("it is empty")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// Model of the processor, as `/proc/cpuinfo` names it.
pub(crate) fn model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_any_thread_counts() {
        let before = time_on_processor(std::process::id()).unwrap();
        let worked = std::thread::spawn(|| {
            let started = std::time::Instant::now();
            while started.elapsed() < Duration::from_millis(30) {
                std::hint::black_box(0);
            }
            time_on_processor(std::process::id()).unwrap()
        });
        assert!(worked.join().unwrap() > before);
        assert!(time_on_processor(u32::MAX).is_err());
    }
}
