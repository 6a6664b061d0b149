//! The thread that fills the index: opens it, catches up, applies, and rebuilds what is not sound.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use engine::Entity;
use journal::log::Mark;

use super::selectors::Changes;
use super::value::encode_position;
use super::{IndexError, Order, Settings, Shared, guarded};
use crate::frames::{FrameReader, decode_raw};
use crate::keeper::Keeper;
use crate::snapshot::SnapshotReader;
use crate::state::{ColdWrite, Stored};

/// Under this key, which no entity has, stands how far the journal has been applied. Its number is that of the index's form:
/// one of another form is made anew.
const APPLIED: &[u8] = b"\0applied 2";
/// How long nothing more has to come before what was applied is flushed.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// At the latest after so many bytes of journal the place is stored, though no cold entity changed.
const STORE_AFTER_BYTES: u64 = 16 << 20;
/// How many values are put into sled at once when it is filled.
const BATCH: usize = 1_000;
/// How long to wait before trying again to rebuild, such as on a full disk.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Filler {
    settings: Settings,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    reader: Arc<dyn FrameReader>,
    keeper: Keeper,
    database: Option<sled::Db>,
    /// What sled was last told about how far it is.
    stored: u64,
    dirty: bool,
}

impl Filler {
    pub(super) fn new(
        settings: Settings,
        shared: Arc<Shared>,
        orders: mpsc::Receiver<Order>,
        reader: Arc<dyn FrameReader>,
        keeper: Keeper,
    ) -> Self {
        let database = None;
        Self { settings, shared, orders, reader, keeper, database, stored: 0, dirty: false }
    }

    pub(super) fn run(mut self) {
        if let Err(error) = guarded(|| self.open()) {
            tracing::info!(event = "index.rebuild", reason = %error);
            self.database = None;
        }
        loop {
            if self.database.is_none() && !self.rebuilt() {
                // Not now. Orders are skipped, since the next attempt reads the journal to its end.
                let more = match self.orders.recv_timeout(RETRY_AFTER) {
                    Ok(order) => self.skip(order),
                    Err(mpsc::RecvTimeoutError::Timeout) => true,
                    Err(mpsc::RecvTimeoutError::Disconnected) => false,
                };
                match more {
                    true => continue,
                    false => return,
                }
            }
            let order = match self.dirty {
                true => self.orders.recv_timeout(FLUSH_AFTER),
                false => self.orders.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            };
            let worked = match order {
                Ok(Order::Apply { writes, end }) => {
                    let applied = guarded(|| self.apply(writes, end));
                    if applied.is_err() {
                        self.shared.withdraw();
                    }
                    self.shared.carried_out();
                    applied
                }
                Ok(Order::Replace) => Err(IndexError::Value),
                Ok(Order::Stop { done }) => {
                    let _ = done.send(guarded(|| self.close()).is_ok());
                    return;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => guarded(|| self.flush()),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = worked {
                tracing::warn!(event = "index.replace", reason = %error);
                self.shared.withdraw();
                self.database = None;
            }
        }
    }

    /// Opens what is there and catches up with the journal.
    fn open(&mut self) -> Result<(), IndexError> {
        let fresh = self.settings.end == Mark::START;
        if !fresh && !self.settings.trusted {
            return Err(IndexError::Journal("the last stop was not a clean one".to_owned()));
        }
        if !fresh && !self.settings.directory.exists() {
            return Err(IndexError::Snapshot("it is missing".to_owned()));
        }
        let database = self.open_sled()?;
        let applied = match database.get(APPLIED)? {
            Some(bytes) => {
                let bytes = bytes.as_ref().try_into().map_err(|_| IndexError::Value)?;
                u64::from_be_bytes(bytes)
            }
            None if fresh => 0,
            None => return Err(IndexError::Value),
        };
        let end = self.settings.end.end;
        if applied > end {
            return Err(IndexError::Journal("it is ahead of the journal".to_owned()));
        }
        if end.saturating_sub(applied) > self.settings.catch_up_bytes {
            return Err(IndexError::Journal("it is far behind the journal".to_owned()));
        }
        self.stored = applied;
        self.shared.set_applied(applied);
        if applied < end {
            self.catch_up(&database, applied)?;
        }
        self.database = Some(database.clone());
        self.shared.publish(database);
        Ok(())
    }

    /// Applies the frames of the journal from an offset on. It may apply again what is there already.
    fn catch_up(&mut self, database: &sled::Db, applied: u64) -> Result<(), IndexError> {
        let unreadable = |error: &dyn std::fmt::Display| IndexError::Journal(error.to_string());
        for frame in self.reader.frames_at(applied) {
            let frame = frame.map_err(|error| unreadable(&error))?;
            let mut changes = Changes::new(database);
            for raw in &frame.records {
                let record = decode_raw(raw).map_err(|error| unreadable(&error))?;
                for write in record.writes {
                    let key = write.key.encode();
                    match write.entity {
                        None if Entity::may_be_cold(write.key.kind()) => changes.put(key, None)?,
                        Some(entity) if !entity.is_hot() => {
                            let version = record.position;
                            let stored = Stored { entity: Arc::new(entity), version };
                            changes.put(key, Some(&stored))?;
                        }
                        _ => {}
                    }
                }
            }
            changes.apply()?;
            self.shared.set_applied(frame.mark.end);
        }
        self.dirty = true;
        Ok(())
    }

    fn apply(&mut self, writes: Vec<ColdWrite>, end: u64) -> Result<(), IndexError> {
        // What a rebuilt index has already.
        if end <= self.shared.applied() {
            return Ok(());
        }
        let Some(database) = &self.database else { return Err(IndexError::Value) };
        if !writes.is_empty() {
            let mut changes = Changes::new(database);
            for ColdWrite { key, value } in writes {
                changes.put(key, value.as_ref())?;
            }
            changes.apply()?;
            self.dirty = true;
        }
        self.shared.set_applied(end);
        if end.saturating_sub(self.stored) > STORE_AFTER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Stores how far it came, after the data, and has sled write both.
    fn flush(&mut self) -> Result<(), IndexError> {
        let Some(database) = &self.database else { return Ok(()) };
        let applied = self.shared.applied();
        database.insert(APPLIED, &applied.to_be_bytes())?;
        database.flush()?;
        self.stored = applied;
        self.dirty = false;
        Ok(())
    }

    /// Leaves everything durable behind. Sled's own flush does not wait for the disk.
    fn close(&mut self) -> Result<(), IndexError> {
        if self.database.is_none() {
            return Err(IndexError::Stopping);
        }
        self.flush()?;
        self.shared.withdraw();
        self.database = None;
        fs::File::open(self.settings.directory.join("db"))?.sync_data()?;
        sync_directory(&self.settings.directory)?;
        Ok(())
    }

    fn rebuilt(&mut self) -> bool {
        match guarded(|| self.rebuild()) {
            Ok(()) => true,
            Err(IndexError::Stopping) => false,
            Err(error) => {
                tracing::warn!(event = "index.rebuild.failed", reason = %error);
                false
            }
        }
    }

    /// Makes a new index from a snapshot of everything that is durable now, in key order.
    fn rebuild(&mut self) -> Result<(), IndexError> {
        move_aside(&self.settings.directory)?;
        let path = self.keeper.fold_now().map_err(IndexError::Snapshot)?;
        let path = path.ok_or(IndexError::Stopping)?;
        let unsound =
            |error: crate::snapshot::SnapshotError| IndexError::Snapshot(error.to_string());
        let mut snapshot = SnapshotReader::open(&path).map_err(unsound)?;
        while snapshot.next_hot().map_err(unsound)?.is_some() {}
        let database = self.open_sled()?;
        let mut changes = Changes::of_new(&database);
        let mut batched = 0;
        while let Some(entry) = snapshot.next_cold().map_err(unsound)? {
            let mut value = encode_position(entry.version);
            value.extend_from_slice(&entry.json);
            changes.put_encoded(entry.key, value)?;
            batched += 1;
            if batched == BATCH {
                if self.shared.stopping.load(Ordering::Relaxed) {
                    return Err(IndexError::Stopping);
                }
                std::mem::replace(&mut changes, Changes::of_new(&database)).apply()?;
                batched = 0;
            }
        }
        changes.apply()?;
        let applied = snapshot.header().mark.end;
        self.shared.set_applied(applied);
        self.database = Some(database.clone());
        self.flush()?;
        self.shared.publish(database);
        tracing::info!(event = "index.rebuilt", offset = applied);
        Ok(())
    }

    /// Passes over an order that a rebuilt index will not need. False: it is time to stop.
    fn skip(&self, order: Order) -> bool {
        match order {
            Order::Apply { .. } => self.shared.carried_out(),
            Order::Replace => {}
            Order::Stop { done } => {
                let _ = done.send(false);
                return false;
            }
        }
        true
    }

    fn open_sled(&self) -> Result<sled::Db, IndexError> {
        crate::directory::create_private(&self.settings.directory)?;
        let database = sled::Config::new()
            .path(&self.settings.directory)
            .cache_capacity(self.settings.cache_bytes)
            .flush_every_ms(None)
            .open()?;
        Ok(database)
    }
}

/// Keeps the last unsound index for those who want to know what happened, and no more than one.
fn move_aside(directory: &Path) -> io::Result<()> {
    let aside: PathBuf = directory.with_extension("unsound");
    if !directory.exists() {
        return Ok(());
    }
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(directory, &aside)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}
