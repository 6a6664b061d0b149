use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::testing::within;
use crate::net::{Body, full};

async fn describe(_request: Request<Incoming>, peer: Arc<LocalPeer>) -> Response<Body> {
    Response::new(full(format!("{} {} {}", peer.uid, peer.gid, peer.pid.unwrap())))
}

async fn ask(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn the_kernel_says_who_asks_and_the_file_goes_with_the_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sekisho.sock");
    let listener = UnixListener::bind(&path, UnixLimits::default()).await.unwrap();
    assert_eq!(listener.path(), path);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(listener.serve(Arc::new(describe), shutdown.clone()));
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let us = format!("{} {} {}", uid.as_raw(), gid.as_raw(), std::process::id());
    let answer = ask(&path).await;
    assert!(answer.ends_with(&us), "{answer}");
    shutdown.drain();
    within(serving).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn the_mode_may_be_widened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let limits = UnixLimits { mode: 0o660, ..UnixLimits::default() };
    let _listener = UnixListener::bind(&path, limits).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    // A process that was killed leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = UnixListener::bind(&path, UnixLimits::default()).await.unwrap();
    let error = UnixListener::bind(&path, UnixLimits::default()).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    // The refusal has cost the one that lives nothing.
    let serving = tokio::spawn(listener.serve(Arc::new(describe), Shutdown::new()));
    assert!(ask(&path).await.starts_with("HTTP/1.1 200"));
    serving.abort();
}

#[tokio::test]
async fn only_our_own_file_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path, UnixLimits::default()).await.unwrap();
    std::fs::rename(&path, directory.path().join("aside")).unwrap();
    std::fs::write(&path, "another's").unwrap();
    drop(listener);
    assert_eq!(std::fs::read(&path).unwrap(), b"another's");
    let error = UnixListener::bind(&path, UnixLimits::default()).await.unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"another's");
}

#[tokio::test]
async fn bad_places_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("s".repeat(LONGEST_PATH));
    let error = UnixListener::bind(&long, UnixLimits::default()).await.unwrap_err();
    assert!(matches!(error, ListenError::PathTooLong { limit: LONGEST_PATH, .. }), "{error}");
    let absent = directory.path().join("absent/s");
    let error = UnixListener::bind(&absent, UnixLimits::default()).await.unwrap_err();
    assert!(matches!(error, ListenError::Socket { .. }), "{error}");
    // The longest path that the check lets through is one that the system takes.
    let base = directory.path().as_os_str().len() + 1;
    let longest = directory.path().join("s".repeat(LONGEST_PATH - base));
    UnixListener::bind(&longest, UnixLimits::default()).await.unwrap();
}
