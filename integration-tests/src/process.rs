//! The daemon as a process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{self, PATIENCE};

/// The `sekisho` binary of the same build as this program.
///
/// # Errors
/// When it was not built.
pub fn sekisho() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().context("this program is in no directory")?;
    let directory = match directory.file_name() {
        Some(name) if name == "deps" => directory.parent().unwrap_or(directory),
        _ => directory,
    };
    let binary = directory.join("sekisho");
    let how = "run `cargo build -p daemon` with the same profile first (`./test` does)";
    ensure!(binary.is_file(), "`{}` does not exist: {how}", binary.display());
    Ok(binary)
}

/// A running daemon. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    ready_after: Duration,
}

impl Daemon {
    /// Starts the daemon of a site, below `wrapper` where it is not empty, and waits until it is ready at `status`. The
    /// wrapper must become the program that it is given.
    ///
    /// # Errors
    /// When it ends or is not ready in time; then with the end of its log.
    pub fn start(
        site: &Path,
        status: SocketAddr,
        variables: &[(String, String)],
        log: &Path,
        wrapper: &[OsString],
    ) -> Result<Self> {
        let mut daemon = Self::spawn(site, variables, log, wrapper)?;
        let started = Instant::now();
        let ready = wait::closely("the daemon is ready", PATIENCE, || {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("the daemon ended with {status} before it was ready");
            }
            Ok(matches!(get(status, "/health/ready"), Ok((200, _))).then_some(()))
        });
        ready.with_context(|| tail(log))?;
        daemon.ready_after = started.elapsed();
        Ok(daemon)
    }

    /// Starts the daemon and waits for nothing.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(
        site: &Path,
        variables: &[(String, String)],
        log: &Path,
        wrapper: &[OsString],
    ) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        // Whoever ends this program, by whatever signal, ends its daemons with it.
        let bound = ["setpriv", "--pdeathsig", "KILL"].map(OsString::from);
        let mut words = wrapper.iter().cloned().chain(bound);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg(sekisho()?);
        let child = command
            .arg("--site")
            .arg(site)
            .arg("serve")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("`{command:?}` does not start"))?;
        Ok(Self { child, log: log.to_owned(), ready_after: Duration::ZERO })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How long it took from its start until it was ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id())?;
        kill_process(Pid::from_raw(id).context("no process id")?, signal)?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let log = self.log.clone();
        wait::until("the daemon ends", limit, || Ok(self.child.try_wait()?))
            .with_context(|| tail(&log))
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it does not stop in time, or not well.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait(PATIENCE)?;
        ensure!(status.success(), "the daemon stopped with {status}\n{}", tail(&self.log));
        Ok(())
    }

    /// Kills it with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// When it had already ended otherwise.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        let status = self.child.wait()?;
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(killed, "the daemon had ended with {status}\n{}", tail(&self.log));
        Ok(())
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.id())
    }

    /// The most memory that was ever resident, in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn peak_bytes(&self) -> Result<u64> {
        Ok(kilobytes(self.id(), "VmHWM:")? * 1024)
    }

    /// The processor time that it has taken, of the kernel on its behalf as well.
    ///
    /// # Errors
    /// When it is gone.
    pub fn processor_time(&self) -> Result<Duration> {
        processor_time(self.id())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a log, for messages.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 40;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().collect::<Vec<_>>();
    let end = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    format!("the end of `{}`:\n{}", log.display(), end.join("\n"))
}

/// A plain HTTP request to the status listener: status and body.
///
/// # Errors
/// When it is not answered.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    const MAX_BYTES: u64 = 16 * 1024 * 1024;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.take(MAX_BYTES).read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok((status.context("the answer has no status")?, body.unwrap_or_default()))
}

/// The processor time that a process has taken, of the kernel on its behalf as well.
///
/// # Errors
/// When it is gone.
pub fn processor_time(id: u32) -> Result<Duration> {
    let mut text = String::new();
    File::open(format!("/proc/{id}/stat"))?.read_to_string(&mut text)?;
    // The program's name, in parentheses, may hold anything; the times are the 14th and 15th field (proc(5)).
    let (_, fields) = text.rsplit_once(") ").context("no fields in `stat`")?;
    let times = fields.split(' ').skip(11).take(2);
    let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    let each = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / each.max(1))))
}

/// The resident memory of a process in bytes.
///
/// # Errors
/// When it is gone.
pub fn resident_bytes(id: u32) -> Result<u64> {
    Ok(kilobytes(id, "VmRSS:")? * 1024)
}

fn kilobytes(id: u32, name: &str) -> Result<u64> {
    let mut text = String::new();
    File::open(format!("/proc/{id}/status"))?.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name} for process {id}"))?.parse()?)
}
