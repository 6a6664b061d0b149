//! When files that change are whole: nothing has changed for a while, and no file is open that was written to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How long nothing may have changed.
const QUIET: Duration = Duration::from_millis(150);
/// How long changes are waited for before what is whole is looked at without the rest.
const LIMIT: Duration = Duration::from_secs(5);

/// What the system says of the files that are watched.
pub(super) type Noted = notify::Result<Event>;

/// Whether an event says something of what a file holds, or of whether it is still written to.
pub(super) fn is_of_interest(event: &Noted) -> bool {
    // Reading a file is an event as well, and would wake us for ever.
    event.as_ref().map_or(true, |event| !event.kind.is_access() || is_closed(event))
}

fn is_closed(event: &Event) -> bool {
    event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// Changes that have not been looked at yet.
#[derive(Debug, Default)]
pub(super) struct Changed {
    paths: BTreeSet<PathBuf>,
    /// The files that were written to and not closed since.
    open: BTreeSet<PathBuf>,
    /// Whether something was missed: then everything may have changed.
    missed: bool,
}

impl Changed {
    pub(super) fn note(&mut self, event: Noted) {
        let Some(event) = event.ok().filter(|event| !event.need_rescan()) else {
            // That a file was closed may be among what was missed.
            self.missed = true;
            self.open.clear();
            return;
        };
        for path in event.paths {
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) => {
                    self.open.insert(path.clone());
                }
                // A file that came or went by its name is as whole as it was under the other.
                _ => {
                    self.open.remove(&path);
                }
            }
            self.paths.insert(path);
        }
    }

    /// Takes a path for changed.
    pub(super) fn look_at(&mut self, path: &Path) {
        self.paths.insert(path.to_owned());
    }

    /// Waits until nothing changes any more, and takes what does by then. Says whether the files are whole.
    pub(super) async fn settle(&mut self, changes: &mut mpsc::UnboundedReceiver<Noted>) -> bool {
        let limit = Instant::now() + LIMIT;
        loop {
            let quiet = Instant::now() + QUIET;
            match timeout_at(quiet.min(limit), changes.recv()).await {
                Ok(Some(event)) => self.note(event),
                // Whoever would tell us more is gone.
                Ok(None) => return true,
                Err(_) if self.open.is_empty() && quiet <= limit => return true,
                Err(_) if Instant::now() >= limit => return false,
                Err(_) => {}
            }
        }
    }

    /// Whether anything under a path changed.
    pub(super) fn is_under(&self, directory: &Path) -> bool {
        self.missed || self.paths.iter().any(|path| path.starts_with(directory))
    }

    /// One of the files that are still written to.
    pub(super) fn open(&self) -> Option<&Path> {
        self.open.first().map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange};

    use super::*;

    fn event(kind: EventKind) -> Noted {
        Ok(Event::new(kind).add_path(PathBuf::from("policies/a.toml")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_whole_once_its_writer_has_closed_it() {
        let (sender, mut changes) = mpsc::unbounded_channel();
        let mut changed = Changed::default();
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        changed.note(event(EventKind::Create(CreateKind::File)));
        assert!(changed.settle(&mut changes).await, "nothing was written to it");
        changed.note(event(written));
        assert!(!changed.settle(&mut changes).await, "it is still open");
        assert_eq!(changed.open(), Some(Path::new("policies/a.toml")));
        sender.send(event(written)).unwrap();
        sender.send(event(EventKind::Access(AccessKind::Close(AccessMode::Write)))).unwrap();
        assert!(changed.settle(&mut changes).await);
        assert!(changed.is_under(Path::new("policies")) && !changed.is_under(Path::new("pki")));
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_change_all_the_time_are_not_waited_for_without_end() {
        let (sender, mut changes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while sender.send(event(EventKind::Create(CreateKind::File))).is_ok() {
                tokio::time::sleep(QUIET / 2).await;
            }
        });
        assert!(!Changed::default().settle(&mut changes).await);
    }
}
