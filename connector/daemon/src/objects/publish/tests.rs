use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::objects::{ReadError, Swept};

struct Site {
    directory: tempfile::TempDir,
    objects: Objects,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::open(directory.path(), 4).unwrap();
        Self { directory, objects }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    async fn publish(&self, path: &Path, place: Placement) -> Result<Published, PublishError> {
        self.objects.publish(path.to_owned(), place, |_| ControlFlow::Continue(())).await
    }

    /// Every file in the store, unfinished ones included.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.directory.path().join("objects")).unwrap() {
            for file in fs::read_dir(entry.unwrap().path()).unwrap() {
                files.push(file.unwrap().path());
            }
        }
        files.sort();
        files
    }
}

/// What somebody does to a file, and how.
type Change = (&'static str, fn(&Path));

fn bytes(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"publish").finalize_xof().fill(&mut bytes);
    bytes
}

#[tokio::test]
async fn it_says_what_was_read_and_stores_it_once() {
    let site = Site::new();
    for size in [0, 1, GROUP_SIZE, 2 * GROUP_SIZE + 7] {
        let bytes = bytes(size);
        let path = site.file("cfp.json", &bytes);
        let published = site.publish(&path, Placement::Stored).await.unwrap();
        let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let expected = Digests {
            sha256: hex::encode(sha256),
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            size: size as u64,
        };
        assert_eq!(published.digests, expected);
        assert_eq!(published.location, Location::Stored);
        assert_eq!(published.media_type, "application/json");
        assert_eq!(published.file_name, "cfp.json");
        let files = site.files();
        site.publish(&path, Placement::Stored).await.unwrap();
        assert_eq!(site.files(), files);
        let object = site.objects.shared.object_path(&blake3::hash(&bytes));
        assert_eq!(fs::read(&object).unwrap(), bytes);
        assert_eq!(fs::metadata(&object).unwrap().permissions().mode() & 0o777, 0o400);
    }
    assert_eq!(site.files().len(), 8);
}

#[tokio::test]
async fn in_place_makes_no_copy() {
    let site = Site::new();
    let path = site.file("part.step", &bytes(GROUP_SIZE + 1));
    let published = site.publish(&path, Placement::InPlace).await.unwrap();
    assert_eq!(published.location, Location::InPlace(path.to_str().unwrap().to_owned()));
    let [tree] = &site.files()[..] else { panic!("only the tree is stored") };
    assert_eq!(tree.extension().unwrap(), "tree");
}

#[tokio::test]
async fn publishing_again_repairs_a_damaged_copy() {
    let site = Site::new();
    let path = site.file("a", b"the bytes");
    let published = site.publish(&path, Placement::Stored).await.unwrap();
    let object = site.objects.shared.object_path(&blake3::hash(b"the bytes"));
    fs::remove_file(&object).unwrap();
    fs::write(&object, b"the bytez").unwrap();
    let read = || async {
        let reader = site.objects.reader(&published.digests, &published.location).await?;
        reader.read_group(0).await
    };
    assert!(matches!(read().await, Err(ReadError::Damaged { group: Some(0), .. })));
    site.publish(&path, Placement::Stored).await.unwrap();
    assert_eq!(read().await.unwrap(), &b"the bytes"[..]);
}

#[tokio::test]
async fn only_regular_files_are_published() {
    let site = Site::new();
    let file = site.file("file", b"bytes");
    let path = |name: &str| site.directory.path().join(name);
    symlink(&file, path("link")).unwrap();
    fs::create_dir(path("directory")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for (path, expected) in [
        (path("link"), "a symbolic link"),
        (path("directory"), "a directory"),
        (path("fifo"), "a FIFO"),
        (path("socket"), "a socket"),
        (PathBuf::from("/dev/zero"), "a device"),
    ] {
        for place in [Placement::Stored, Placement::InPlace] {
            let refused = site.publish(&path, place).await.unwrap_err();
            let PublishError::NotAFile { kind, .. } = refused else { panic!("{refused}") };
            assert_eq!(kind, expected);
        }
    }
    let missing = site.publish(&path("missing"), Placement::Stored).await.unwrap_err();
    assert!(matches!(missing, PublishError::Unreadable { .. }));
    assert_eq!(site.files(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_refused_and_nothing_is_left() {
    let changes: [Change; 4] = [
        ("grown", |path| {
            fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"x").unwrap();
        }),
        ("cut", |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1).unwrap();
        }),
        ("written to", |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all(b"x").unwrap();
        }),
        ("replaced", |path| {
            let other = path.with_extension("new");
            fs::copy(path, &other).unwrap();
            fs::rename(&other, path).unwrap();
        }),
    ];
    for place in [Placement::Stored, Placement::InPlace] {
        for (how, change) in changes {
            let site = Site::new();
            let path = site.file("busy", &bytes(3 * GROUP_SIZE));
            let victim = path.clone();
            let progress = move |read| {
                if read == GROUP_SIZE as u64 {
                    change(&victim);
                }
                ControlFlow::Continue(())
            };
            let refused = site.objects.publish(path, place, progress).await.unwrap_err();
            assert!(matches!(refused, PublishError::Changed { .. }), "{how}: {refused}");
            assert_eq!(site.files(), [] as [PathBuf; 0], "{how}");
        }
    }
}

#[tokio::test]
async fn progress_counts_every_byte_and_can_stop() {
    let site = Site::new();
    let path = site.file("large", &bytes(2 * GROUP_SIZE + 1));
    let (sender, seen) = std::sync::mpsc::channel();
    let progress = move |read| {
        sender.send(read).unwrap();
        if read > GROUP_SIZE as u64 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let stopped = site.objects.publish(path, Placement::Stored, progress).await.unwrap_err();
    assert!(matches!(stopped, PublishError::Stopped { .. }));
    assert_eq!(seen.iter().collect::<Vec<_>>(), [GROUP_SIZE as u64, 2 * GROUP_SIZE as u64]);
    assert_eq!(site.files(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_sweep_removes_what_nobody_keeps_or_publishes() {
    let site = Site::new();
    let publish = async |name: &str| {
        let path = site.file(name, name.as_bytes());
        site.publish(&path, Placement::Stored).await.unwrap()
    };
    let kept = publish("kept").await.digests;
    let dropped = publish("dropped").await.digests;
    let held = publish("held").await;
    let stranger = site.files()[0].with_file_name("not-ours");
    fs::write(&stranger, b"").unwrap();
    let sweep = site.objects.sweep();
    // Published and committed after the list of datasets was made.
    let late = publish("late").await.digests;
    let swept = sweep.finish(HashSet::from([kept.blake3.clone()])).await.unwrap();
    assert_eq!(swept.objects, 1);
    let is_there =
        async |digests: &Digests| site.objects.reader(digests, &Location::Stored).await.is_ok();
    assert!(is_there(&kept).await && is_there(&held.digests).await && is_there(&late).await);
    assert!(!is_there(&dropped).await);
    assert!(stranger.exists());
    let gone = held.digests.clone();
    drop(held);
    let keep = HashSet::from([kept.blake3.clone(), late.blake3.clone()]);
    let swept = site.objects.sweep().finish(keep.clone()).await.unwrap();
    assert_eq!(swept.objects, 1);
    assert!(!is_there(&gone).await);
    assert_eq!(site.objects.sweep().finish(keep).await.unwrap(), Swept::default());
}

#[tokio::test]
async fn opening_removes_what_a_stop_left_half_made() {
    let site = Site::new();
    fs::write(site.objects.shared.temporary().join("half"), b"ha").unwrap();
    Objects::open(site.directory.path(), 4).unwrap();
    assert_eq!(site.files(), [] as [PathBuf; 0]);
}

#[test]
fn a_full_disk_is_named() {
    use rustix::io::Errno;
    for (errno, full) in [(Errno::NOSPC, true), (Errno::DQUOT, true), (Errno::IO, false)] {
        let error = StorageError::at("written", Path::new("/data"))(errno.into());
        assert_eq!(matches!(error, StorageError::DiskFull { .. }), full, "{error}");
    }
}
