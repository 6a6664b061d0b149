//! Paths, events, and what a daemon that is away or answers badly comes to.

use super::*;

#[test]
fn segments_and_queries_are_encoded() {
    assert_eq!(path(&["v1", "datasets", "a/b c?ü"], &[]), "/v1/datasets/a%2Fb%20c%3F%C3%BC");
    let query = [("log", Some("a b".to_owned())), ("kind", None)];
    assert_eq!(path(&["v1"], &query), "/v1?log=a+b");
}

#[test]
fn events_are_split_however_they_arrive() {
    let text = b"{\"a\":1}\n\n{\"b\":2}\r\n{\"c\"";
    for cut in 0..text.len() {
        let mut lines = Lines::default();
        let mut events = lines.push(&text[..cut]).unwrap();
        events.extend(lines.push(&text[cut..]).unwrap());
        assert_eq!(events.len(), 2, "{cut}");
        assert!(!lines.is_empty());
    }
    assert!(Lines::default().push(b"no json\n").is_err());
    assert!(Lines::default().push(&vec![b' '; MAX_EVENT_BYTES + 1]).is_err());
}

#[tokio::test]
async fn a_daemon_that_is_away_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(&directory.path().join("sekisho.sock"));
    let error = client.get("/v1/status").await.unwrap_err();
    assert!(error.is_passing());
    let failure = Failure::from(error);
    assert_eq!(failure.exit, Exit::NotReachable);
    assert!(failure.help.unwrap().contains("sekisho serve"));
}
