//! A pull's bytes while they come in: `data/incoming/NAME.part`, renamed to `NAME.whole` once verified.
//!
//! Groups cannot be verified one by one, since a DSP provider sends no tree: SHA-256 and BLAKE3 run along and decide at
//! the end. After a restart what is there already is hashed along the way, so that the download goes on at once.

mod writer;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use engine::entity::Digests;
use tokio::task::JoinHandle;

use self::writer::Writer;
use super::files::{StorageError, sync_directory};
use super::{GROUP_SIZE, Objects, Shared};

/// The name of a pull's files: 1 to 100 ASCII letters, digits, hyphens and underscores.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PullName(String);

/// Bytes that come in. It can be dropped at any time and opened again; what was written is then still there.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
    name: PullName,
    expected: Option<Digests>,
    validator: Option<String>,
    /// SHA-256 of the whole, hexadecimal, as it was announced with the bytes.
    announced: Option<String>,
    /// Bytes that no write has begun with.
    buffer: Vec<u8>,
    /// Bytes before `buffer`, written or being written.
    handed: u64,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Idle(Box<Writer>),
    Busy(JoinHandle<(Box<Writer>, Result<(), StorageError>)>),
    /// The blocking pool lost the writer: only opening anew helps.
    Lost,
}

/// A pull whose bytes are whole, verified and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What arrived.
    pub digests: Digests,
    /// The file that holds it.
    pub path: PathBuf,
}

/// Why incoming bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// The name cannot be that of a file.
    #[error("`{0}` is not the id of a pull: use 1 to 100 letters, digits, hyphens and underscores")]
    InvalidName(String),
    /// Somebody else writes the same pull.
    #[error("the pull `{0}` is being received already")]
    Busy(PullName),
    /// More bytes came than the dataset has.
    #[error("the provider sent more than the {expected} bytes of the dataset")]
    TooLong {
        /// The size that was agreed.
        expected: u64,
    },
    /// Not all bytes are here yet.
    #[error("{received} of {expected} bytes were received: resume the download")]
    Incomplete {
        /// Bytes that are here.
        received: u64,
        /// The size that was agreed.
        expected: u64,
    },
    /// The bytes are not those that were announced. They were removed.
    #[error(
        "the bytes received are not those announced: sha-256 is `{}` instead of `{}`, blake3 `{}` instead of `{}`",
        actual.sha256, expected.sha256, actual.blake3, expected.blake3
    )]
    NotVerified {
        /// What was announced.
        expected: Box<Digests>,
        /// What arrived.
        actual: Box<Digests>,
    },
    /// Our own storage failed. What was written before is kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Objects {
    /// Opens a pull's incoming file: empty, or with what an earlier attempt wrote. `expected` is what will be asked of
    /// the whole; without it the bytes cannot be verified but by digests that come with them.
    ///
    /// # Errors
    /// [`IncomingError::Busy`], also while the last write of one that was just dropped still runs; or the file cannot be
    /// opened.
    pub async fn incoming(
        &self,
        name: &PullName,
        expected: Option<Digests>,
    ) -> Result<Incoming, IncomingError> {
        let shared = Arc::clone(&self.shared);
        let name = name.clone();
        let interrupted = StorageError::interrupted(&shared.incoming);
        tokio::task::spawn_blocking(move || Incoming::open(shared, name, expected))
            .await
            .unwrap_or(Err(IncomingError::Storage(interrupted)))
    }

    /// A pull that [`Incoming::finish`] has verified, for instance before a restart. `None` when it is not here.
    pub fn received(&self, name: &PullName, digests: &Digests) -> Option<Received> {
        let path = self.shared.whole(name);
        let whole = path.metadata().is_ok_and(|file| file.is_file() && file.len() == digests.size);
        whole.then(|| Received { digests: digests.clone(), path })
    }

    /// Removes whatever there is of a pull.
    ///
    /// # Errors
    /// [`StorageError`] when a file cannot be removed.
    pub fn discard(&self, name: &PullName) -> Result<(), StorageError> {
        for path in [self.shared.part(name), self.shared.validator(name), self.shared.whole(name)] {
            remove(&path)?;
        }
        Ok(())
    }

    /// Removes the files of all pulls but these; gives their number.
    ///
    /// # Errors
    /// [`StorageError`] when the directory cannot be read or a file not be removed.
    pub fn sweep_incoming(&self, keep: &HashSet<PullName>) -> Result<u64, StorageError> {
        let directory = &self.shared.incoming;
        let failed = StorageError::at("listed", directory);
        let mut removed = 0;
        for entry in std::fs::read_dir(directory).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).map(PullName::from_str);
            if let Some(Ok(name)) = name
                && !keep.contains(&name)
            {
                remove(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Incoming {
    fn open(
        shared: Arc<Shared>,
        name: PullName,
        expected: Option<Digests>,
    ) -> Result<Self, IncomingError> {
        let part = shared.part(&name);
        let whole = shared.whole(&name);
        if whole.exists() && !part.exists() {
            // It was verified but nobody recorded that: verify it again.
            std::fs::rename(&whole, &part).map_err(StorageError::at("renamed", &whole))?;
        }
        let writer = Writer::open(part)?.ok_or_else(|| IncomingError::Busy(name.clone()))?;
        let validator = std::fs::read_to_string(shared.validator(&name)).ok();
        let mut incoming = Self {
            handed: writer.written(),
            validator: validator.filter(|validator| !validator.is_empty()),
            work: Work::Idle(Box::new(writer)),
            announced: None,
            buffer: Vec::new(),
            shared,
            name,
            expected,
        };
        let size = incoming.expected.as_ref().map(|expected| expected.size);
        if size.is_some_and(|size| incoming.handed > size) {
            incoming.empty()?;
        }
        Ok(incoming)
    }

    /// Bytes that are here: where a download goes on.
    pub fn offset(&self) -> u64 {
        self.handed + self.buffer.len() as u64
    }

    /// The strong entity tag that the bytes here came with, as it stood in the header. Without one a download that
    /// was interrupted cannot be resumed safely.
    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// What is asked of the whole.
    pub fn expected(&self) -> Option<&Digests> {
        self.expected.as_ref()
    }

    /// Remembers the SHA-256 (hexadecimal) that came with the bytes: the whole must have it too.
    pub fn announce(&mut self, sha256: String) {
        self.announced = Some(sha256);
    }

    /// Begins anew: forgets all bytes, and remembers the entity tag of those that come now.
    ///
    /// # Errors
    /// [`IncomingError::Storage`].
    pub async fn begin(&mut self, validator: Option<&str>) -> Result<(), IncomingError> {
        self.settle().await?;
        self.empty()?;
        if let Some(validator) = validator {
            let path = self.shared.validator(&self.name);
            std::fs::write(&path, validator).map_err(StorageError::at("written", &path))?;
            self.validator = Some(validator.to_owned());
        }
        Ok(())
    }

    /// Adds the next bytes. Writing goes on behind; an error of an earlier write may show here.
    ///
    /// # Errors
    /// [`IncomingError::TooLong`], or our storage failed: then [`Incoming::offset`] is what could be kept.
    pub async fn append(&mut self, mut bytes: &[u8]) -> Result<(), IncomingError> {
        if let Some(expected) = &self.expected
            && self.offset() + bytes.len() as u64 > expected.size
        {
            return Err(IncomingError::TooLong { expected: expected.size });
        }
        while !bytes.is_empty() {
            let room = GROUP_SIZE - self.buffer.len().min(GROUP_SIZE);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.reserve_exact(if self.buffer.capacity() == 0 { GROUP_SIZE } else { 0 });
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= GROUP_SIZE {
                self.hand_over().await?;
            }
        }
        Ok(())
    }

    /// Makes what came so far survive the end of this process.
    ///
    /// # Errors
    /// [`IncomingError::Storage`].
    pub async fn flush(&mut self) -> Result<(), IncomingError> {
        if !self.buffer.is_empty() {
            self.hand_over().await?;
        }
        self.settle().await?;
        Ok(())
    }

    /// Verifies the whole and makes it durable.
    ///
    /// # Errors
    /// [`IncomingError::Incomplete`] keeps what is here; [`IncomingError::NotVerified`] removes it.
    pub async fn finish(mut self) -> Result<Received, IncomingError> {
        self.flush().await?;
        if let Some(expected) =
            self.expected.as_ref().filter(|expected| expected.size != self.handed)
        {
            return Err(IncomingError::Incomplete {
                received: self.handed,
                expected: expected.size,
            });
        }
        let Work::Idle(writer) = std::mem::replace(&mut self.work, Work::Lost) else {
            return Err(self.interrupted().into());
        };
        let interrupted = self.interrupted();
        tokio::task::spawn_blocking(move || self.seal(*writer))
            .await
            .unwrap_or(Err(IncomingError::Storage(interrupted)))
    }

    fn seal(self, writer: Writer) -> Result<Received, IncomingError> {
        let digests = writer.finish()?;
        let part = self.shared.part(&self.name);
        let validator = self.shared.validator(&self.name);
        let announced = self.announced.map(|sha256| Digests { sha256, ..digests.clone() });
        let all = [self.expected, announced];
        if let Some(expected) = all.into_iter().flatten().find(|expected| *expected != digests) {
            remove(&part)?;
            remove(&validator)?;
            let (expected, actual) = (Box::new(expected), Box::new(digests));
            return Err(IncomingError::NotVerified { expected, actual });
        }
        let path = self.shared.whole(&self.name);
        std::fs::rename(&part, &path).map_err(StorageError::at("renamed", &part))?;
        remove(&validator)?;
        sync_directory(&self.shared.incoming)?;
        Ok(Received { digests, path })
    }

    /// Gives the buffer to the blocking pool, after the write before has ended.
    async fn hand_over(&mut self) -> Result<(), StorageError> {
        self.settle().await?;
        let Work::Idle(mut writer) = std::mem::replace(&mut self.work, Work::Lost) else {
            return Err(self.interrupted());
        };
        let buffer = std::mem::take(&mut self.buffer);
        self.handed += buffer.len() as u64;
        self.work = Work::Busy(tokio::task::spawn_blocking(move || {
            let written = writer.append(&buffer);
            (writer, written)
        }));
        Ok(())
    }

    /// Waits for the write that runs. When it failed, what came after it is forgotten too: the file has no holes.
    async fn settle(&mut self) -> Result<(), StorageError> {
        let Work::Busy(job) = &mut self.work else { return Ok(()) };
        let ended = job.await;
        self.work = Work::Lost;
        let (writer, written) = ended.map_err(|_| self.interrupted())?;
        if written.is_err() {
            self.buffer.clear();
            self.handed = writer.written();
        }
        self.work = Work::Idle(writer);
        written
    }

    /// Forgets all bytes. No write may be running.
    fn empty(&mut self) -> Result<(), StorageError> {
        let Work::Idle(writer) = &mut self.work else { return Err(self.interrupted()) };
        // The tag goes first: bytes without a tag are never resumed, a tag without its bytes would be.
        remove(&self.shared.validator(&self.name))?;
        writer.empty()?;
        self.validator = None;
        self.announced = None;
        self.buffer.clear();
        self.handed = 0;
        Ok(())
    }

    fn interrupted(&self) -> StorageError {
        StorageError::interrupted(&self.shared.part(&self.name))
    }
}

impl Shared {
    fn part(&self, name: &PullName) -> PathBuf {
        self.incoming.join(format!("{name}.part"))
    }

    fn validator(&self, name: &PullName) -> PathBuf {
        self.incoming.join(format!("{name}.validator"))
    }

    fn whole(&self, name: &PullName) -> PathBuf {
        self.incoming.join(format!("{name}.whole"))
    }
}

impl FromStr for PullName {
    type Err = IncomingError;

    fn from_str(text: &str) -> Result<Self, IncomingError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=100).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IncomingError::InvalidName(text.chars().take(100).collect()))
        }
    }
}

impl fmt::Display for PullName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn remove(path: &Path) -> Result<(), StorageError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::at("removed", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
