//! When and how a process is killed. Everything is chosen from a seed, so that a failing run can be played again.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use integration_tests::site::Site;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Provider,
    Consumer,
    Command,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long after the work began.
    After(Duration),
    /// At the so-manieth call of a thread on a file of the journal.
    AtCall { call: &'static str, number: u32 },
}

/// One kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) victim: Victim,
    pub(crate) moment: Moment,
}

/// The system calls by which the journal writes; what is cut between two of them is what a crash leaves.
const CALLS: [&str; 3] = ["fdatasync", "pwrite64", "fallocate"];
const LONGEST_WAIT_MS: u64 = 400;

/// Numbers from a seed.
pub(crate) struct Dice(blake3::OutputReader);

impl Dice {
    pub(crate) fn new(seed: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(seed).finalize_xof())
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit.max(1)
    }

    pub(crate) fn kill(&mut self, may_trace: bool) -> Result<Kill> {
        let victim = match self.below(5) {
            0 | 1 => Victim::Provider,
            2 | 3 => Victim::Consumer,
            _ => Victim::Command,
        };
        let traced = may_trace && victim != Victim::Command && self.below(2) == 0;
        let moment = if traced {
            let call = CALLS.get(usize::try_from(self.below(4))?).copied().unwrap_or("fdatasync");
            // Segments are made rarely; the others once for each frame.
            let most = if call == "fallocate" { 1 } else { 14 };
            Moment::AtCall { call, number: u32::try_from(1 + self.below(most))? }
        } else {
            Moment::After(Duration::from_millis(self.below(LONGEST_WAIT_MS)))
        };
        Ok(Kill { victim, moment })
    }
}

/// The program below which a daemon is started so that something (`signal=KILL`, `error=EIO`) comes of a call on a file of
/// the journal: of the so-manieth of a thread. `-D` leaves the daemon our own child.
pub(crate) fn tracer(site: &Site, call: &str, what: &str, number: u32) -> Result<Vec<OsString>> {
    let mut words =
        ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e"].map(OsString::from).to_vec();
    words.push(format!("inject={call}:{what}:when={number}").into());
    words.push("-e".into());
    words.push(format!("trace={call}").into());
    for segment in segments(site)? {
        words.push("-P".into());
        words.push(segment.into());
    }
    Ok(words)
}

/// Whether calls can be chosen here.
pub(crate) fn can_trace() -> bool {
    let probe = Command::new("strace").args(["-D", "-qq", "-o", "/dev/null", "true"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// The journal's files as they are, and the one that may come next.
fn segments(site: &Site) -> Result<Vec<PathBuf>> {
    let directory = site.path("data/journal");
    let entries = std::fs::read_dir(&directory)
        .with_context(|| format!("`{}` cannot be read", directory.display()))?;
    // strace compares the paths that the kernel gives.
    let directory = directory.canonicalize()?;
    let mut paths = entries
        .filter_map(|entry| Some(directory.join(entry.ok()?.file_name())))
        .collect::<Vec<_>>();
    paths.sort();
    Ok(paths)
}

impl fmt::Display for Kill {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let victim = match self.victim {
            Victim::Provider => "the provider",
            Victim::Consumer => "the consumer",
            Victim::Command => "the command",
        };
        match self.moment {
            Moment::After(time) => write!(formatter, "{victim} killed after {time:?}"),
            Moment::AtCall { call, number } => {
                write!(formatter, "{victim} killed at {call} number {number} of a thread")
            }
        }
    }
}
