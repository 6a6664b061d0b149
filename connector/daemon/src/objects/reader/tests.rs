use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, PermissionsExt};

use proptest::prelude::*;

use super::*;
use crate::objects::{GROUP_SIZE, Placement, Published};

/// What somebody puts in the place of a file, and how.
type Replacement = (&'static str, fn(&Path));

fn bytes(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"reader").finalize_xof().fill(&mut bytes);
    bytes
}

struct Site {
    directory: tempfile::TempDir,
    objects: Objects,
    path: PathBuf,
}

impl Site {
    async fn publish(bytes: &[u8], placement: Placement) -> (Self, Published) {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::open(directory.path(), 2).unwrap();
        let path = directory.path().join("file.bin");
        fs::write(&path, bytes).unwrap();
        let go_on = |_| ControlFlow::Continue(());
        let published = objects.publish(path.clone(), placement, go_on).await.unwrap();
        (Self { directory, objects, path }, published)
    }

    async fn reader(&self, published: &Published) -> Result<Reader, ReadError> {
        self.objects.reader(&published.digests, &published.location).await
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn it_gives_every_byte_from_either_place() {
    for size in [0, 1, GROUP_SIZE - 1, GROUP_SIZE, GROUP_SIZE + 1, 3 * GROUP_SIZE + 5] {
        for placement in [Placement::Stored, Placement::InPlace] {
            let bytes = bytes(size);
            let (site, published) = Site::publish(&bytes, placement).await;
            let reader = site.reader(&published).await.unwrap();
            let mut read = Vec::new();
            for group in 0..tree::group_count(size as u64) {
                read.extend_from_slice(&reader.read_group(group).await.unwrap());
            }
            assert_eq!(read, bytes);
            let past = reader.read_group(tree::group_count(size as u64)).await;
            assert!(matches!(past, Err(ReadError::PastEnd { .. })));
        }
    }
}

#[tokio::test]
async fn readers_of_one_object_share_its_tree() {
    let (site, published) = Site::publish(&bytes(2 * GROUP_SIZE), Placement::Stored).await;
    let one = site.reader(&published).await.unwrap();
    let other = site.reader(&published).await.unwrap();
    assert!(Arc::ptr_eq(&one.object.tree, &other.object.tree));
}

#[tokio::test]
async fn another_file_under_the_path_is_damage() {
    let replacements: [Replacement; 5] = [
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("shorter", |path| fs::write(path, b"x").unwrap()),
        ("longer", |path| fs::write(path, bytes(2 * GROUP_SIZE + 1)).unwrap()),
        ("a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("a link to the same bytes", |path| {
            let other = path.with_extension("moved");
            fs::rename(path, &other).unwrap();
            std::os::unix::fs::symlink(&other, path).unwrap();
        }),
    ];
    for (how, replace) in replacements {
        let (site, published) = Site::publish(&bytes(2 * GROUP_SIZE), Placement::InPlace).await;
        replace(&site.path);
        let refused = site.reader(&published).await.unwrap_err();
        assert!(matches!(refused, ReadError::Damaged { group: None, .. }), "{how}: {refused}");
    }
}

#[tokio::test]
async fn a_file_cut_while_it_is_read_is_damage() {
    let (site, published) = Site::publish(&bytes(2 * GROUP_SIZE), Placement::InPlace).await;
    let reader = site.reader(&published).await.unwrap();
    fs::File::options().write(true).open(&site.path).unwrap().set_len(300_000).unwrap();
    assert!(reader.read_group(0).await.is_ok());
    let refused = reader.read_group(1).await.unwrap_err();
    assert!(matches!(refused, ReadError::Damaged { group: Some(1), .. }), "{refused}");
}

#[tokio::test]
async fn without_its_tree_nothing_is_read() {
    let (site, published) = Site::publish(&bytes(2 * GROUP_SIZE), Placement::Stored).await;
    let root = blake3::Hash::from_hex(&published.digests.blake3).unwrap();
    let tree = site.objects.shared.tree_path(&root);
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o600)).unwrap();
    let mut stored = fs::read(&tree).unwrap();
    stored[40] ^= 1;
    fs::write(&tree, &stored).unwrap();
    assert!(matches!(site.reader(&published).await, Err(ReadError::NoTree { .. })));
    fs::remove_file(&tree).unwrap();
    assert!(matches!(site.reader(&published).await, Err(ReadError::NoTree { .. })));
    let digests = Digests { blake3: "../../etc/passwd".to_owned(), ..published.digests };
    let refused = site.objects.reader(&digests, &Location::Stored).await;
    assert!(matches!(refused, Err(ReadError::NotADigest { .. })));
    drop(site.directory);
}

#[tokio::test]
async fn only_stored_objects_can_be_trusted_unverified() {
    for placement in [Placement::Stored, Placement::InPlace] {
        let bytes = bytes(GROUP_SIZE);
        let (site, published) = Site::publish(&bytes, placement).await;
        let reader = site.reader(&published).await.unwrap().trusting_store();
        assert_eq!(reader.read_group(0).await.unwrap(), bytes);
        let path = &reader.object.path;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&[bytes[9] ^ 1], 9).unwrap();
        let read = reader.read_group(0).await;
        assert_eq!(read.is_ok(), placement == Placement::Stored);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_byte_is_read_that_was_not_published(
        size in 1..4 * GROUP_SIZE,
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        placement in prop_oneof![Just(Placement::Stored), Just(Placement::InPlace)],
        opened_before: bool,
    ) {
        runtime().block_on(async {
            let bytes = bytes(size);
            let (site, published) = Site::publish(&bytes, placement).await;
            let before = site.reader(&published).await.unwrap();
            let path = before.object.path.clone();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            let at = at.index(size);
            file.write_all_at(&[bytes[at] ^ (1 << bit)], at as u64).unwrap();
            let reader = if opened_before { before } else { site.reader(&published).await.unwrap() };
            for (group, expected) in bytes.chunks(GROUP_SIZE).enumerate() {
                match reader.read_group(group as u64).await {
                    Ok(read) => {
                        assert_eq!(read, expected);
                        assert_ne!(group, at / GROUP_SIZE);
                    }
                    Err(ReadError::Damaged { group: Some(damaged), .. }) => {
                        assert_eq!(damaged, (at / GROUP_SIZE) as u64);
                        assert_eq!(damaged, group as u64);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
}
