//! The file that is being received: `FILE.part` until it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags};
use sha2::{Digest as _, Sha256};

use super::beside;
use crate::cli::failure::Failure;
use crate::exit::Exit;

/// How much is read at once when what is there is hashed again.
const READ_BYTES: usize = 256 * 1024;

/// File systems take names of up to so many bytes; endings are added to ours.
const MAX_NAME_BYTES: usize = 200;

/// What the whole file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) size: u64,
    /// Hexadecimal.
    pub(super) sha256: String,
    /// Hexadecimal.
    pub(super) blake3: String,
}

/// Where the file goes, and its evidence beside it.
#[derive(Debug)]
pub(super) struct Target {
    file: PathBuf,
    force: bool,
    /// Whether an earlier command was interrupted here: it may have put the evidence in its place and not the file.
    resumes: bool,
}

impl Target {
    /// A target that may be written.
    pub(super) fn new(file: PathBuf, force: bool) -> Result<Self, Failure> {
        if file.file_name().is_none() || file.is_dir() {
            return Err(Failure::misuse(format!("`{}` is not the name of a file", file.display())));
        }
        let there = |path: &Path| fs::symlink_metadata(path).is_ok();
        let target = Self { resumes: there(&beside(&file, ".part")), file, force };
        if !force && there(&target.file) {
            return Err(exists(&target.file));
        }
        if !force && !target.resumes && there(&target.provenance()) {
            return Err(exists(&target.provenance()));
        }
        Ok(target)
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn provenance(&self) -> PathBuf {
        beside(&self.file, ".prov")
    }

    fn part(&self) -> PathBuf {
        beside(&self.file, ".part")
    }

    /// Moves a finished file to its place, over an earlier one only when that may be.
    fn place(from: &Path, to: &Path, replace: bool) -> Result<(), Failure> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(CWD, from, CWD, to, flags) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::EXIST) => Err(exists(to)),
            // Some network file systems cannot refuse to replace: then it is looked at just before.
            Err(rustix::io::Errno::INVAL) if fs::symlink_metadata(to).is_err() => {
                fs::rename(from, to).map_err(|error| Failure::write(to, &error))
            }
            Err(rustix::io::Errno::INVAL) => Err(exists(to)),
            Err(error) => Err(Failure::write(to, &error.into())),
        }
    }

    fn sync_directory(&self) -> Result<(), Failure> {
        let directory = match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| Failure::write(directory, &error))
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(Exit::CannotWrite, format!("`{}` exists already", path.display()))
        .help("give another name with `-o`, or `--force` to replace it")
}

/// The bytes received so far, with their digests. Only one command writes it at a time.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    sha256: Sha256,
    blake3: Box<blake3::Hasher>,
}

impl Part {
    /// Opens the part of a target for its owner alone, and takes what an interrupted command left there.
    pub(super) fn open(target: &Target, size: u64) -> Result<Self, Failure> {
        let path = target.part();
        let failed = |error: io::Error| Failure::write(&path, &error);
        let no_links = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_links)
            .open(&path)
            .map_err(failed)?;
        let busy = || {
            let text = format!("another command writes `{}`", path.display());
            Failure::new(Exit::TryAgain, text).help("wait for it to end")
        };
        if file.try_lock().is_err() {
            return Err(busy());
        }
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Failure::new(
                Exit::CannotWrite,
                format!("`{}` is not a regular file", path.display()),
            ));
        }
        // Whoever had the lock before may have renamed what was opened here to its target.
        let is_there = fs::symlink_metadata(&path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (metadata.dev(), metadata.ino()));
        if !is_there {
            return Err(busy());
        }
        let mut part = Self {
            path,
            file,
            length: 0,
            sha256: Sha256::new(),
            blake3: Box::new(blake3::Hasher::new()),
        };
        if metadata.len() > size {
            part.restart()?;
        } else {
            part.hash_present()?;
        }
        Ok(part)
    }

    /// How many bytes are there.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes, never more than the whole has.
    pub(super) fn append(&mut self, data: &[u8], size: u64) -> Result<(), Failure> {
        let added = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let length = self.length.saturating_add(added);
        if length > size {
            return Err(Failure::new(
                Exit::NotVerified,
                format!("more than the {size} bytes of the file came"),
            ));
        }
        self.file.write_all(data).map_err(|error| {
            Failure::write(&self.path, &error)
                .help("make room; the same command continues where this one stopped")
        })?;
        self.take(data);
        self.length = length;
        Ok(())
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        let outcome = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        outcome.map_err(|error| Failure::write(&self.path, &error))?;
        self.length = 0;
        self.sha256 = Sha256::new();
        self.blake3.reset();
        Ok(())
    }

    /// Whether the bytes are the whole file.
    pub(super) fn verify(&self, whole: &Whole) -> Result<(), Failure> {
        let sha256 = hex::encode(self.sha256.clone().finalize());
        let blake3 = self.blake3.finalize().to_hex();
        let mismatch = |what: &str, expected: &str, found: &str| {
            let text = format!(
                "`{}` does not verify: {what} is {found}, not {expected}",
                self.path.display()
            );
            Err(Failure::new(Exit::NotVerified, text)
                .help("nothing was put in place; run the command again"))
        };
        if self.length != whole.size {
            return mismatch("the size", &whole.size.to_string(), &self.length.to_string());
        }
        if !sha256.eq_ignore_ascii_case(&whole.sha256) {
            return mismatch("SHA-256", &whole.sha256, &sha256);
        }
        if !blake3.eq_ignore_ascii_case(&whole.blake3) {
            return mismatch("BLAKE3", &whole.blake3, &blake3);
        }
        Ok(())
    }

    /// Makes the file durable and puts it and its evidence in their places. The evidence goes first: the file's name
    /// says that everything is there.
    pub(super) fn finish(self, target: &Target, evidence: Option<&[u8]>) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| Failure::write(&self.path, &error))?;
        if let Some(evidence) = evidence {
            let new = beside(&target.provenance(), ".part");
            certs::files::replace_private(&new, evidence)
                .map_err(|error| Failure::new(Exit::CannotWrite, crate::site::chain(&error)))?;
            Target::place(&new, &target.provenance(), target.force || target.resumes)?;
        }
        Target::place(&self.path, target.file(), target.force)?;
        target.sync_directory()
    }

    fn hash_present(&mut self) -> Result<(), Failure> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::write(&self.path, &error)),
            };
            let data = buffer.get(..count).unwrap_or_default();
            self.sha256.update(data);
            self.blake3.update(data);
            self.length = self.length.saturating_add(u64::try_from(count).unwrap_or_default());
        }
    }

    fn take(&mut self, data: &[u8]) {
        self.sha256.update(data);
        self.blake3.update(data);
    }
}

/// A name of the provider made safe for the current directory: no path, no dotfile, nothing that a terminal or shell would
/// take for more than a name.
pub(super) fn safe_name(given: &str, dataset: &str) -> String {
    let plain = |text: &str| {
        let last = text.rsplit(['/', '\\']).next().unwrap_or_default();
        let kept = |character: char| match character {
            kept if kept.is_alphanumeric() || "-_. ()+,@".contains(kept) => kept,
            _ => '_',
        };
        let name = last.chars().map(kept).collect::<String>();
        let name = name.trim_start_matches(['.', '-', ' ']).trim_end_matches(['.', ' ']);
        let mut end = name.len().min(MAX_NAME_BYTES);
        while !name.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        name.get(..end).unwrap_or_default().to_owned()
    };
    [plain(given), plain(dataset)]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "dataset".to_owned())
}
