//! What breaks the rules of TLS, HTTP/1.1 and HTTP/2 themselves, sent by a partner with a valid certificate, and by nobody.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Method;
use integration_tests::authority::Credential;
use integration_tests::connector::{BASE, encode};
use integration_tests::http2::{
    END_HEADERS, END_STREAM, FRAME_BYTES, Frames, Kind, block, frame, request,
};
use integration_tests::line::{self, Line};
use integration_tests::peer::{Peer, Version};
use integration_tests::scene::Scene;
use integration_tests::wait::{self, PATIENCE};

use crate::hostile::Stage;

const VERSION: &str = "/.well-known/dspace-version";

/// A name, the settings that are sent first, and the frames.
type Flood<'a> = (&'a str, Vec<(u16, u32)>, Vec<u8>);

/// A stage whose supplier is not patient.
fn impatient(scene: &Scene) -> Result<Stage> {
    let plan = scene
        .plan("b")
        .setting("partner_listener", "handshake_timeout_ms", "700")
        .setting("partner_listener", "header_timeout_ms", "700")
        .setting("partner_listener", "stall_timeout_ms", "700")
        .setting("partner_listener", "idle_timeout_seconds", "1");
    Stage::new(scene, plan)
}

#[test]
fn a_slow_or_broken_handshake_is_cut_off() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = impatient(scene)?;
        let to = stage.supplier.address();
        let credential = Credential::of_client(&stage.hostile_site)?;
        // What a good handshake sends, cut off at several places; a record that claims to be long; and no TLS at all.
        let good = Line::open(&credential, to)?.recorded().to_vec();
        let part =
            |count: usize| good.get(..count).context("a short handshake").map(<[u8]>::to_vec);
        let broken = [
            Vec::new(),
            part(3)?,
            part(100)?,
            [&[0x16, 3, 1, 0x40, 0][..], &vec![1; 16_384]].concat(),
            [&[0x16, 3, 1, 0xff, 0xff][..], &vec![1; 65_535]].concat(),
            b"GET / HTTP/1.1\r\nhost: b\r\n\r\n".to_vec(),
            vec![0; 4096],
        ];
        for bytes in &broken {
            // It closes by itself.
            let said = line::replay(bytes, to)?;
            ensure!(said.len() < 4096, "{} bytes for nothing", said.len());
        }
        // Many at once, and byte by byte.
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(TcpStream::connect(to)?);
        }
        for byte in good.iter().take(40) {
            for socket in &mut held {
                let _ = socket.write_all(std::slice::from_ref(byte));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Nobody without a certificate gets anything, whatever is asked.
        let nobody = Peer::new(None, to)?;
        assert!(nobody.get(VERSION, &[]).is_err());
        wait::until("the honest one gets in", PATIENCE, || {
            Ok(stage.honest.peer.get(VERSION, &[]).ok())
        })?;
        drop(held);
        stage.unharmed()
    })
}

#[test]
fn floods_of_http2_frames_are_bounded() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = impatient(scene)?;
        let to = stage.supplier.address();
        let credential = Credential::of_client(&stage.hostile_site)?;
        let transfer = stage.hostile.transfer(&stage.hostile.negotiate("one", None)?)?;
        let get = block(&request("GET", VERSION));
        let post = block(&request("POST", &format!("{BASE}/negotiations/request")));
        let ask = |stream: u32| frame(Kind::Headers, END_STREAM | END_HEADERS, stream, &get);
        let begin = |stream: u32| frame(Kind::Headers, END_HEADERS, stream, &post);
        let odd = |number: u32| 2 * number + 1;
        // One large field in the dynamic table, then a reference to it again and again (RFC 7541, sections 6.2.1 and 6.1).
        let bomb = {
            let mut bytes = block(&request("GET", VERSION));
            bytes.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
            bytes.extend(vec![b'y'; 4000]);
            bytes.resize(FRAME_BYTES, 0xbe);
            bytes
        };
        let data = {
            let path = transfer.address.path.clone();
            let mut fields = block(&request("GET", &path));
            fields.extend(block(&[("authorization", &transfer.address.authorization)]));
            fields
        };
        let floods: Vec<Flood> = vec![
            ("nothing", vec![], vec![]),
            (
                "rapid reset",
                vec![],
                (0..2000)
                    .flat_map(|n| {
                        [ask(odd(n)), frame(Kind::ResetStream, 0, odd(n), &[0, 0, 0, 8])].concat()
                    })
                    .collect(),
            ),
            ("settings", vec![], frame(Kind::Settings, 0, 0, &[0, 3, 0, 0, 0, 1]).repeat(4000)),
            ("pings", vec![], frame(Kind::Ping, 0, 0, &[7; 8]).repeat(4000)),
            (
                "endless fields",
                vec![],
                [
                    frame(Kind::Headers, 0, 1, &get),
                    frame(Kind::Continuation, 0, 1, &vec![0x82; FRAME_BYTES]).repeat(600),
                ]
                .concat(),
            ),
            (
                "empty continuations",
                vec![],
                [
                    frame(Kind::Headers, 0, 1, &get),
                    frame(Kind::Continuation, 0, 1, &[]).repeat(4000),
                ]
                .concat(),
            ),
            ("half of the fields", vec![], frame(Kind::Headers, 0, 1, &get)),
            ("a bomb of fields", vec![], frame(Kind::Headers, END_STREAM | END_HEADERS, 1, &bomb)),
            ("many bodies that never come", vec![], (0..500).flat_map(|n| begin(odd(n))).collect()),
            ("empty data", vec![], [begin(1), frame(Kind::Data, 0, 1, &[]).repeat(4000)].concat()),
            ("nothing is taken", vec![(4, 0)], (0..60).flat_map(|n| ask(odd(n))).collect()),
            (
                "data that nobody takes",
                vec![(4, 0)],
                frame(Kind::Headers, END_STREAM | END_HEADERS, 1, &data),
            ),
            (
                "a window without end",
                vec![],
                frame(Kind::WindowUpdate, 0, 0, &[0x7f, 255, 255, 255]).repeat(2),
            ),
            ("a window of nothing", vec![], frame(Kind::WindowUpdate, 0, 0, &[0; 4])),
            ("a setting out of range", vec![(4, u32::MAX)], vec![]),
            ("an even stream", vec![], ask(2)),
            ("data of no stream", vec![], frame(Kind::Data, 0, 0, b"x")),
            ("a promise", vec![], frame(Kind::PushPromise, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
            ("a frame that is too long", vec![], [&[255; 3][..], &[0, 0, 0, 0, 0, 1]].concat()),
            ("no frames", vec![], b"GET / HTTP/1.1\r\nhost: b\r\n\r\n".to_vec()),
            (
                "upper case and bad fields",
                vec![],
                frame(
                    Kind::Headers,
                    END_STREAM | END_HEADERS,
                    1,
                    &block(&[("Host", "x"), ("a b", "c")]),
                ),
            ),
        ];
        for (name, settings, bytes) in floods {
            let mut frames = Frames::open(&credential, to, &settings)?;
            // The node may close before it took everything.
            let _ = frames.write(&bytes);
            let said = frames.read_to_close().with_context(|| name.to_owned())?;
            ensure!(said.len() < 1024 * 1024, "{name}: {} bytes", said.len());
            stage.trade().with_context(|| format!("after {name}"))?;
        }
        stage.unharmed()
    })
}

#[test]
fn requests_that_two_servers_would_read_differently_do_nothing() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = impatient(scene)?;
        let to = stage.supplier.address();
        let credential = Credential::of_client(&stage.hostile_site)?;
        let head = |fields: &str| {
            format!("POST {BASE}/negotiations/request HTTP/1.1\r\nhost: b\r\n{fields}\r\n")
        };
        let hidden = format!("GET {VERSION} HTTP/1.1\r\nhost: b\r\n\r\n");
        let get = |line: &str, fields: &str| format!("{line}\r\n{fields}connection: close\r\n\r\n");
        let refused: Vec<(&str, String)> = vec![
            ("two lengths", head("content-length: 4\r\ncontent-length: 5\r\n") + "{}{}{" + &hidden),
            ("a signed length", head("content-length: +2\r\n") + "{}" + &hidden),
            ("a length in words", head("content-length: two\r\n") + "{}" + &hidden),
            (
                "a coding that is none",
                head("transfer-encoding: xchunked\r\n") + "0\r\n\r\n" + &hidden,
            ),
            (
                "chunked, and not last",
                head("transfer-encoding: chunked, identity\r\n") + "0\r\n\r\n" + &hidden,
            ),
            ("a space before the colon", head("content-length : 2\r\n") + "{}" + &hidden),
            ("a folded field", head("x: y\r\n z: w\r\ncontent-length: 2\r\n") + "{}"),
            (
                "a chunk beyond all",
                head("transfer-encoding: chunked\r\n") + "ffffffffffffffffff\r\n" + &hidden,
            ),
            (
                "a chunk without an end",
                head("transfer-encoding: chunked\r\n") + "2;" + &"x".repeat(200_000),
            ),
            ("a null in a field", head("x: a\0b\r\ncontent-length: 2\r\n") + "{}"),
            ("a line end alone", head("x: a\rb: c\r\ncontent-length: 2\r\n") + "{}"),
            ("another version", get(&format!("GET {VERSION} HTTP/3.0"), "host: b\r\n")),
            (
                "a long target",
                get(&format!("GET /{} HTTP/1.1", "x".repeat(100_000)), "host: b\r\n"),
            ),
            ("a target with a space", get("GET /a b HTTP/1.1", "host: b\r\n")),
            ("many fields", get(&format!("GET {VERSION} HTTP/1.1"), &"x: y\r\n".repeat(5000))),
            ("a tunnel", get("CONNECT 127.0.0.1:22 HTTP/1.1", "host: 127.0.0.1:22\r\n")),
            ("everything", get("OPTIONS * HTTP/1.1", "host: b\r\n")),
            ("a trace", get(&format!("TRACE {VERSION} HTTP/1.1"), "host: b\r\n")),
        ];
        for (name, bytes) in refused {
            let mut line = Line::open(&credential, to)?;
            let _ = line.write(bytes.as_bytes());
            let said = line.read_to_close().with_context(|| name.to_owned())?;
            let said = String::from_utf8_lossy(&said);
            ensure!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{name}: {said}");
            ensure!(
                !said.contains("HTTP/1.1 2"),
                "{name}: the hidden request was answered: {said}"
            );
        }
        // Both lengths: chunks count, whatever the other says (RFC 9112, 6.3), and what follows is the same peer's next request.
        let mut line = Line::open(&credential, to)?;
        let both =
            head("content-length: 30\r\ntransfer-encoding: chunked\r\nconnection: close\r\n");
        line.write(format!("{both}0\r\n\r\n{hidden}").as_bytes())?;
        let said = String::from_utf8_lossy(&line.read_to_close()?).into_owned();
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");

        // Who is named in the target, the host or any other field makes no difference: the certificate says who asks.
        let offers = stage.hostile.peer.get(VERSION, &[])?.body;
        for fields in [
            &[("host", "evil.example")][..],
            &[("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1;host=localhost")],
            &[("x-forwarded-client-cert", "Subject=\"CN=c\""), ("x-client-verify", "SUCCESS")],
        ] {
            assert_eq!(stage.hostile.peer.get(VERSION, fields)?.body, offers);
        }
        let mut line = Line::open(&credential, to)?;
        line.write(
            get(&format!("GET https://evil.example{VERSION} HTTP/1.1"), "host: c\r\n").as_bytes(),
        )?;
        let said = String::from_utf8_lossy(&line.read_to_close()?).into_owned();
        ensure!(said.starts_with("HTTP/1.1 ") && !said.contains("evil.example"), "{said}");
        assert_eq!(stage.count("negotiation-requested")?, 0);
        stage.unharmed()
    })
}

#[test]
fn no_way_of_writing_a_path_leads_anywhere_else() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = Stage::new(scene, scene.plan("b"))?;
        let transfer = stage.honest.transfer(&stage.honest.negotiate("one", None)?)?;
        let pid = encode(&transfer.provider_pid);
        let token = [("authorization", transfer.address.authorization.as_str())];
        let paths = [
            "/".to_owned(),
            "//".to_owned(),
            "/dsp/2025-1/../../etc/passwd".to_owned(),
            "/%2e%2e/%2e%2e/etc/passwd".to_owned(),
            "/data/../sekisho.toml".to_owned(),
            "/data/..%2f..%2fsekisho.toml".to_owned(),
            "/data/%00".to_owned(),
            "/data/%ff%fe".to_owned(),
            "/data/%".to_owned(),
            "/data/".to_owned(),
            format!("/data/{}", "a".repeat(20_000)),
            format!("//data/{pid}"),
            format!("/data//{pid}"),
            format!("/DATA/{pid}"),
            format!("/data/{pid}/"),
            format!("/data/{pid}/.."),
            format!("/data/{pid}%00"),
            format!("/data/{pid}%2f"),
            format!("/data/{pid}%2fprovenance"),
            format!("/data/%2e/{pid}"),
            format!("/data/{pid};x=y"),
            format!("{BASE}/transfers/{pid}%2e"),
            format!("{BASE}/transfers/%20{pid}"),
            format!("{BASE}//transfers/{pid}"),
            format!("{BASE}/Transfers/{pid}"),
            format!("{BASE}/transfers/{pid}/../{pid}"),
            format!("{BASE}/catalog/datasets/..%2f..%2fone"),
            "/v1/status".to_owned(),
            "/metrics".to_owned(),
            "/health/ready".to_owned(),
            "/sekisho/v1/checkpoint/".to_owned(),
        ];
        for version in [Version::Http1, Version::Http2] {
            let honest = Peer::new(
                Some(Credential::of_client(&stage.hostile_site)?),
                stage.supplier.address(),
            )?
            .speaking(version);
            for path in &paths {
                let reply = honest.get(path, &token)?;
                ensure!(
                    (400..500).contains(&reply.status),
                    "{version:?} {path}: {} {:?}",
                    reply.status,
                    reply.body
                );
            }
        }
        // The owner itself gets its own by the plain path alone; a slash at the end makes no difference where DSP says so.
        for path in &paths {
            let reply = stage.honest.peer.get(path, &token)?;
            ensure!((400..500).contains(&reply.status), "{path}: {reply:?}");
        }
        let state = format!("{BASE}/transfers/{pid}/");
        assert_eq!(stage.honest.peer.get(&state, &[])?.status, 200);
        stage.unharmed()
    })
}

#[test]
fn a_packed_message_is_not_unpacked() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = Stage::new(scene, scene.plan("b"))?;
        let path = format!("{BASE}/negotiations/request");
        for coding in ["gzip", "deflate", "br", "gzip, gzip"] {
            let fields = [("content-type", "application/json"), ("content-encoding", coding)];
            let bomb = Bytes::from(crate::hostile::gzip_bomb());
            let reply = stage.hostile.peer.send(Method::POST, &path, &fields, bomb)?;
            ensure!(matches!(reply.status, 400 | 415), "{coding}: {reply:?}");
        }
        stage.unharmed()
    })
}
