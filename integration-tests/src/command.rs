//! Running commands to their end, bounded in time.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::wait;

/// How a command ended and what it said.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub shown: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Itself, when it ended with this exit code.
    ///
    /// # Errors
    /// Otherwise, with everything it said.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == Some(code),
            "`{}` ended with {:?} (signal {:?}) instead of {code}\n{}\n{}",
            self.shown,
            self.code,
            self.signal,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Each line of its standard output as JSON.
    ///
    /// # Errors
    /// When a line is not JSON.
    pub fn lines(&self) -> Result<Vec<Value>> {
        let parse = |line| {
            serde_json::from_str(line)
                .with_context(|| format!("`{}` wrote a line that is not JSON: {line}", self.shown))
        };
        self.stdout.lines().map(parse).collect()
    }

    /// The last line of its standard output as JSON: the result, or the error.
    ///
    /// # Errors
    /// When there is none.
    pub fn last(&self) -> Result<Value> {
        let lines = self.lines()?;
        lines.into_iter().next_back().with_context(|| {
            format!("`{}` wrote nothing to standard output\n{}", self.shown, self.stderr)
        })
    }

    /// A text in the result or error, by JSON pointer.
    ///
    /// # Errors
    /// When it is not there.
    pub fn text(&self, pointer: &str) -> Result<String> {
        let last = self.last()?;
        let text = last.pointer(pointer).and_then(Value::as_str);
        Ok(text
            .with_context(|| format!("`{}` gave no `{pointer}`: {last}", self.shown))?
            .to_owned())
    }
}

/// A command that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    shown: String,
    child: Child,
    stdout: File,
    stderr: File,
    started: Instant,
}

impl Running {
    /// Starts a command without standard input.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = format!("{command:?}");
        // Files, for a pipe that nobody empties would stop it.
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()
            .with_context(|| format!("`{shown}` does not start"))?;
        Ok(Self { shown, child, stdout, stderr, started: Instant::now() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn so_far(&self) -> Result<String> {
        read(&self.stdout)
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within `limit`; then it is killed.
    pub fn wait(mut self, limit: Duration) -> Result<Outcome> {
        let shown = self.shown.clone();
        let ended = wait::until(&shown, limit, || Ok(self.child.try_wait()?));
        let took = self.started.elapsed();
        let (stdout, stderr) = (read(&self.stdout)?, read(&self.stderr)?);
        match ended {
            Ok(status) => Ok(Outcome {
                shown,
                code: status.code(),
                signal: status.signal(),
                stdout,
                stderr,
                took,
            }),
            Err(error) => bail!("{error:#}\n{stdout}\n{stderr}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it does not start or does not end in time; not when it fails.
pub fn run(command: &mut Command, limit: Duration) -> Result<Outcome> {
    Running::start(command)?.wait(limit)
}

/// Everything in a file, without moving the position that it shares with the process that writes.
fn read(file: &File) -> Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read_at(&mut buffer, u64::try_from(bytes.len())?)?;
        if count == 0 {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}
