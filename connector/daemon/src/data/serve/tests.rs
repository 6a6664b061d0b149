use std::fs;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{Request, Version};
use http_body::Body as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::net::read_body;
use crate::objects::{GROUP_SIZE, Objects, Placement};

/// Three groups, the last one short.
const SIZE: usize = 600_000;

fn bytes(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"serve").finalize_xof().fill(&mut bytes);
    bytes
}

/// A published file and what a request for it gets.
struct Site {
    _directory: tempfile::TempDir,
    path: PathBuf,
    reader: Reader,
    content: Content,
    meters: Arc<Meters>,
    finished: (mpsc::UnboundedSender<Finished>, mpsc::UnboundedReceiver<Finished>),
    pace: Pace,
}

impl Site {
    async fn new(bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::open(directory.path(), 4).unwrap();
        let path = directory.path().join("file.bin");
        fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        let go_on = |_| ControlFlow::Continue(());
        let published = objects.publish(path.clone(), Placement::InPlace, go_on).await.unwrap();
        let reader = objects.reader(&published.digests, &published.location).await.unwrap();
        let content = Content {
            media_type: published.media_type,
            file_name: published.file_name,
            digests: published.digests,
            published: "2026-11-22T05:00:00.5Z".parse().unwrap(),
        };
        let pace = Pace {
            minimum_bytes_per_second: NonZeroU64::new(1024).unwrap(),
            grace: Duration::from_secs(10),
        };
        let finished = mpsc::unbounded_channel();
        let meters = Arc::default();
        Self { _directory: directory, path, reader, content, meters, finished, pace }
    }

    /// What [`respond`] does once the permit is looked at.
    fn answer(
        &self,
        method: &Method,
        headers: &HeaderMap,
        leash: Leash,
        renewal: Renewal,
        bind: impl FnOnce(Body, Ended) -> Body,
    ) -> Response<Body> {
        let report = self.finished.0.clone();
        let metered = self.meters.begin(transfer());
        answer(method, headers, Description::new(&self.content).unwrap(), |range| {
            let Some(range) = range else { return empty() };
            let finished = Box::new(move |finished| report.send(finished).unwrap());
            let source = Source { reader: self.reader.clone(), range, metered, finished };
            let (stream, ended) = Stream::new(source, leash, renewal, self.pace);
            bind(stream.boxed_unsync(), ended)
        })
    }

    fn get(&self, headers: &HeaderMap) -> Response<Body> {
        self.answer(&Method::GET, headers, endless(), never(), watched)
    }

    async fn outcome(&mut self) -> Finished {
        self.finished.1.recv().await.unwrap()
    }
}

fn transfer() -> protocol::id::Pid {
    "urn:uuid:00000000-0000-4000-8000-000000000001".parse().unwrap()
}

fn endless() -> Leash {
    Leash { until: None, ending: std::future::pending().boxed() }
}

fn never() -> Renewal {
    Box::new(|| panic!("nothing to decide again"))
}

/// Polls the watch beside the body, as a connection does, without a connection to end.
fn watched(body: Body, ended: Ended) -> Body {
    tokio::spawn(ended);
    body
}

fn reason() -> EndReason {
    EndReason {
        external: "ended".to_owned(),
        internal: "the partner was suspended".to_owned(),
        terminates: false,
        by_policy: false,
    }
}

fn fields(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let pair = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
    pairs.iter().map(pair).collect()
}

async fn read(response: Response<Body>) -> Bytes {
    read_body(response.into_body(), SIZE, Pace::default()).await.unwrap()
}

#[tokio::test]
async fn ranges_are_those_of_rfc_9110() {
    let all = bytes(SIZE);
    let site = Site::new(&all).await;
    let (whole, none) = (Some(0..SIZE), None);
    for (range, status, expected) in [
        ("bytes=0-0", 206, Some(0..1)),
        ("bytes=0-499", 206, Some(0..500)),
        ("bytes=500-", 206, Some(500..SIZE)),
        ("bytes=262143-262144", 206, Some(262_143..262_145)),
        ("bytes=262144-524287", 206, Some(262_144..524_288)),
        ("bytes=599999-", 206, Some(599_999..SIZE)),
        ("bytes=599999-9999999999", 206, Some(599_999..SIZE)),
        ("bytes=0-18446744073709551615", 206, whole.clone()),
        ("bytes=-1", 206, Some(599_999..SIZE)),
        ("bytes=-300000", 206, Some(300_000..SIZE)),
        ("bytes=-9999999", 206, whole.clone()),
        ("bytes=600000-", 416, none.clone()),
        ("bytes=600000-600001", 416, none.clone()),
        ("bytes=-0", 416, none.clone()),
        // Ignored, as RFC 9110 14.2 allows or asks: several ranges, unknown units, what is no range.
        ("bytes=0-0,5-6", 200, whole.clone()),
        ("bytes=5-4", 200, whole.clone()),
        ("bytes=", 200, whole.clone()),
        ("bytes=a-b", 200, whole.clone()),
        ("bytes=0-99999999999999999999", 200, whole.clone()),
        ("items=0-5", 200, whole.clone()),
        ("0-5", 200, whole.clone()),
    ] {
        let response = site.get(&fields(&[(RANGE, range)]));
        assert_eq!(response.status(), status, "{range}");
        let part = response.headers().get(CONTENT_RANGE).map(|value| value.to_str().unwrap());
        let range_of = |range: &std::ops::Range<usize>| {
            format!("bytes {}-{}/{SIZE}", range.start, range.end - 1)
        };
        match status {
            206 => assert_eq!(part, expected.as_ref().map(range_of).as_deref(), "{range}"),
            416 => assert_eq!(part, Some("bytes */600000"), "{range}"),
            _ => assert_eq!(part, None, "{range}"),
        }
        let expected = expected.map_or(&[][..], |range| &all[range]);
        if status != 416 {
            let length = response.headers()[CONTENT_LENGTH].to_str().unwrap();
            assert_eq!(length, expected.len().to_string(), "{range}");
        }
        assert!(read(response).await == expected, "{range}");
    }
    let twice = fields(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=2-3")]);
    assert_eq!(site.get(&twice).status(), 200);
}

#[tokio::test]
async fn an_empty_file_has_no_range() {
    let site = Site::new(b"").await;
    assert_eq!(site.get(&HeaderMap::new()).status(), 200);
    assert!(read(site.get(&HeaderMap::new())).await.is_empty());
    for range in ["bytes=0-", "bytes=-5"] {
        assert_eq!(site.get(&fields(&[(RANGE, range)])).status(), 416);
    }
}

#[tokio::test]
async fn preconditions_are_judged_in_the_order_of_rfc_9110() {
    let site = Site::new(&bytes(SIZE)).await;
    let tag = format!("\"{}\"", site.content.digests.blake3);
    let (tag, weak, other) = (tag.as_str(), format!("W/{tag}"), "\"other\"");
    let weak = weak.as_str();
    let exact = "Sun, 22 Nov 2026 05:00:00 GMT";
    let (before, after) = ("Sat, 21 Nov 2026 05:00:00 GMT", "Mon, 23 Nov 2026 05:00:00 GMT");
    let range = (RANGE, "bytes=0-9");
    for (sent, status) in [
        (vec![(IF_MATCH, tag)], 200),
        (vec![(IF_MATCH, "*")], 200),
        (vec![(IF_MATCH, other)], 412),
        (vec![(IF_MATCH, weak)], 412),
        (vec![(IF_MATCH, "nonsense")], 412),
        (vec![(IF_MATCH, other), (IF_NONE_MATCH, tag)], 412),
        (vec![(IF_MATCH, tag), (IF_UNMODIFIED_SINCE, before)], 200),
        (vec![(IF_UNMODIFIED_SINCE, before)], 412),
        (vec![(IF_UNMODIFIED_SINCE, after)], 200),
        (vec![(IF_NONE_MATCH, tag)], 304),
        (vec![(IF_NONE_MATCH, weak)], 304),
        (vec![(IF_NONE_MATCH, "*")], 304),
        (vec![(IF_NONE_MATCH, other)], 200),
        (vec![(IF_NONE_MATCH, other), (IF_MODIFIED_SINCE, after)], 200),
        (vec![(IF_MODIFIED_SINCE, after)], 304),
        (vec![(IF_MODIFIED_SINCE, before)], 200),
        (vec![range.clone(), (IF_NONE_MATCH, tag)], 304),
        (vec![range.clone(), (IF_RANGE, tag)], 206),
        (vec![range.clone(), (IF_RANGE, exact)], 206),
        // A weak tag, another tag or another date never continues what was there.
        (vec![range.clone(), (IF_RANGE, weak)], 200),
        (vec![range.clone(), (IF_RANGE, other)], 200),
        (vec![range.clone(), (IF_RANGE, before)], 200),
        (vec![range.clone(), (IF_RANGE, after)], 200),
        (vec![range.clone(), (IF_RANGE, "nonsense")], 200),
        (vec![(RANGE, "bytes=600000-"), (IF_RANGE, other)], 200),
    ] {
        let response = site.get(&fields(&sent));
        assert_eq!(response.status(), status, "{sent:?}");
        let tagged = response.headers().contains_key(ETAG);
        assert_eq!(tagged, matches!(status, 200 | 206 | 304), "{sent:?}");
    }
}

#[tokio::test]
async fn the_fields_describe_the_whole_whatever_the_part() {
    let all = bytes(SIZE);
    let site = Site::new(&all).await;
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &all);
    let repr_digest = format!("sha-256=:{}:", STANDARD.encode(sha256));
    for range in ["bytes=0-", "bytes=100-200", "none"] {
        let response = site.get(&fields(&[(RANGE, range)]));
        let fields = response.headers();
        assert_eq!(fields["repr-digest"], repr_digest);
        assert_eq!(fields[ETAG], format!("\"{}\"", blake3::hash(&all)));
        assert_eq!(fields[LAST_MODIFIED], "Sun, 22 Nov 2026 05:00:00 GMT");
        assert_eq!(fields[ACCEPT_RANGES], "bytes");
        assert_eq!(fields[CACHE_CONTROL], "private, no-store");
        assert_eq!(fields[CONTENT_TYPE], "application/octet-stream");
        assert_eq!(fields[CONTENT_DISPOSITION], "attachment; filename=\"file.bin\"");
    }
}

#[tokio::test]
async fn head_says_the_same_without_bytes_and_other_methods_nothing() {
    let site = Site::new(&bytes(SIZE)).await;
    let get = site.get(&HeaderMap::new());
    let asked = fields(&[(RANGE, "bytes=0-9")]);
    let head = site.answer(&Method::HEAD, &asked, endless(), never(), watched);
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers(), get.headers());
    assert!(head.body().is_end_stream());
    let post = site.answer(&Method::POST, &HeaderMap::new(), endless(), never(), watched);
    assert_eq!(post.status(), 405);
    assert_eq!(post.headers()[ALLOW], "GET, HEAD");
}

#[test]
fn any_file_name_is_offered_safely() {
    for (name, expected) in [
        ("cfp.json", "attachment; filename=\"cfp.json\""),
        ("a b.json", "attachment; filename=\"a b.json\""),
        (
            "部品B.json",
            "attachment; filename=\"__B.json\"; filename*=UTF-8''%E9%83%A8%E5%93%81B.json",
        ),
        ("a\"b;c", "attachment; filename=\"a_b;c\"; filename*=UTF-8''a%22b%3Bc"),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        (
            "a\r\nSet-Cookie: x",
            "attachment; filename=\"a__Set-Cookie: x\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x",
        ),
        ("../../etc/passwd", "attachment; filename=\"passwd\""),
        ("..\\evil.exe", "attachment; filename=\"evil.exe\""),
    ] {
        assert_eq!(attachment(name), expected);
        assert!(HeaderValue::from_str(&attachment(name)).is_ok());
    }
}

#[tokio::test]
async fn the_meter_counts_what_is_given_away() {
    let mut site = Site::new(&bytes(SIZE)).await;
    read(site.get(&fields(&[(RANGE, "bytes=1-300000")]))).await;
    drop(site.get(&HeaderMap::new()));
    let served = crate::data::meter::Served { bytes: 300_000, requests: 2, finished: true };
    assert_eq!(site.meters.drain(), [(transfer(), served)]);
    assert_eq!(site.outcome().await, Finished { bytes: 300_000, outcome: Outcome::Complete });
    assert_eq!(site.outcome().await, Finished { bytes: 0, outcome: Outcome::Left });
}

#[tokio::test]
async fn the_end_of_the_permit_is_the_end_of_the_bytes() {
    let all = bytes(SIZE);
    let mut site = Site::new(&all).await;
    let (end, ending) = oneshot::channel();
    let leash = Leash { until: None, ending: ending.map(Result::unwrap).boxed() };
    let (cut, is_cut) = oneshot::channel();
    let bind = |body, ended: Ended| {
        tokio::spawn(async move {
            ended.await;
            cut.send(()).unwrap();
        });
        body
    };
    let response = site.answer(&Method::GET, &HeaderMap::new(), leash, never(), bind);
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(all.starts_with(&first));
    end.send(reason()).unwrap();
    is_cut.await.unwrap();
    assert!(body.frame().await.unwrap().is_err());
    drop(body);
    let outcome = Outcome::Cut(reason());
    assert_eq!(site.outcome().await, Finished { bytes: first.len() as u64, outcome });
}

#[tokio::test(start_paused = true)]
async fn no_byte_flows_after_its_instant_until_it_was_decided_again() {
    let all = bytes(SIZE);
    let mut site = Site::new(&all).await;
    let in_ten_seconds = || Some(Instant::now() + Duration::from_secs(10));
    let leash = Leash { until: in_ten_seconds(), ending: std::future::pending().boxed() };
    let (asks, mut asked) = mpsc::unbounded_channel();
    let renewal: Renewal = Box::new(move || {
        let (answer, answered) = oneshot::channel();
        asks.send(answer).unwrap();
        answered.map(Result::unwrap).boxed()
    });
    let response = site.answer(&Method::GET, &HeaderMap::new(), leash, renewal, watched);
    let mut body = response.into_body();
    let mut taken = body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(body.frame().now_or_never().is_none());
    let ask: oneshot::Sender<Result<Leash, EndReason>> = asked.recv().await.unwrap();
    let again = Leash { until: in_ten_seconds(), ending: std::future::pending().boxed() };
    assert!(body.frame().now_or_never().is_none());
    assert!(ask.send(Ok(again)).is_ok());
    taken += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    tokio::time::advance(Duration::from_secs(10)).await;
    let ask = asked.recv().await.unwrap();
    assert!(ask.send(Err(reason())).is_ok());
    assert!(body.frame().await.unwrap().is_err());
    drop(body);
    let outcome = Outcome::Cut(reason());
    assert_eq!(site.outcome().await, Finished { bytes: taken as u64, outcome });
}

#[tokio::test]
async fn changed_bytes_end_the_stream_and_are_not_sent() {
    let all = bytes(SIZE);
    let mut site = Site::new(&all).await;
    let file = fs::File::options().write(true).open(&site.path).unwrap();
    file.write_all_at(&[all[300_000] ^ 1], 300_000).unwrap();
    let mut body = site.get(&HeaderMap::new()).into_body();
    let mut received = Vec::new();
    while let Ok(frame) = body.frame().await.unwrap() {
        received.extend_from_slice(&frame.into_data().unwrap());
    }
    assert!(received == all[..GROUP_SIZE]);
    drop(body);
    let Finished { bytes, outcome } = site.outcome().await;
    assert_eq!(bytes, GROUP_SIZE as u64);
    let Outcome::Unreadable(ReadError::Damaged { group, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(group, Some(1));
}

/// Serves one request over a real HTTP connection in memory, to a client that takes nothing once it has the fields.
/// Gives the answer, and the token that ends the connection.
async fn stalled(
    site: &Site,
    version: Version,
    leash: Leash,
) -> (Response<hyper::body::Incoming>, CancellationToken) {
    let (client, server) = tokio::io::duplex(16 * 1024);
    let kill = CancellationToken::new();
    let bind = {
        let kill = kill.clone();
        move |body, ended: Ended| {
            tokio::spawn(async move {
                ended.await;
                kill.cancel();
            });
            body
        }
    };
    let response = site.answer(&Method::GET, &HeaderMap::new(), leash, never(), bind);
    let response = std::sync::Mutex::new(Some(response));
    let killed = kill.clone();
    tokio::spawn(async move {
        let service = service_fn(|_| {
            let response = response.lock().unwrap().take().unwrap();
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        let io = TokioIo::new(server);
        let one = hyper::server::conn::http1::Builder::new();
        let two = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::select! {
            _ = async {
                if version == Version::HTTP_2 {
                    two.serve_connection(io, service).await
                } else {
                    one.serve_connection(io, service).await
                }
            } => {}
            () = killed.cancelled() => {}
        }
    });
    let request = Request::get("http://site/data").body(empty()).unwrap();
    let io = TokioIo::new(client);
    let response = if version == Version::HTTP_2 {
        let executor = TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    (response.unwrap(), kill)
}

#[tokio::test]
async fn a_permit_ends_while_the_partner_takes_nothing() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut site = Site::new(&bytes(16 * 1024 * 1024)).await;
        let (end, ending) = oneshot::channel();
        let leash = Leash { until: None, ending: ending.map(Result::unwrap).boxed() };
        let (mut response, kill) = stalled(&site, version, leash).await;
        end.send(reason()).unwrap();
        kill.cancelled().await;
        let Finished { bytes, outcome } = site.outcome().await;
        assert_eq!(outcome, Outcome::Cut(reason()), "{version:?}");
        // Less than a megabyte was on its way, and no more than that is ever received.
        assert!(bytes < 1024 * 1024, "{version:?}: {bytes}");
        let mut received = 0;
        while let Some(Ok(frame)) = response.body_mut().frame().await {
            received += frame.into_data().map_or(0, |data| data.len() as u64);
        }
        assert!(received <= bytes, "{version:?}: {received} of {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partner_that_takes_nothing_is_cut() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut site = Site::new(&bytes(16 * 1024 * 1024)).await;
        let began = Instant::now();
        let (_response, kill) = stalled(&site, version, endless()).await;
        kill.cancelled().await;
        assert_eq!(site.outcome().await.outcome, Outcome::TooSlow, "{version:?}");
        // The last piece at the lowest rate, and the grace.
        assert!(began.elapsed() >= site.pace.grace, "{version:?}");
        assert!(began.elapsed() <= Duration::from_secs(64 + 10 + 1), "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_partner_at_the_lowest_rate_is_not_cut() {
    let all = bytes(SIZE);
    let mut site = Site::new(&all).await;
    let mut body = site.get(&HeaderMap::new()).into_body();
    let mut received = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        tokio::time::sleep(Duration::from_secs(data.len() as u64 / 1024)).await;
        received.extend_from_slice(&data);
    }
    assert!(received == all);
    drop(body);
    assert_eq!(site.outcome().await.outcome, Outcome::Complete);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_range_gives_exactly_its_bytes(size in 1..3 * GROUP_SIZE, one: prop::sample::Index, other: prop::sample::Index) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let all = bytes(size);
            let site = Site::new(&all).await;
            let (one, other) = (one.index(size), other.index(size));
            let (first, last) = (one.min(other), one.max(other));
            let response = site.get(&fields(&[(RANGE, &format!("bytes={first}-{last}"))]));
            assert_eq!(response.status(), 206);
            let body = read_body(response.into_body(), size, Pace::default()).await.unwrap();
            assert!(body == all[first..=last]);
        });
    }
}
