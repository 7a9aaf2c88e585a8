//! A child process that ends with the benchmark.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::BufRead;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to be ready, and to end when asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running child. Dropping it asks it to end, and kills it if it does not.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` bound to one core.
    ///
    /// # Errors
    /// If it cannot be started there.
    pub(crate) fn start(command: Command, core: usize) -> Result<Self> {
        Ok(Self { child: super::cpu::spawn_pinned(command, core)? })
    }

    /// Starts a `command` that prints its loopback address as its first line and serves until its standard input ends.
    ///
    /// # Errors
    /// If it cannot be started, or says something else first.
    pub(crate) fn start_announcing(
        mut command: Command,
        core: usize,
    ) -> Result<(Self, SocketAddr)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::start(command, core)?;
        let stdout = process.child.stdout.take().context("no pipe to the child")?;
        let mut line = String::new();
        std::io::BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .with_context(|| format!("the child said `{}`, which is no address", line.trim()))?;
        Ok((process, address))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something accepts connections at `address`.
    ///
    /// # Errors
    /// If the process ends first, or after [`PATIENCE`].
    pub(crate) fn wait_until_listening(&mut self, address: SocketAddr) -> Result<()> {
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended early: {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!("nothing listens on {address}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that has been waited for has no pid any more, and `child` would know.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
