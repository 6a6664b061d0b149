use std::fs;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

fn bytes(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"incoming").finalize_xof().fill(&mut bytes);
    bytes
}

fn digests(bytes: &[u8]) -> Digests {
    Digests {
        sha256: hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)),
        blake3: blake3::hash(bytes).to_hex().to_string(),
        size: bytes.len() as u64,
    }
}

fn site() -> (tempfile::TempDir, Objects, PullName) {
    let directory = tempfile::tempdir().unwrap();
    let objects = Objects::open(directory.path(), 2).unwrap();
    (directory, objects, "pull-1".parse().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn what_arrived_is_whole_verified_and_found_again() {
    let (_directory, objects, name) = site();
    let bytes = bytes(2 * GROUP_SIZE + 9);
    let expected = digests(&bytes);
    let mut incoming = objects.incoming(&name, Some(expected.clone())).await.unwrap();
    assert_eq!(objects.received(&name, &expected), None);
    for piece in bytes.chunks(16_384) {
        incoming.append(piece).await.unwrap();
    }
    let received = incoming.finish().await.unwrap();
    assert_eq!(received.digests, expected);
    assert_eq!(fs::read(&received.path).unwrap(), bytes);
    assert_eq!(objects.received(&name, &expected), Some(received.clone()));
    // Nobody recorded that it was whole: it is verified once more.
    let again = objects.incoming(&name, Some(expected.clone())).await.unwrap();
    assert_eq!(again.offset(), expected.size);
    assert_eq!(again.finish().await.unwrap(), received);
    objects.discard(&name).unwrap();
    assert_eq!(objects.received(&name, &expected), None);
}

#[tokio::test]
async fn wrong_bytes_are_not_verified_and_not_kept() {
    let (_directory, objects, name) = site();
    let right = bytes(GROUP_SIZE + 1);
    let mut wrong = right.clone();
    wrong[7] ^= 1;
    let mut incoming = objects.incoming(&name, Some(digests(&right))).await.unwrap();
    incoming.append(&wrong).await.unwrap();
    let refused = incoming.finish().await.unwrap_err();
    let IncomingError::NotVerified { expected, actual } = refused else { panic!("{refused}") };
    assert_eq!((*expected, *actual), (digests(&right), digests(&wrong)));
    assert_eq!(objects.incoming(&name, None).await.unwrap().offset(), 0);
}

#[tokio::test]
async fn the_digest_that_came_with_the_bytes_counts_too() {
    let (_directory, objects, name) = site();
    let mut incoming = objects.incoming(&name, None).await.unwrap();
    incoming.begin(None).await.unwrap();
    incoming.announce(digests(b"announced").sha256);
    incoming.append(b"something").await.unwrap();
    assert!(matches!(incoming.finish().await, Err(IncomingError::NotVerified { .. })));
}

#[tokio::test]
async fn too_few_bytes_are_kept_and_too_many_refused() {
    let (_directory, objects, name) = site();
    let expected = digests(b"0123456789");
    let mut incoming = objects.incoming(&name, Some(expected.clone())).await.unwrap();
    incoming.append(b"01234").await.unwrap();
    let short = incoming.finish().await.unwrap_err();
    assert!(matches!(short, IncomingError::Incomplete { received: 5, expected: 10 }), "{short}");
    let mut incoming = objects.incoming(&name, Some(expected.clone())).await.unwrap();
    assert_eq!(incoming.offset(), 5);
    let long = incoming.append(b"56789x").await.unwrap_err();
    assert!(matches!(long, IncomingError::TooLong { expected: 10 }), "{long}");
    incoming.append(b"56789").await.unwrap();
    assert_eq!(incoming.finish().await.unwrap().digests, expected);
}

#[tokio::test]
async fn one_writer_at_a_time() {
    let (_directory, objects, name) = site();
    let incoming = objects.incoming(&name, None).await.unwrap();
    assert!(matches!(objects.incoming(&name, None).await, Err(IncomingError::Busy(_))));
    drop(incoming);
    objects.incoming(&name, None).await.unwrap();
}

#[tokio::test]
async fn the_tag_lives_as_long_as_its_bytes() {
    let (_directory, objects, name) = site();
    let mut incoming = objects.incoming(&name, None).await.unwrap();
    incoming.begin(Some("\"tag\"")).await.unwrap();
    incoming.append(b"bytes").await.unwrap();
    incoming.flush().await.unwrap();
    drop(incoming);
    let mut incoming = objects.incoming(&name, None).await.unwrap();
    assert_eq!((incoming.offset(), incoming.validator()), (5, Some("\"tag\"")));
    incoming.begin(None).await.unwrap();
    assert_eq!((incoming.offset(), incoming.validator()), (0, None));
    drop(incoming);
    let incoming = objects.incoming(&name, None).await.unwrap();
    assert_eq!((incoming.offset(), incoming.validator()), (0, None));
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_counted_that_is_not_there() {
    let (_directory, objects, name) = site();
    std::os::unix::fs::symlink("/dev/full", objects.shared.part(&name)).unwrap();
    let mut incoming = objects.incoming(&name, None).await.unwrap();
    incoming.append(&bytes(GROUP_SIZE + 1)).await.unwrap();
    let full = incoming.flush().await.unwrap_err();
    let full = matches!(full, IncomingError::Storage(StorageError::DiskFull { .. }));
    assert!(full);
    assert_eq!(incoming.offset(), 0);
}

#[tokio::test]
async fn a_sweep_leaves_what_is_kept() {
    let (directory, objects, name) = site();
    let other: PullName = "pull-2".parse().unwrap();
    for name in [&name, &other] {
        let mut incoming = objects.incoming(name, None).await.unwrap();
        incoming.begin(Some("\"tag\"")).await.unwrap();
    }
    fs::write(directory.path().join("incoming/not ours"), b"").unwrap();
    assert_eq!(objects.sweep_incoming(&HashSet::from([name.clone()])).unwrap(), 2);
    assert!(objects.shared.part(&name).exists() && objects.shared.validator(&name).exists());
    assert!(!objects.shared.part(&other).exists());
}

#[test]
fn names_are_names_of_files() {
    for good in ["a", "0190f5a2-7c1e-7000-8000-000000000001", "under_score", &"x".repeat(100)] {
        assert_eq!(good.parse::<PullName>().unwrap().to_string(), good);
    }
    for bad in ["", ".", "..", "a/b", "a.part", "\0", "ä", "a b", &"x".repeat(101)] {
        assert!(bad.parse::<PullName>().is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any cut of the bytes into pieces, with a restart after any of them, gives the same digests.
    #[test]
    fn restarts_lose_nothing(
        size in 0..6 * GROUP_SIZE,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..6),
    ) {
        runtime().block_on(async {
            let (_directory, objects, name) = site();
            let bytes = bytes(size);
            let mut cuts: Vec<(usize, bool)> =
                cuts.iter().map(|(at, restart)| (at.index(size + 1), *restart)).collect();
            cuts.sort_unstable();
            let mut incoming = objects.incoming(&name, Some(digests(&bytes))).await.unwrap();
            for (cut, restart) in cuts {
                let offset = usize::try_from(incoming.offset()).unwrap();
                if cut > offset {
                    incoming.append(&bytes[offset..cut]).await.unwrap();
                }
                if restart {
                    // Without a flush, what stood in memory is lost, and asked for again.
                    let settled = incoming.settle().await;
                    settled.unwrap();
                    drop(incoming);
                    incoming = objects.incoming(&name, Some(digests(&bytes))).await.unwrap();
                }
            }
            let offset = usize::try_from(incoming.offset()).unwrap();
            incoming.append(&bytes[offset..]).await.unwrap();
            let received = incoming.finish().await.unwrap();
            assert_eq!(received.digests, digests(&bytes));
            assert_eq!(fs::read(received.path).unwrap(), bytes);
        });
    }
}

#[tokio::test]
async fn a_received_dataset_can_be_published_onwards() {
    let (_directory, objects, name) = site();
    let mut incoming = objects.incoming(&name, None).await.unwrap();
    incoming.append(b"bytes").await.unwrap();
    let received = incoming.finish().await.unwrap();
    let go_on = |_| ControlFlow::Continue(());
    let place = crate::objects::Placement::Stored;
    let published = objects.publish(received.path, place, go_on).await.unwrap();
    assert_eq!(published.digests, received.digests);
}
