use std::collections::VecDeque;
use std::convert::Infallible;

use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use tokio::time::sleep;

use super::*;

const PACE: Pace =
    Pace { minimum_bytes_per_second: NonZeroU64::new(100).unwrap(), grace: Duration::from_secs(2) };

/// A body that waits before each piece.
fn pieces(
    pieces: impl IntoIterator<Item = (Duration, usize)>,
) -> impl HttpBody<Data = Bytes, Error = Infallible> + Unpin {
    let pieces: VecDeque<_> = pieces.into_iter().collect();
    StreamBody::new(Box::pin(stream::unfold(pieces, |mut pieces| async {
        let (pause, size) = pieces.pop_front()?;
        sleep(pause).await;
        Some((Ok(Frame::data(Bytes::from(vec![b'x'; size]))), pieces))
    })))
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_to_the_byte() {
    let two = |a, b| pieces([(Duration::ZERO, a), (Duration::ZERO, b)]);
    assert_eq!(read_body(two(60, 40), 100, PACE).await.unwrap().len(), 100);
    for (a, b) in [(60, 41), (101, 0), (0, 101)] {
        let error = read_body(two(a, b), 100, PACE).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { limit: 100 }), "{a} {b}: {error}");
    }
    assert!(read_body(empty(), 0, PACE).await.unwrap().is_empty());
    assert_eq!(read_body(full("all"), 3, PACE).await.unwrap(), "all");
    // A declared length is enough to refuse.
    read_body(full("four"), 3, PACE).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_pause_or_a_trickle_is_too_slow() {
    let slow: &[&[(f64, usize)]] = &[
        // Nothing comes.
        &[(2.1, 1)],
        // A pause after a burst, however large.
        &[(0.0, 1_000_000), (2.1, 1)],
        // Each piece in time, but 50 bytes a second on average.
        &[(1.0, 50), (1.0, 50), (1.0, 50), (1.0, 50), (1.0, 50), (1.0, 50)],
        // Empty pieces are no progress.
        &[(1.0, 0), (1.0, 0), (1.0, 0)],
    ];
    for case in slow {
        let body = pieces(case.iter().map(|(pause, size)| (seconds(*pause), *size)));
        let error = read_body(body, usize::MAX, PACE).await.unwrap_err();
        assert!(matches!(error, BodyError::TooSlow { .. }), "{case:?}: {error}");
    }
    let steady = pieces((0..100).map(|_| (seconds(1.0), 100)));
    assert_eq!(read_body(steady, usize::MAX, PACE).await.unwrap().len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn the_readers_own_time_is_not_held_against_the_sender() {
    let mut reader = PacedReader::new(pieces((0..5).map(|_| (seconds(1.0), 100))), PACE);
    let mut count = 0;
    while reader.next().await.unwrap().is_some() {
        count += 1;
        sleep(seconds(60.0)).await;
    }
    assert_eq!((count, reader.received()), (5, 500));
}

#[tokio::test]
async fn a_broken_body_says_how_far_it_came() {
    let frames: Vec<Result<_, std::io::Error>> =
        vec![Ok(Frame::data(Bytes::from_static(b"abc"))), Err(std::io::Error::other("gone"))];
    let error = read_body(StreamBody::new(stream::iter(frames)), 10, PACE).await.unwrap_err();
    assert!(matches!(error, BodyError::Broken { received: 3, .. }), "{error}");
}

#[tokio::test]
async fn limits_without_end_are_waited_for() {
    let pace = Pace { minimum_bytes_per_second: NonZeroU64::MIN, grace: Duration::MAX };
    assert_eq!(read_body(pieces([(Duration::ZERO, 5)]), usize::MAX, pace).await.unwrap().len(), 5);
}

proptest! {
    #[test]
    fn what_is_within_the_limit_arrives_whole(sizes in prop::collection::vec(0usize..50, 0..20), limit in 0usize..600) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let total: usize = sizes.iter().sum();
        let body = pieces(sizes.into_iter().map(|size| (Duration::ZERO, size)));
        match runtime.block_on(read_body(body, limit, PACE)) {
            Ok(bytes) => prop_assert_eq!((bytes.len(), total <= limit), (total, true)),
            Err(BodyError::TooLarge { .. }) => prop_assert!(total > limit),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
