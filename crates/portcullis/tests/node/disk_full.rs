//! The disk is full: nothing leaves, and cutting still works.

use crate::origin::Origin;
use crate::process::{employ, kill, restart, start};
use crate::software::{Line, Manner};
use crate::support::{Transport, portcullis, said, wait};
use anyhow::{Context, Result, ensure};
use rustix::fs::statvfs;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tokio::runtime::Runtime;

/// One segment of the log, the vault, the register and the registry, and some space.
const DISK: &str = "size=100m";

/// A file system in memory; taken away again when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        said(Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(at))?;
        Ok(Self(at.to_owned()))
    }

    /// Writes a file that takes all the space there is.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("ballast");
        let mut file = File::create(&path)?;
        for block in [1 << 20, 1 << 12, 1] {
            let zeros = vec![0; block];
            while file.write_all(&zeros).is_ok() {}
        }
        ensure!(statvfs(&self.0)?.f_bavail == 0, "there is space left");
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // By now no process uses it; what cannot be taken away is memory that the next boot frees.
        let _left = said(Command::new("umount").arg("-l").arg(&self.0));
        let _left = self.0.parent().map(std::fs::remove_dir_all);
    }
}

/// Reads people nobody has read before.
struct Reader<'a> {
    runtime: &'a Runtime,
    line: Line,
    next: u32,
}

impl Reader<'_> {
    fn status(&mut self) -> u16 {
        self.next += 1;
        let path = format!("/v1/people/p-{}", self.next);
        self.runtime.block_on(self.line.get(&path)).status
    }

    /// Reads until answers of this status come, and nothing else for a while.
    fn until(&mut self, status: u16) -> Result<()> {
        let mut in_a_row = 0;
        wait(|| {
            let look = Instant::now();
            while look.elapsed().as_millis() < 500 {
                in_a_row = if self.status() == status { in_a_row + 1 } else { 0 };
                if in_a_row == 50 {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .with_context(|| format!("never answered {status} fifty times in a row"))
    }
}

#[test]
fn with_the_disk_full_nothing_leaves_and_a_cut_is_durable() -> Result<()> {
    let _alone = crate::alone();
    let directory = tempfile::tempdir()?;
    let disk = match Disk::mount(&directory.path().join("node")) {
        Ok(disk) => disk,
        Err(refused) => {
            println!("disk full: left out, for a file system cannot be mounted here: {refused:#}");
            return Ok(());
        }
    };
    let runtime = Runtime::new()?;
    let origin = runtime.block_on(Origin::start())?;
    let mut node = start(Some(directory), &origin, Transport::ClearText)?;
    let tool = runtime.block_on(employ(&node, "tool", true))?;
    let other = runtime.block_on(employ(&node, "other", true))?;
    let reader = |line, next| Reader { runtime: &runtime, line, next };
    let mut tool = reader(tool.software.line(Manner::Brisk), 0);
    let mut other = reader(other.software.line(Manner::Brisk), 1_000_000);
    tool.until(200)?;
    other.until(200)?;
    let ballast = disk.fill()?;
    let read_before = tool.next;
    tool.until(503)?;
    other.until(503)?;
    let read_on_a_full_disk = tool.next - read_before;

    let cut = Instant::now();
    // The command's exit code says that the cut is durable.
    let receipt = said(
        portcullis()
            .args(["sever", "integration:tool", "--reason", "it polls", "--config"])
            .arg(node.data().join("portcullis.toml"))
            .arg("--key")
            .arg(node.key("first")),
    )?;
    let cut = cut.elapsed();
    ensure!(receipt.contains(r#""not_durable":null"#), "{receipt}");
    tool.until(403)?;
    other.until(503)?;

    std::fs::remove_file(ballast)?;
    let space_is_back = Instant::now();
    other.until(200)?;
    let flows_after = space_is_back.elapsed();
    tool.until(403)?;

    kill(&mut node)?;
    restart(&mut node)?;
    tool.until(403)?;
    other.until(200)?;
    println!(
        "disk full: {read_on_a_full_disk} requests until the last was refused; severed in {cut:?}, process and all; fifty answers in a row {flows_after:?} after space was back; still severed after a kill"
    );
    drop(node);
    Ok(())
}
