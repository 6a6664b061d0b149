//! A node inside the test's own process, whose clock the test moves. It is the daemon's library, started as the binary does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use daemon::net::Shutdown;
use daemon::telemetry::Telemetry;
use jiff::{SignedDuration, Timestamp};
use store::{Clock, SystemClock};

use crate::site::Site;
use crate::wait::PATIENCE;

/// The system's clocks, moved by the test.
#[derive(Debug, Default)]
pub struct MovedClock {
    /// What passed, for both clocks at once: nobody may see one moved and the other not.
    passed_seconds: AtomicI64,
    stepped_seconds: AtomicI64,
}

impl MovedClock {
    /// Lets time pass, for both clocks.
    pub fn pass(&self, seconds: i64) {
        self.passed_seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Sets the wall clock forward or back, as an operator or an attacker would.
    pub fn step(&self, seconds: i64) {
        self.stepped_seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let moved = [&self.passed_seconds, &self.stepped_seconds];
        let by = SignedDuration::from_secs(moved.map(|by| by.load(Ordering::SeqCst)).iter().sum());
        SystemClock.now().saturating_add(by).unwrap_or(Timestamp::MAX)
    }

    fn since_boot(&self) -> Duration {
        let seconds = self.passed_seconds.load(Ordering::SeqCst);
        SystemClock.since_boot().saturating_add(Duration::from_secs(seconds.unsigned_abs()))
    }
}

/// A node with a clock of its own. It stops when dropped.
#[derive(Debug)]
pub struct ClockedNode {
    /// Its clock.
    pub clock: Arc<MovedClock>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<Result<()>>>,
}

impl ClockedNode {
    /// Starts the node of a site whose daemon does not run, and waits until it serves.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(site: &Site) -> Result<Self> {
        Self::start_later(site, 0)
    }

    /// Starts it so many seconds after now, as if the site had stood still until then.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_later(site: &Site, seconds: i64) -> Result<Self> {
        let clock = Arc::new(MovedClock::default());
        clock.pass(seconds);
        let shutdown = Shutdown::new();
        let (started, start) = std::sync::mpsc::channel();
        let (directory, variables) = (site.path("."), site.variables().to_vec());
        let thread = std::thread::spawn({
            let (clock, shutdown) = (Arc::clone(&clock), shutdown.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?;
                let outcome = runtime.block_on(async {
                    let site = daemon::site::Site::open(&directory, variables, clock.now())?;
                    let telemetry =
                        Telemetry::new(&site.config.telemetry, &tokio::runtime::Handle::current())?;
                    let running =
                        daemon::node::start(site, clock, Arc::new(telemetry), shutdown).await?;
                    let _ = started.send(());
                    running.wait().await;
                    Ok(())
                });
                runtime.shutdown_timeout(Duration::from_secs(5));
                outcome
            }
        });
        let mut node = Self { clock, shutdown, thread: Some(thread) };
        if start.recv_timeout(PATIENCE).is_err() {
            node.stop()?;
            return Err(anyhow!("the node did not start in time"));
        }
        Ok(node)
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it did not start, or ended by itself.
    pub fn stop(&mut self) -> Result<()> {
        self.shutdown.drain();
        let thread = self.thread.take().context("it is stopped already")?;
        thread.join().map_err(|_| anyhow!("the node panicked"))?
    }
}

impl Drop for ClockedNode {
    fn drop(&mut self) {
        self.shutdown.drain();
        self.shutdown.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
