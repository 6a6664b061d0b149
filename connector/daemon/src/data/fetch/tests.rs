use std::fs;

use engine::entity::Digests;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::objects::{Objects, PullName};

const TAG: &str = "\"the-bytes\"";

type Reply = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

fn bytes(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"fetch").finalize_xof().fill(&mut bytes);
    bytes
}

fn digests(bytes: &[u8]) -> Digests {
    Digests {
        sha256: hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)),
        blake3: blake3::hash(bytes).to_hex().to_string(),
        size: bytes.len() as u64,
    }
}

/// A pull, and what its requests asked for.
struct Pull {
    _directory: tempfile::TempDir,
    objects: Objects,
    name: PullName,
    progress: watch::Sender<u64>,
    asked: Vec<HeaderMap>,
}

impl Pull {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::open(directory.path(), 2).unwrap();
        let name = "pull".parse().unwrap();
        let progress = watch::Sender::new(0);
        Self { _directory: directory, objects, name, progress, asked: Vec::new() }
    }

    async fn incoming(&self, expected: Option<&[u8]>) -> Incoming {
        self.objects.incoming(&self.name, expected.map(digests)).await.unwrap()
    }

    async fn attempt(&mut self, incoming: &mut Incoming, reply: Reply) -> Result<(), FetchError> {
        let asked = &mut self.asked;
        let open = |fields| {
            asked.push(fields);
            async {
                if reply.status().is_success() {
                    return Ok(reply);
                }
                let (parts, body) = reply.into_parts();
                let body = crate::net::read_body(body, 1 << 20, Pace::default()).await.unwrap();
                let answer = Answer { status: parts.status, headers: parts.headers, body };
                let origin = "https://site.example".parse().unwrap();
                Err(SendError::Status { origin, answer: Box::new(answer) })
            }
        };
        download(open, incoming, &self.progress, limits(), now()).await
    }

    /// The range that the latest request asked for.
    fn range(&self) -> Option<&str> {
        self.asked.last().unwrap().get("range").map(|value| value.to_str().unwrap())
    }
}

fn now() -> Timestamp {
    "2026-10-21T07:28:00Z".parse().unwrap()
}

fn limits() -> FetchLimits {
    FetchLimits { largest: 1 << 20, pace: Pace::default() }
}

/// An answer whose body comes in these pieces; the last one may be an error.
fn reply(status: u16, fields: &[(&str, &str)], pieces: Vec<Option<&[u8]>>) -> Reply {
    let frames: Vec<_> = pieces
        .into_iter()
        .map(|piece| match piece {
            Some(bytes) => Ok(Frame::data(Bytes::copy_from_slice(bytes))),
            None => Err(std::io::ErrorKind::ConnectionReset.into()),
        })
        .collect();
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(StreamBody::new(stream::iter(frames)).boxed_unsync()).unwrap()
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_ended() {
    let all = bytes(100_000);
    let mut pull = Pull::new();
    let mut incoming = pull.incoming(Some(&all)).await;
    let length = ("content-length", "100000");
    let first = reply(200, &[("etag", TAG), length], vec![Some(&all[..40_000]), None]);
    let lost = pull.attempt(&mut incoming, first).await.unwrap_err();
    assert!(matches!(lost, FetchError::Lost { received: 40_000, .. }) && lost.is_retryable());
    assert_eq!(pull.range(), None);
    // The process ends, too.
    drop(incoming);
    let mut incoming = pull.incoming(Some(&all)).await;
    let part = [("etag", TAG), ("content-range", "bytes 40000-99999/100000")];
    let rest = reply(206, &part, vec![Some(&all[40_000..])]);
    pull.attempt(&mut incoming, rest).await.unwrap();
    assert_eq!(pull.range(), Some("bytes=40000-"));
    assert_eq!(pull.asked[1]["if-range"], TAG);
    assert_eq!(pull.asked[1]["accept-encoding"], "identity");
    assert_eq!(*pull.progress.borrow(), 100_000);
    // Nothing is missing: nobody is asked again.
    let no_one = |_| async { panic!("asked again") };
    download::<_, UnsyncBoxBody<Bytes, std::io::Error>>(
        no_one,
        &mut incoming,
        &pull.progress,
        limits(),
        now(),
    )
    .await
    .unwrap();
    let received = incoming.finish().await.unwrap();
    assert_eq!(fs::read(received.path).unwrap(), all);
}

#[tokio::test]
async fn other_bytes_than_before_begin_anew() {
    let (old, new) = (bytes(50_000), vec![7; 60_000]);
    let mut pull = Pull::new();
    let mut incoming = pull.incoming(None).await;
    let first = reply(200, &[("etag", TAG)], vec![Some(&old[..20_000]), None]);
    pull.attempt(&mut incoming, first).await.unwrap_err();
    let second = reply(200, &[("etag", "\"new\"")], vec![Some(&new)]);
    pull.attempt(&mut incoming, second).await.unwrap();
    assert_eq!(pull.range(), Some("bytes=20000-"));
    assert_eq!(incoming.validator(), Some("\"new\""));
    assert_eq!(incoming.finish().await.unwrap().digests, digests(&new));
}

#[tokio::test]
async fn without_a_strong_tag_a_download_begins_anew() {
    let all = bytes(1000);
    for tag in [None, Some("W/\"weak\""), Some("no tag")] {
        let mut pull = Pull::new();
        let mut incoming = pull.incoming(Some(&all)).await;
        let fields: Vec<_> = tag.iter().map(|tag| ("etag", *tag)).collect();
        let first = reply(200, &fields, vec![Some(&all[..400]), None]);
        pull.attempt(&mut incoming, first).await.unwrap_err();
        assert_eq!(incoming.offset(), 400);
        pull.attempt(&mut incoming, reply(200, &fields, vec![Some(&all)])).await.unwrap();
        assert_eq!(pull.range(), None);
        incoming.finish().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_refused() {
    let all = bytes(1000);
    let half = &all[500..];
    let fits = ("content-range", "bytes 500-999/1000");
    let other_digest = format!("sha-256=:{}:", STANDARD.encode([7; 32]));
    for (what, status, fields, pieces) in [
        ("no range", 206, vec![("etag", TAG)], vec![Some(half)]),
        ("another start", 206, vec![("content-range", "bytes 499-999/1000")], vec![Some(half)]),
        ("another end", 206, vec![("content-range", "bytes 500-998/1000")], vec![Some(half)]),
        ("another size", 206, vec![("content-range", "bytes 500-1000/1001")], vec![Some(half)]),
        (
            "the largest range",
            206,
            vec![("content-range", "bytes 500-18446744073709551615/*")],
            vec![Some(half)],
        ),
        ("another tag", 206, vec![fits, ("etag", "\"other\"")], vec![Some(half)]),
        ("a weak tag", 206, vec![fits, ("etag", "W/\"the-bytes\"")], vec![Some(half)]),
        ("an encoding", 206, vec![fits, ("content-encoding", "gzip")], vec![Some(half)]),
        ("another digest", 206, vec![fits, ("repr-digest", &other_digest)], vec![Some(half)]),
        ("more bytes", 206, vec![fits], vec![Some(half), Some(b"x")]),
        ("another length", 200, vec![("content-length", "999")], vec![Some(&all[1..])]),
        ("a status", 202, vec![], vec![]),
        ("no such range", 416, vec![("content-range", "bytes */400")], vec![]),
    ] {
        let mut pull = Pull::new();
        let mut incoming = pull.incoming(Some(&all)).await;
        incoming.begin(Some(TAG)).await.unwrap();
        incoming.append(&all[..500]).await.unwrap();
        let refused =
            pull.attempt(&mut incoming, reply(status, &fields, pieces)).await.unwrap_err();
        assert!(matches!(refused, FetchError::Inconsistent { .. }), "{what}: {refused}");
        assert!(!refused.is_retryable());
        assert_eq!((incoming.offset(), incoming.validator()), (0, None), "{what}");
    }
}

#[tokio::test]
async fn a_part_that_nobody_asked_for_is_refused() {
    let mut pull = Pull::new();
    let mut incoming = pull.incoming(None).await;
    let part = reply(206, &[("content-range", "bytes 0-1/2")], vec![Some(b"ab")]);
    let refused = pull.attempt(&mut incoming, part).await.unwrap_err();
    assert!(matches!(refused, FetchError::Inconsistent { .. }));
}

#[tokio::test]
async fn no_more_bytes_are_taken_than_announced_or_allowed() {
    let large = bytes((1 << 20) + 1);
    let mut pull = Pull::new();
    let mut incoming = pull.incoming(None).await;
    let refused = pull.attempt(&mut incoming, reply(200, &[], vec![Some(&large)])).await;
    assert!(matches!(refused, Err(FetchError::Inconsistent { .. })));
    let mut incoming_of_ten = Pull::new().incoming(Some(&large[..10])).await;
    let refused =
        pull.attempt(&mut incoming_of_ten, reply(200, &[], vec![Some(&large[..11])])).await;
    assert!(matches!(refused, Err(FetchError::Inconsistent { .. })));
}

#[tokio::test]
async fn an_answer_that_ends_early_is_not_whole() {
    let all = bytes(1000);
    let mut pull = Pull::new();
    let mut incoming = pull.incoming(Some(&all)).await;
    let short = pull.attempt(&mut incoming, reply(200, &[], vec![Some(&all[..999])])).await;
    let short = short.unwrap_err();
    assert!(matches!(short, FetchError::Short { received: 999, size: 1000 }), "{short}");
    assert!(short.is_retryable());
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for (status, fields, text, retry_after) in [
        (503, vec![("retry-after", "7")], None, Some(7)),
        (429, vec![("retry-after", "120")], None, Some(120)),
        (503, vec![("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT")], None, Some(30)),
        (500, vec![("retry-after", "soon")], None, None),
        (401, vec![], Some("no entry  [31m"), None),
        (403, vec![], Some("no entry  [31m"), None),
        (404, vec![], Some("no entry  [31m"), None),
        (410, vec![], Some("no entry  [31m"), None),
        (416, vec![], Some("no entry  [31m"), None),
    ] {
        let mut pull = Pull::new();
        let mut incoming = pull.incoming(None).await;
        let refused =
            pull.attempt(&mut incoming, reply(status, &fields, vec![Some(b"no entry\n\x1b[31m")]));
        match refused.await.unwrap_err() {
            FetchError::Busy { status: found, retry_after: after } => {
                assert_eq!((found.as_u16(), text), (status, None));
                assert_eq!(after, retry_after.map(Duration::from_secs));
            }
            FetchError::Refused { status: found, text: said, .. } => {
                assert_eq!((found.as_u16(), text), (status, Some(said.as_str())));
            }
            other => panic!("{status}: {other}"),
        }
    }
}

#[test]
fn digests_are_read_as_rfc_9530_writes_them() {
    let digest = STANDARD.encode([7; 32]);
    for (value, found) in [
        (format!("sha-256=:{digest}:"), true),
        (format!("sha-512=:AAAA:, sha-256=:{digest}:"), true),
        (format!("sha-256={digest}"), false),
        ("sha-256=:AAAA:".to_owned(), false),
        ("sha-256=:!:".to_owned(), false),
        (String::new(), false),
    ] {
        let mut fields = HeaderMap::new();
        fields.insert("repr-digest", value.parse().unwrap());
        assert_eq!(repr_digest(&fields), found.then(|| hex::encode([7; 32])), "{value}");
    }
}

/// Answers one request on a connection, and breaks it after `cut` bytes of the body.
async fn serve_one(mut server: DuplexStream, all: Bytes, cut: usize) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(server.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap().to_lowercase();
    let start = request.split_once("range: bytes=").and_then(|(_, range)| range.split_once('-'));
    let start: usize = start.map_or(0, |(start, _)| start.parse().unwrap());
    let rest = &all[start..];
    let status = if start == 0 { "200 OK" } else { "206 Partial Content" };
    let head = format!(
        "HTTP/1.1 {status}\r\netag: {TAG}\r\ncontent-length: {}\r\n\
         content-range: bytes {start}-{}/{}\r\n\r\n",
        rest.len(),
        all.len() - 1,
        all.len(),
    );
    server.write_all(head.as_bytes()).await.unwrap();
    server.write_all(&rest[..cut.min(rest.len())]).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_is_resumed_over_http() {
    let all = Bytes::from(bytes(300_000));
    let pull = Pull::new();
    let mut incoming = pull.incoming(Some(&all)).await;
    for (cut, offset) in [(70_000, 70_000), (50_000, 120_000), (usize::MAX, 300_000)] {
        let (client, server) = tokio::io::duplex(16 * 1024);
        let serving = tokio::spawn(serve_one(server, all.clone(), cut));
        let open = |fields: HeaderMap| async move {
            let io = TokioIo::new(client);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let mut request = http::Request::get("/data").body(crate::net::empty()).unwrap();
            *request.headers_mut() = fields;
            Ok(sender.send_request(request).await.unwrap())
        };
        let ended = download(open, &mut incoming, &pull.progress, limits(), now()).await;
        serving.await.unwrap();
        assert_eq!(ended.is_ok(), offset == 300_000);
        assert!(ended.is_ok() || matches!(ended, Err(FetchError::Lost { .. })), "{ended:?}");
        assert_eq!(incoming.offset(), offset);
    }
    assert_eq!(incoming.finish().await.unwrap().digests, digests(&all));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Wherever the connection breaks, and how often: the bytes are right in the end.
    #[test]
    fn breaks_anywhere_lose_nothing(size in 1..200_000_usize, breaks in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let all = bytes(size);
            let mut pull = Pull::new();
            for at in breaks {
                let mut incoming = pull.incoming(Some(&all)).await;
                let start = usize::try_from(incoming.offset()).unwrap();
                let end = start + at.index(size - start + 1);
                let part = format!("bytes {start}-{}/{size}", size - 1);
                let fields = [("etag", TAG), ("content-range", &part)];
                let status = if start == 0 { 200 } else { 206 };
                let cut = reply(status, &fields, vec![Some(&all[start..end]), None]);
                let ended = pull.attempt(&mut incoming, cut).await;
                assert_eq!(ended.is_ok(), start == size);
            }
            let mut incoming = pull.incoming(Some(&all)).await;
            let start = usize::try_from(incoming.offset()).unwrap();
            let part = format!("bytes {start}-{}/{size}", size - 1);
            let status = if start == 0 { 200 } else { 206 };
            let rest = reply(status, &[("content-range", &part), ("etag", TAG)], vec![Some(&all[start..])]);
            pull.attempt(&mut incoming, rest).await.unwrap();
            assert_eq!(incoming.finish().await.unwrap().digests, digests(&all));
        });
    }
}
