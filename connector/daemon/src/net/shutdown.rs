//! How the daemon is told to stop: first finish what runs, then stop at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far the daemon is on its way down. Phases only move forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// New connections and requests are welcome.
    Running,
    /// Nothing new starts; what runs may finish within the configured time.
    Draining,
    /// Everything ends now.
    Stopping,
}

/// One switch that every listener and worker holds a clone of.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Shutdown {
    /// A switch in [`Phase::Running`] that only [`Shutdown::drain`] and [`Shutdown::stop`] move.
    #[must_use]
    pub fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Running) }
    }

    /// Lets SIGTERM and SIGINT move the switch: the first drains, the second stops.
    ///
    /// # Errors
    /// When the process cannot install signal handlers.
    pub fn follow_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            for advance in [Self::drain, Self::stop] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                advance(&shutdown);
                tracing::info!(phase = ?shutdown.phase(), "shutdown.signal");
            }
        });
        Ok(())
    }

    /// Starts the drain; has no effect once it has begun.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends the drain as well: whatever still runs is dropped.
    pub fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// The present phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Completes as soon as the drain has begun.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Completes as soon as everything has to end.
    pub async fn stopping(&self) {
        self.reached(Phase::Stopping).await;
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    async fn reached(&self, wanted: Phase) {
        let mut phase = self.phase.subscribe();
        // INVARIANT: `self` holds the sender, so the wait ends only when the phase is reached.
        let _ = phase.wait_for(|phase| *phase >= wanted).await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
