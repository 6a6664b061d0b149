//! Pulling from a daemon that answers over a real socket: whole, interrupted, wrong, in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::*;
use crate::exit::Exit;

/// A daemon that holds one file. It may lose its connection in the middle of the copy, or send other bytes.
struct Daemon {
    content: Vec<u8>,
    announced: Vec<u8>,
    /// The copy breaks off at this offset, once.
    break_at: Mutex<Option<usize>>,
    requests: Mutex<Vec<String>>,
}

impl Daemon {
    fn new(content: &[u8]) -> Self {
        Self {
            content: content.to_vec(),
            announced: content.to_vec(),
            break_at: Mutex::new(None),
            requests: Mutex::new(Vec::new()),
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let range = request.headers().get("range").map(|range| range.to_str().unwrap().to_owned());
        self.requests.lock().unwrap().push(format!("{path} {}", range.clone().unwrap_or_default()));
        let answer = |body: Vec<u8>| Response::new(Full::new(Bytes::from(body)));
        match path.as_str() {
            "/v1/pulls" => {
                let received = json!({ "received": {
                    "id": "p/1", "file_name": "../../.evil.json", "size": self.announced.len(),
                    "sha256": hex::encode(Sha256::digest(&self.announced)),
                    "blake3": blake3::hash(&self.announced).to_hex().to_string(),
                }});
                let progress = json!({ "progress": { "done": 1, "total": 2 } });
                answer(
                    format!("{{\"pull\":{{\"step\":\"transferring\"}}}}\n{progress}\n{received}\n")
                        .into_bytes(),
                )
            }
            "/v1/pulls/p%2F1/provenance" => answer(evidence(&self.announced)),
            "/v1/pulls/p%2F1/content" => {
                let from = range
                    .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
                    .unwrap_or(0_usize);
                let cut = self.break_at.lock().unwrap().take();
                let end = cut.unwrap_or(self.content.len()).max(from);
                let mut answer = answer(self.content[from..end].to_vec());
                if from > 0 {
                    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                }
                answer
            }
            "/v1/pulls/p%2F1/delivered" => answer(b"{}".to_vec()),
            other => panic!("{other}"),
        }
    }
}

/// Evidence that is about this content. Whether it is genuine the daemon has found out.
fn evidence(content: &[u8]) -> Vec<u8> {
    let leaf = json!({ "digests": { "dataset": hex::encode(Sha256::digest(content)) } });
    let bundle =
        provenance::Bundle::new("t", leaf.to_string().as_bytes(), 0, Vec::new(), "note").unwrap();
    bundle.to_json().unwrap().into_bytes()
}

/// Serves the daemon on a socket in the directory for as long as the test's runtime lives.
fn serve(directory: &TempDir, daemon: Daemon) -> (Client, Arc<Daemon>) {
    let daemon = Arc::new(daemon);
    let socket = directory.path().join("s.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let shared = Arc::clone(&daemon);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let daemon = Arc::clone(&shared);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = daemon.answer(&request);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { connection.await.unwrap() });
        }
    });
    (Client::new(&socket), daemon)
}

fn arguments(file: &Path, force: bool) -> Pull {
    Pull {
        partner: "b".to_owned(),
        dataset: "parts".parse().unwrap(),
        output: Some(file.to_owned()),
        purpose: None,
        push: false,
        wait_seconds: 5,
        force,
    }
}

fn content() -> Vec<u8> {
    (0..3_000_000_u32).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

#[tokio::test]
async fn a_file_and_its_evidence_appear_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (client, daemon) = serve(&directory, Daemon::new(&content()));
    let file = directory.path().join("out.json");
    run(&arguments(&file, false), &client, Output::new(false)).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), content());
    assert_eq!(fs::read(beside(&file, ".prov")).unwrap(), evidence(&content()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!beside(&file, ".part").exists() && !beside(&file, ".prov.part").exists());
    assert!(daemon.requests.lock().unwrap().iter().any(|path| path.contains("delivered")));

    let again = run(&arguments(&file, false), &client, Output::new(false)).await.unwrap_err();
    assert_eq!(again.exit, Exit::CannotWrite);
    fs::write(&file, "old").unwrap();
    run(&arguments(&file, true), &client, Output::new(false)).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), content());
}

#[tokio::test]
async fn an_interrupted_copy_continues_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::new(&content());
    *daemon.break_at.lock().unwrap() = Some(1_000_000);
    let (client, daemon) = serve(&directory, daemon);
    let file = directory.path().join("out.json");
    run(&arguments(&file, false), &client, Output::new(false)).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), content());
    assert!(
        daemon.requests.lock().unwrap().iter().any(|path| path.ends_with("content bytes=1000000-"))
    );
}

#[tokio::test]
async fn what_an_earlier_command_left_is_used_if_it_fits() {
    for (left, fits) in [
        (content()[..500_000].to_vec(), true),
        (vec![9; 500_000], false),
        (vec![1; 4_000_000], false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (client, daemon) = serve(&directory, Daemon::new(&content()));
        let file = directory.path().join("out.json");
        fs::write(beside(&file, ".part"), &left).unwrap();
        run(&arguments(&file, false), &client, Output::new(false)).await.unwrap();
        assert_eq!(fs::read(&file).unwrap(), content());
        let requests = daemon.requests.lock().unwrap();
        let whole = requests.iter().any(|path| path.ends_with("content "));
        assert_eq!(whole, !fits, "{requests:?}");
    }
}

#[tokio::test]
async fn other_bytes_than_announced_are_never_put_in_place() {
    let mut changed = content();
    changed[2_000_000] ^= 1;
    let mut longer = content();
    longer.push(0);
    for content_sent in [changed, longer] {
        let directory = tempfile::tempdir().unwrap();
        let daemon = Daemon { content: content_sent, ..Daemon::new(&content()) };
        let (client, _daemon) = serve(&directory, daemon);
        let file = directory.path().join("out.json");
        let failure = run(&arguments(&file, false), &client, Output::new(false)).await.unwrap_err();
        assert_eq!(failure.exit, Exit::NotVerified, "{failure}");
        assert!(!file.exists() && !beside(&file, ".prov").exists());
    }
}

#[tokio::test]
async fn a_command_that_died_between_evidence_and_file_is_continued() {
    let directory = tempfile::tempdir().unwrap();
    let (client, daemon) = serve(&directory, Daemon::new(&content()));
    let file = directory.path().join("out.json");
    fs::write(beside(&file, ".part"), content()).unwrap();
    fs::write(beside(&file, ".prov"), "earlier").unwrap();
    run(&arguments(&file, false), &client, Output::new(false)).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), content());
    assert_eq!(fs::read(beside(&file, ".prov")).unwrap(), evidence(&content()));
    assert!(!daemon.requests.lock().unwrap().iter().any(|path| path.contains("content")));

    // Evidence that lies there without an interrupted file is somebody's.
    fs::remove_file(&file).unwrap();
    let refused = run(&arguments(&file, false), &client, Output::new(false)).await.unwrap_err();
    assert_eq!(refused.exit, Exit::CannotWrite);
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let (client, _daemon) = serve(&directory, Daemon::new(b""));
    let file = directory.path().join("empty");
    run(&arguments(&file, false), &client, Output::new(false)).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[tokio::test]
async fn two_commands_do_not_write_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::new(directory.path().join("out"), false).unwrap();
    let _first = Part::open(&target, 10).unwrap();
    assert_eq!(Part::open(&target, 10).err().unwrap().exit, Exit::TryAgain);
}

#[test]
fn a_link_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::new(directory.path().join("out"), false).unwrap();
    let victim = directory.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    std::os::unix::fs::symlink(&victim, directory.path().join("out.part")).unwrap();
    assert!(Part::open(&target, 0).is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"kept");
}

#[test]
fn names_of_providers_are_made_safe() {
    let cases = [
        ("footprint.json", "footprint.json"),
        ("部品B.json", "部品B.json"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.txt", "y.txt"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\nb\u{1b}[2J\u{202e}c", "a_b__2J_c"),
        ("...", "parts"),
        ("", "parts"),
        ("dir/", "parts"),
    ];
    for (given, expected) in cases {
        assert_eq!(part::safe_name(given, "urn:x/parts"), expected, "{given:?}");
    }
}

proptest::proptest! {
    #[test]
    fn a_safe_name_is_one_name(given: String, dataset: String) {
        let name = part::safe_name(&given, &dataset);
        proptest::prop_assert!(!name.is_empty() && name.len() <= 200 && !name.contains(['/', '\\', '\0']));
        proptest::prop_assert!(!name.starts_with(['.', '-']) && name != ".." );
        proptest::prop_assert_eq!(Path::new(&name).components().count(), 1);
    }
}
