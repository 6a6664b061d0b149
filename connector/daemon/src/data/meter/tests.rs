use std::time::Duration;

use super::*;

fn transfer(name: &str) -> Pid {
    format!("urn:uuid:{name}").parse().unwrap()
}

const ONE: &str = "00000000-0000-4000-8000-000000000001";
const TWO: &str = "00000000-0000-4000-8000-000000000002";

async fn is_pending(meters: &Meters) -> bool {
    tokio::time::timeout(Duration::ZERO, meters.pending()).await.is_ok()
}

#[tokio::test]
async fn it_counts_until_drained_and_forgets_what_is_finished() {
    let meters = Arc::new(Meters::default());
    assert!(!is_pending(&meters).await);
    let first = meters.begin(transfer(ONE));
    let second = meters.begin(transfer(ONE));
    first.add(10);
    second.add(5);
    assert!(is_pending(&meters).await);
    assert_eq!(
        meters.drain(),
        [(transfer(ONE), Served { bytes: 15, requests: 2, finished: false })]
    );
    assert_eq!(meters.drain(), []);
    drop(first);
    second.add(1);
    drop(second);
    assert_eq!(meters.drain(), [(transfer(ONE), Served { bytes: 1, requests: 0, finished: true })]);
    assert!(meters.lock().is_empty());
}

#[tokio::test]
async fn an_end_without_bytes_is_pending_too() {
    let meters = Arc::new(Meters::default());
    let request = meters.begin(transfer(ONE));
    meters.drain();
    assert!(is_pending(&meters).await);
    drop(request);
    assert!(is_pending(&meters).await);
    assert_eq!(meters.drain(), [(transfer(ONE), Served { finished: true, ..Served::default() })]);
    assert!(!is_pending(&meters).await);
}

#[tokio::test]
async fn what_could_not_be_recorded_comes_again() {
    let meters = Arc::new(Meters::default());
    drop(meters.begin(transfer(ONE)));
    let _running = meters.begin(transfer(TWO));
    for (transfer, served) in meters.drain() {
        meters.restore(&transfer, served);
    }
    let mut again = meters.drain();
    again.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
    assert_eq!(
        again,
        [
            (transfer(ONE), Served { bytes: 0, requests: 1, finished: true }),
            (transfer(TWO), Served { bytes: 0, requests: 1, finished: false }),
        ]
    );
}
