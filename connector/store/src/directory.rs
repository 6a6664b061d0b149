//! The directory `data/`: one process at a time, one journal id, and how the last process left it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Random;
use crate::open::OpenError;

/// The version of the directory's layout that this release writes.
const LAYOUT: u16 = 1;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The locked directory.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Holds the lock until it is dropped.
    _lock: File,
    pub(crate) instance: Instance,
    /// Whether the last stop was a clean one, or there was none.
    pub(crate) clean: bool,
    /// Whether it was a clean one, or one that the running kernel survived.
    pub(crate) survived: bool,
}

/// What the directory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instance {
    v: u16,
    /// 16 random bytes, hexadecimal: the journal's id.
    id: String,
}

/// How the directory is being used or was left.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Use {
    v: u16,
    /// The kernel's boot id.
    boot: String,
    /// Whether everything was written and closed.
    clean: bool,
}

/// Makes a directory that is nobody else's to read, with those above it.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Directory {
    /// Locks the directory, making it where it is missing.
    pub(crate) fn open(path: &Path, random: &dyn Random) -> Result<Self, OpenError> {
        let failed = failed(path);
        create_private(path).map_err(&failed)?;
        let lock = lock(path)?;
        let instance = instance(path, random)?;
        let boot = boot_id();
        let last: Option<Use> = read(&path.join("use.json"))?;
        let clean = last.as_ref().is_none_or(|last| last.clean);
        let survived = clean || last.is_some_and(|last| !boot.is_empty() && last.boot == boot);
        write(path, "use.json", &Use { v: LAYOUT, boot, clean: false })?;
        for part in ["snapshots", "trees"] {
            create_private(&path.join(part)).map_err(&failed)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock, instance, clean, survived })
    }

    /// The directory's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says that everything was written and closed.
    pub(crate) fn mark_clean(&self) -> Result<(), OpenError> {
        write(&self.path, "use.json", &Use { v: LAYOUT, boot: boot_id(), clean: true })
    }
}

impl Instance {
    /// The journal's id.
    pub(crate) fn journal_id(&self) -> Option<[u8; 16]> {
        let mut id = [0; 16];
        hex::decode_to_slice(&self.id, &mut id).ok()?;
        Some(id)
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let failed = failed(&path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(&failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Whatever is in the file only helps the operator to find the process.
            let _ = (&mut file).take(32).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "unknown".to_owned(),
                pid => pid.to_owned(),
            };
            return Err(OpenError::Locked { directory: directory.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(&failed)?;
    Ok(file)
}

fn instance(directory: &Path, random: &dyn Random) -> Result<Instance, OpenError> {
    let path = directory.join("instance.json");
    if let Some(instance) = read::<Instance>(&path)? {
        if instance.v != LAYOUT || instance.journal_id().is_none() {
            return Err(OpenError::Layout { path });
        }
        return Ok(instance);
    }
    if directory.join("journal").exists() {
        return Err(OpenError::NoInstance { path });
    }
    let mut id = [0; 16];
    random.fill(&mut id)?;
    let instance = Instance { v: LAYOUT, id: hex::encode(id) };
    write(directory, "instance.json", &instance)?;
    Ok(instance)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, OpenError> {
    match fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(content) => Ok(Some(content)),
            Err(_) => Err(OpenError::Layout { path: path.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Replaces a small file so that it is there as a whole, old or new, whatever happens.
fn write(directory: &Path, name: &str, content: &impl Serialize) -> Result<(), OpenError> {
    let path = directory.join(name);
    let unfinished = directory.join(format!("{name}.unfinished"));
    let written = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        serde_json::to_writer(&mut file, content)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(directory)?.sync_all()
    };
    written().map_err(failed(&path))
}

/// The kernel's boot id; empty where the system has none, and then no two boots are the same.
fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Files { path: path.clone(), source }
}
