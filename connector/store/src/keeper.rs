//! The thread that makes snapshots, in the background.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use crate::snapshot::{Fold, Folded, SnapshotError};

/// Asks for snapshots. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keeper {
    requests: mpsc::Sender<Request>,
    stopping: Arc<AtomicBool>,
    /// Bytes of the newest snapshot.
    size: Arc<AtomicU64>,
}

enum Request {
    /// Make one and have it recorded.
    Snapshot {
        done: Option<mpsc::Sender<Result<PathBuf, SnapshotError>>>,
    },
    Stop,
}

/// What is done around the folding.
pub(crate) struct Duties {
    pub(crate) fold: Fold,
    /// Where the trees are; their files are made durable with each snapshot.
    pub(crate) trees: PathBuf,
    /// Waits until the trees have been given all that is durable now. False: the store stops.
    pub(crate) await_trees: Box<dyn Fn() -> bool + Send>,
    /// Records in the site log that a snapshot was written.
    pub(crate) announce: Box<dyn Fn(&Folded) + Send>,
}

impl Keeper {
    /// A keeper, and what its thread needs to run.
    pub(crate) fn new() -> (Self, Requests) {
        let (requests, receiver) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let size = Arc::new(AtomicU64::new(0));
        let requests_end =
            Requests { receiver, stopping: Arc::clone(&stopping), size: Arc::clone(&size) };
        (Self { requests, stopping, size }, requests_end)
    }

    /// Bytes of the newest snapshot; 0 where there is none.
    pub(crate) fn snapshot_size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Asks for a snapshot, some time.
    pub(crate) fn snapshot(&self) {
        // An error means that the store stops.
        let _ = self.requests.send(Request::Snapshot { done: None });
    }

    /// Waits for a snapshot of everything that is durable now. `None`: the store stops.
    pub(crate) fn fold_now(&self) -> Result<Option<PathBuf>, String> {
        let (done, receiver) = mpsc::channel();
        if self.requests.send(Request::Snapshot { done: Some(done) }).is_err() {
            return Ok(None);
        }
        match receiver.recv() {
            Ok(Ok(path)) => Ok(Some(path)),
            Ok(Err(SnapshotError::Stopping)) | Err(_) => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
        }
    }

    /// Ends the thread; what it is at is given up.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.requests.send(Request::Stop);
    }
}

/// The receiving end of a [`Keeper`].
pub(crate) struct Requests {
    receiver: mpsc::Receiver<Request>,
    stopping: Arc<AtomicBool>,
    size: Arc<AtomicU64>,
}

impl Requests {
    /// The flag that tells folding to give up.
    pub(crate) fn stopping(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopping)
    }

    /// Starts the thread.
    pub(crate) fn start(self, duties: Duties) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("snapshots".to_owned()).spawn(move || {
            self.size.store(duties.fold.newest_size(), Ordering::Relaxed);
            while let Ok(Request::Snapshot { done }) = self.receiver.recv() {
                let folded = duties.perform();
                self.size.store(duties.fold.newest_size(), Ordering::Relaxed);
                if let Err(error) = &folded {
                    tracing::warn!(event = "snapshot.failed", error = %error);
                }
                if let Some(done) = done {
                    let _ = done.send(folded.map(|folded| folded.path));
                }
            }
        })
    }
}

impl Duties {
    fn perform(&self) -> Result<Folded, SnapshotError> {
        let folded = self.fold.run(|| self.secure_trees())?;
        tracing::info!(event = "snapshot.written", path = %folded.path.display());
        (self.announce)(&folded);
        Ok(folded)
    }

    /// A start trusts the trees as far as its snapshot reaches, so they are durable that far before it appears.
    fn secure_trees(&self) -> Result<(), SnapshotError> {
        if !(self.await_trees)() {
            return Err(SnapshotError::Stopping);
        }
        sync_files(&self.trees)
            .map_err(|source| SnapshotError::Files { path: self.trees.clone(), source })
    }
}

/// Makes all files under a directory durable, through handles of our own, so that nobody has to wait for it.
fn sync_files(directory: &Path) -> io::Result<()> {
    let synced = || {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match path.is_dir() {
                true => sync_files(&path)?,
                false => fs::File::open(&path)?.sync_data()?,
            }
        }
        fs::File::open(directory)?.sync_all()
    };
    match synced() {
        // A tree that was rebuilt meanwhile took the place of this one, and was made durable before.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keeper")
    }
}
