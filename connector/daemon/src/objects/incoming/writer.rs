//! The file under an incoming pull, and its digests. Used on blocking threads only.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256};
use engine::entity::Digests;

use crate::objects::GROUP_SIZE;
use crate::objects::files::{StorageError, read_full};

/// Appends to a file and hashes what it holds.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    /// The length of the file.
    written: u64,
    /// How much of it is in the digests. It lags behind `written` only after a restart, until it has caught up.
    hashed: u64,
    sha256: Context,
    blake3: blake3::Hasher,
}

/// While the digests lag, each write of one group hashes this many groups of the backlog.
const CATCH_UP: u64 = 4;

impl Writer {
    /// Opens the file, with what is in it. `None` when another writer has it.
    pub(super) fn open(path: PathBuf) -> Result<Option<Self>, StorageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(StorageError::at("opened", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(StorageError::at("locked", &path)(error));
            }
        }
        let written = file.metadata().map_err(StorageError::at("read", &path))?.len();
        let (sha256, blake3) = (Context::new(&SHA256), blake3::Hasher::new());
        Ok(Some(Self { path, file, written, hashed: 0, sha256, blake3 }))
    }

    /// Bytes in the file.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes the next bytes. When that fails the file ends where it did before.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        if let Err(error) = self.file.write_all_at(bytes, self.written) {
            // Where even this fails, the bytes too many are hashed like all others when the file is opened again.
            let _ = self.file.set_len(self.written);
            return Err(StorageError::at("written", &self.path)(error));
        }
        if self.hashed == self.written {
            self.hash(bytes);
        }
        self.written += bytes.len() as u64;
        self.catch_up(CATCH_UP)
    }

    /// Forgets everything.
    pub(super) fn empty(&mut self) -> Result<(), StorageError> {
        self.file.set_len(0).map_err(StorageError::at("written", &self.path))?;
        (self.written, self.hashed) = (0, 0);
        (self.sha256, self.blake3) = (Context::new(&SHA256), blake3::Hasher::new());
        Ok(())
    }

    /// Makes the file durable and gives the digests of all of it.
    pub(super) fn finish(mut self) -> Result<Digests, StorageError> {
        self.catch_up(u64::MAX)?;
        self.file.sync_all().map_err(StorageError::at("synced", &self.path))?;
        Ok(Digests {
            sha256: hex::encode(self.sha256.finish()),
            blake3: self.blake3.finalize().to_hex().to_string(),
            size: self.written,
        })
    }

    /// Hashes what an earlier process wrote, some groups at a time.
    fn catch_up(&mut self, groups: u64) -> Result<(), StorageError> {
        if self.hashed == self.written {
            return Ok(());
        }
        let mut buffer = vec![0; GROUP_SIZE];
        for _ in 0..groups {
            let count = read_full(&self.file, &mut buffer, self.hashed)
                .map_err(StorageError::at("read", &self.path))?;
            let left = usize::try_from(self.written - self.hashed).unwrap_or(usize::MAX);
            match buffer.get(..count.min(left)) {
                Some(bytes) if !bytes.is_empty() => self.hash(bytes),
                _ => break,
            }
        }
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.blake3.update(bytes);
        self.hashed += bytes.len() as u64;
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Writer")
            .field("path", &self.path)
            .field("written", &self.written)
            .field("hashed", &self.hashed)
            .finish_non_exhaustive()
    }
}
