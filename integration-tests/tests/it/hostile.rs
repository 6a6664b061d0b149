//! Partners in bad hands, against real daemons: what they send, how they answer, and that nobody else pays for it.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration_tests::authority::Credential;
use integration_tests::connector::{BASE, CONTEXT, Connector, encode, text, urn};
use integration_tests::files;
use integration_tests::line::{self, Line};
use integration_tests::peer::Peer;
use integration_tests::ports;
use integration_tests::process;
use integration_tests::scene::Scene;
use integration_tests::site::{Plan, Site, befriend};
use integration_tests::villain::{Answer, Asked, Then, Villain};
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::stage::{OPEN, Pair, note, word};

/// What a node may need more in memory, at its peak, than it did before it was attacked.
const MEMORY: u64 = 64 * 1024 * 1024;
const MIB: usize = 1024 * 1024;

/// A supplier with the dataset `one`, and two customers that do not run, for the test to play.
pub(crate) struct Stage {
    pub(crate) supplier: Site,
    pub(crate) hostile: Connector,
    pub(crate) hostile_site: Site,
    pub(crate) honest: Connector,
    memory: u64,
}

impl Stage {
    pub(crate) fn new(scene: &Scene, plan: Plan) -> Result<Self> {
        let mut supplier = plan.make()?;
        supplier.start()?;
        let Pair { mut supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        customer.stop()?;
        let third = scene.plan("c").make()?;
        supplier.register(&third, &["partners"])?;
        let hostile = Connector::play(&customer, &supplier)?;
        let honest = Connector::play(&third, &supplier)?;
        let memory = supplier.daemon()?.peak_bytes()?;
        Ok(Self { supplier, hostile, hostile_site: customer, honest, memory })
    }

    /// One partner's whole trade, from the catalog to the bytes.
    pub(crate) fn trade(&self) -> Result<()> {
        let transfer = self.honest.transfer(&self.honest.negotiate("one", None)?)?;
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let reply = self.honest.peer.get(&transfer.address.path, &headers)?;
        ensure!((reply.status, &reply.body[..]) == (200, &b"one"[..]), "{reply:?}");
        Ok(())
    }

    pub(crate) fn count(&self, kind: &str) -> Result<usize> {
        Ok(self.supplier.records("a", kind)?.len())
    }

    /// It is none the worse for it: no panic, no memory kept, and it trades.
    pub(crate) fn unharmed(&mut self) -> Result<()> {
        self.trade()?;
        unharmed(&mut self.supplier, self.memory)
    }
}

fn unharmed(site: &mut Site, before: u64) -> Result<()> {
    let peak = site.daemon()?.peak_bytes()?;
    ensure!(peak < before + MEMORY, "{peak} bytes in memory at the peak, {before} before");
    ensure!(!site.log()?.contains("panicked"), "it panicked");
    Ok(())
}

/// Every path at which a partner may post something, of a negotiation and a transfer.
fn posted(negotiation: &str, transfer: &str) -> Vec<String> {
    let (negotiation, transfer) = (encode(negotiation), encode(transfer));
    let of_negotiation =
        ["request", "offers", "events", "agreement", "agreement/verification", "termination"]
            .map(|verb| format!("{BASE}/negotiations/{negotiation}/{verb}"));
    let of_transfer = ["start", "suspension", "completion", "termination"]
        .map(|verb| format!("{BASE}/transfers/{transfer}/{verb}"));
    of_negotiation.into_iter().chain(of_transfer).collect()
}

/// Bodies that are no message of any type.
fn bad_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let with = |member: &str| {
        format!(r#"{{"@context":["{CONTEXT}"],"@type":"ContractRequestMessage",{member}}}"#)
            .into_bytes()
    };
    let pid = urn();
    vec![
        ("nothing", Vec::new()),
        ("no object", b"[]".to_vec()),
        ("a number", b"1e999999".to_vec()),
        ("cut off", br#"{"@context":["https://w3id.org/dspa"#.to_vec()),
        ("not UTF-8", b"{\"x\":\"\xff\xfe\"}".to_vec()),
        ("half a surrogate", with(r#""x":"\ud800""#)),
        ("deep lists", with(&format!(r#""x":{}{}"#, "[".repeat(50_000), "]".repeat(50_000)))),
        (
            "deep objects",
            with(&format!(r#""x":{}1{}"#, r#"{"x":"#.repeat(50_000), "}".repeat(50_000))),
        ),
        ("a member twice", with(&format!(r#""consumerPid":"{pid}","consumerPid":"{pid}""#))),
        (
            "a member twice, deep",
            with(r#""offer":{"permission":[{"action":"use","action":"sell"}]}"#),
        ),
        (
            "many members",
            with(&(0..60_000).map(|n| format!(r#""x{n}":0"#)).collect::<Vec<_>>().join(",")),
        ),
        ("a type that is a number", br#"{"@context":[],"@type":7}"#.to_vec()),
        ("wrong types", with(r#""consumerPid":7,"callbackAddress":{},"offer":"x""#)),
        ("null everywhere", with(r#""consumerPid":null,"callbackAddress":null,"offer":null"#)),
        ("lists for texts", with(r#""consumerPid":["x"],"callbackAddress":[[]],"offer":[{}]"#)),
        ("an id with a line end", with(r#""consumerPid":"x\r\nset-cookie: y""#)),
        ("an id that is too long", with(&format!(r#""consumerPid":"{}""#, "x".repeat(100_000)))),
        ("behind the end", [with(r#""x":1"#), b"{}".to_vec()].concat()),
        ("zero bytes", vec![0; 4096]),
    ]
}

#[test]
fn wrong_bodies_are_refused_everywhere_with_a_record_and_no_effect() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene.plan("b").setting(
            "partner_listener",
            "max_refusals_per_partner_per_second_count",
            "10000",
        );
        let mut stage = Stage::new(scene, plan)?;
        let connector = &stage.hostile;
        let agreement = connector.negotiate("one", None)?;
        let transfer = connector.transfer(&agreement)?;
        let first = [
            "/catalog/request",
            "/negotiations/request",
            "/negotiations/offers",
            "/transfers/request",
        ];
        let mut paths: Vec<_> = first.iter().map(|path| format!("{BASE}{path}")).collect();
        paths.extend(posted(&transfer.provider_pid, &transfer.provider_pid));
        paths.push("/sekisho/v1/checkpoint".to_owned());
        for (name, body) in bad_bodies() {
            for path in &paths {
                let reply = connector.peer.post_bytes(path, body.clone())?;
                let expected = matches!(reply.status, 400 | 404 | 413);
                ensure!(expected, "{name} to {path}: {reply:?}");
                ensure!(!reply.headers.contains_key("set-cookie"), "{name} to {path}: {reply:?}");
            }
            let reply =
                connector.peer.post_bytes(&format!("{BASE}/negotiations/request"), body.clone())?;
            let reference = text(&reply.json()?, "/providerPid")?;
            let shown = stage.supplier.ask(&["audit", "show", "--reference", &reference])?;
            ensure!(shown["records"][0]["kind"] == "request-refused", "{name}: {shown}");
        }
        // What stood before stands as it did.
        let path = format!("{BASE}/transfers/{}", encode(&transfer.provider_pid));
        assert_eq!(connector.peer.get(&path, &[])?.json()?["state"], "STARTED");
        assert_eq!(stage.count("negotiation-requested")?, 1);
        stage.unharmed()
    })
}

#[test]
fn a_slow_or_broken_sender_is_cut_off_and_leaves_nothing() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene
            .plan("b")
            .setting("partner_listener", "header_timeout_ms", "700")
            .setting("partner_listener", "stall_timeout_ms", "700")
            .setting("partner_listener", "max_header_bytes", "16384");
        let mut stage = Stage::new(scene, plan)?;
        let credential = Credential::of_client(&stage.hostile_site)?;
        let to = stage.supplier.address();
        let request =
            stage.hostile.contract_request(&stage.hostile.offer("one")?, None).to_string();
        let head = |length: usize| {
            format!(
                "POST {BASE}/negotiations/request HTTP/1.1\r\nhost: b\r\n\
                 content-type: application/json\r\ncontent-length: {length}\r\n"
            )
        };
        let half = request.get(..request.len() / 2).context("no half")?;

        // Each of these leaves the connection open: only the node can end it.
        let open: [(&str, Vec<u8>); 6] = [
            ("no request", b"\r\n".to_vec()),
            ("half a head", head(10).into_bytes()),
            ("half a body", format!("{}\r\n{half}", head(request.len())).into_bytes()),
            (
                "half a chunk",
                format!(
                    "{}\r\nffff\r\n{half}",
                    head(0).replace("content-length: 0", "transfer-encoding: chunked")
                )
                .into_bytes(),
            ),
            (
                "no HTTP",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 nothing that is HTTP\r\n\r\n"
                    .to_vec(),
            ),
            ("a huge head", format!("{}x: {}\r\n\r\n", head(0), "y".repeat(MIB)).into_bytes()),
        ];
        for (name, bytes) in open {
            let mut line = Line::open(&credential, to)?;
            // The node may close before it took everything.
            let _ = line.write(&bytes);
            let said = line.read_to_close().with_context(|| name.to_owned())?;
            let said = String::from_utf8_lossy(&said);
            ensure!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{name}: {said}");
        }
        // Byte by byte, each in time, the whole far too slow.
        let mut line = Line::open(&credential, to)?;
        line.write(format!("{}\r\n", head(request.len())).as_bytes())?;
        let mut taken = 0;
        for byte in request.as_bytes() {
            std::thread::sleep(Duration::from_millis(40));
            if line.write(std::slice::from_ref(byte)).is_err() {
                break;
            }
            taken += 1;
        }
        let _ = line.read_to_close()?;
        ensure!(taken < request.len(), "a request at 25 bytes a second was taken whole");
        // Gone in the middle.
        let mut line = Line::open(&credential, to)?;
        line.write(format!("{}\r\n{half}", head(request.len())).as_bytes())?;
        drop(line);
        stage.trade()?;
        assert_eq!(stage.count("negotiation-requested")?, 0);
        stage.unharmed()
    })
}

#[test]
fn processes_of_another_partner_are_404_at_every_path_and_that_is_recorded() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = Stage::new(
            scene,
            scene.plan("b").setting(
                "partner_listener",
                "max_refusals_per_partner_per_second_count",
                "10000",
            ),
        )?;
        let request = stage.honest.contract_request(&stage.honest.offer("one")?, None);
        let reply = stage.honest.post("/negotiations/request", &request)?;
        let negotiation = text(&reply.json()?, "/providerPid")?;
        stage.honest.expect("ContractAgreementMessage")?;
        let transfer = stage.honest.transfer(&stage.honest.negotiate("one", None)?)?;
        let state = |connector: &Connector, kind: &str, pid: &str| {
            connector.peer.get(&format!("{BASE}/{kind}/{}", encode(pid)), &[])
        };
        let before = state(&stage.honest, "transfers", &transfer.provider_pid)?.body;

        for (kind, pid) in [("negotiations", &negotiation), ("transfers", &transfer.provider_pid)] {
            let missing = urn();
            let (foreign, missing) =
                (state(&stage.hostile, kind, pid)?, state(&stage.hostile, kind, &missing)?);
            assert_eq!((foreign.status, missing.status), (404, 404));
            assert_eq!(foreign.body.len(), missing.body.len());
        }
        let messages = [
            ("agreement/verification", "ContractAgreementVerificationMessage", &negotiation),
            ("events", "ContractNegotiationEventMessage", &negotiation),
            ("termination", "ContractNegotiationTerminationMessage", &negotiation),
            ("start", "TransferStartMessage", &transfer.provider_pid),
            ("suspension", "TransferSuspensionMessage", &transfer.provider_pid),
            ("completion", "TransferCompletionMessage", &transfer.provider_pid),
            ("termination", "TransferTerminationMessage", &transfer.provider_pid),
        ];
        for (verb, kind, pid) in messages {
            let family = if kind.starts_with("Transfer") { "transfers" } else { "negotiations" };
            let answers = [pid.clone(), urn()].map(|pid| {
                let message = json!({
                    "@context": [CONTEXT],
                    "@type": kind,
                    "@id": urn(),
                    "eventType": "ACCEPTED",
                    "consumerPid": transfer.consumer_pid,
                    "providerPid": pid,
                });
                stage.hostile.post(&format!("/{family}/{}/{verb}", encode(&pid)), &message)
            });
            let [foreign, missing] = answers;
            let (foreign, missing) = (foreign?, missing?);
            assert_eq!((foreign.status, missing.status), (404, 404), "{kind}: {foreign:?}");
            assert_eq!(foreign.body.len(), missing.body.len(), "{kind}");
        }
        // On record with whoever asked, not with whose it is.
        let refused = stage.supplier.records("a", "request-refused")?;
        let named =
            refused.iter().filter(|record| record.to_string().contains(&transfer.provider_pid));
        ensure!(named.count() > 0, "no record names the process: {refused:?}");
        assert_eq!(stage.supplier.records("c", "request-refused")?.len(), 0);
        assert_eq!(state(&stage.honest, "transfers", &transfer.provider_pid)?.body, before);
        stage.unharmed()
    })
}

/// How many requests of a partner the node has counted.
fn requests(site: &Site, partner: &str) -> Result<Vec<String>> {
    let (_, metrics) = process::get(site.status(), "/metrics")?;
    let of_partner = format!("partner=\"{partner}\"");
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("sekisho_requests") && line.contains(&of_partner));
    Ok(lines.map(str::to_owned).collect())
}

#[test]
fn a_replay_has_no_second_effect() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = Stage::new(scene, scene.plan("b"))?;
        let connector = &stage.hostile;
        // A whole exchange again, message by message, after its end.
        let request = connector.contract_request(&connector.offer("one")?, None);
        let path = format!("{BASE}/negotiations/request");
        let first = connector.peer.post(&path, &request)?;
        let agreement = connector.expect("ContractAgreementMessage")?.body;
        let provider = text(&agreement, "/providerPid")?;
        let verification = json!({
            "@context": [CONTEXT],
            "@type": "ContractAgreementVerificationMessage",
            "@id": urn(),
            "providerPid": provider,
            "consumerPid": text(&agreement, "/consumerPid")?,
        });
        let verify = format!("{BASE}/negotiations/{}/agreement/verification", encode(&provider));
        assert_eq!(connector.peer.post(&verify, &verification)?.status, 200);
        connector.expect("ContractNegotiationEventMessage")?;
        let transfer_request = connector.transfer_request(&text(&agreement, "/agreement/@id")?);
        let ask = format!("{BASE}/transfers/request");
        let asked = connector.peer.post(&ask, &transfer_request)?;
        connector.expect("TransferStartMessage")?;
        let kinds = ["negotiation-requested", "negotiation-agreed", "transfer-granted"];
        let counts = |stage: &Stage| kinds.map(|kind| stage.count(kind).unwrap_or(usize::MAX));
        let before = counts(&stage);
        for _ in 0..3 {
            assert_eq!(connector.peer.post(&path, &request)?.body, first.body);
            assert_eq!(connector.peer.post(&verify, &verification)?.status, 200);
            assert_eq!(connector.peer.post(&ask, &transfer_request)?.body, asked.body);
        }
        assert_eq!(counts(&stage), before);
        // The same messages by another partner are no repeats, and reach nothing.
        assert_eq!(stage.honest.peer.post(&verify, &verification)?.status, 404);

        // A whole connection again, as it went over the wire.
        let credential = Credential::of_client(&stage.hostile_site)?;
        let mut line = Line::open(&credential, stage.supplier.address())?;
        line.write(
            b"GET /.well-known/dspace-version HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n",
        )?;
        let said = line.read_to_close()?;
        ensure!(said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
        let counted = requests(&stage.supplier, "a")?;
        ensure!(counted.iter().any(|line| line.contains("version")), "{counted:?}");
        let said = line::replay(line.recorded(), stage.supplier.address())?;
        ensure!(!said.windows(8).any(|window| window == b"HTTP/1.1"), "an answer in the clear");
        assert_eq!(requests(&stage.supplier, "a")?, counted);
        stage.unharmed()
    })
}

#[test]
fn a_flood_by_one_partner_is_bounded_and_the_others_go_on_trading() -> Result<()> {
    const BEGUN: usize = 20;
    const REFUSALS: usize = 5;
    Scene::play(|scene| {
        let plan = scene
            .plan("b")
            .setting("partner_listener", "max_connections_per_partner_count", "16")
            .setting("partner_listener", "max_refusals_per_partner_per_second_count", "5")
            .setting("processes", "max_open_negotiations_per_partner_count", "20");
        let mut stage = Stage::new(scene, plan)?;

        // Connections: so many are kept, the others are closed; meanwhile the honest one trades.
        let credential = Credential::of_client(&stage.hostile_site)?;
        let mut held = Vec::new();
        let mut closed = 0;
        for _ in 0..64 {
            let Ok(mut line) = Line::open(&credential, stage.supplier.address()) else {
                closed += 1;
                continue;
            };
            let ask = b"GET /.well-known/dspace-version HTTP/1.1\r\nhost: b\r\n\r\n";
            match line.write(ask).ok().and_then(|()| line.read_some().ok()) {
                Some(said) if said.starts_with(b"HTTP/1.1 200") => held.push(line),
                _ => closed += 1,
            }
        }
        ensure!(held.len() <= 16 && closed >= 48, "{} kept, {closed} closed", held.len());
        stage.trade()?;
        drop(held);

        // Processes and requests, while the honest one trades.
        wait::until("the connections are given back", PATIENCE, || {
            Ok(stage.hostile.peer.get("/.well-known/dspace-version", &[]).ok())
        })?;
        let offer = stage.hostile.offer("one")?;
        let began = Instant::now();
        let records = || -> Result<usize> {
            let words = ["audit", "show", "--log", "a", "--from", "0", "--limit", "1000"];
            let shown = stage.supplier.ask(&words)?;
            Ok(shown["records"].as_array().map_or(0, Vec::len))
        };
        let before = records()?;
        let (mut begun, mut refused) = (0, 0);
        for round in 0..300 {
            let request = stage.hostile.contract_request(&offer, None);
            match stage.hostile.post("/negotiations/request", &request)?.status {
                201 => begun += 1,
                429 => refused += 1,
                status => anyhow::bail!("status {status}"),
            }
            let nowhere = json!({
                "@context": [CONTEXT],
                "@type": "TransferCompletionMessage",
                "@id": urn(),
                "consumerPid": urn(),
                "providerPid": urn(),
            });
            let path = format!("/transfers/{}/completion", encode(&urn()));
            let status = stage.hostile.post(&path, &nowhere)?.status;
            ensure!(matches!(status, 404 | 429), "status {status}");
            if round % 100 == 50 {
                stage.trade()?;
            }
        }
        assert_eq!((begun, refused), (BEGUN, 300 - BEGUN));
        // Each of the open ones has a few records, and each second a few refusals, their sums, and anchors.
        let seconds = usize::try_from(began.elapsed().as_secs())? + 2;
        let most = BEGUN * 6 + seconds * (2 * (REFUSALS + 1) + 2);
        let written = records()? - before;
        ensure!(written <= most, "{written} records of 600 requests in {seconds} s");
        stage.unharmed()
    })
}

/// A customer that runs, and a supplier whose certificate serves a villain.
struct Lair {
    customer: Site,
    supplier: Site,
    memory: u64,
}

impl Lair {
    fn customer(scene: &Scene) -> Result<Site> {
        let mut customer = scene
            .plan("a")
            .setting("outbound", "request_timeout_ms", "2000")
            .setting("outbound", "stall_timeout_ms", "1000")
            .setting("outbound", "max_response_bytes", "262144")
            .setting("data", "stall_timeout_seconds", "2")
            .make()?;
        customer.start()?;
        Ok(customer)
    }

    fn new(scene: &Scene, supplier: Plan) -> Result<Self> {
        let mut supplier = supplier.make()?;
        supplier.start()?;
        let Pair { supplier, mut customer } = Pair::of(supplier, Self::customer(scene)?)?;
        let memory = customer.daemon()?.peak_bytes()?;
        Ok(Self { customer, supplier, memory })
    }
}

/// An answer of 200 with these further fields, without an end of the head.
fn begun(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}").into_bytes()
}

/// 64 MiB of zeros as gzip (RFC 1952, RFC 1951): one block of fixed codes that says "the byte before, 258 times" again and again.
pub(crate) fn gzip_bomb() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut pending, mut count) = (0_u32, 0_u32);
    let mut put = |bits: u32, width: u32, reversed: bool| {
        let bits = if reversed { bits.reverse_bits() >> (32 - width) } else { bits };
        pending |= bits << count;
        count += width;
        while count >= 8 {
            bytes.push(u8::try_from(pending & 0xff).unwrap_or_default());
            pending >>= 8;
            count -= 8;
        }
    };
    put(0b011, 3, false); // the last block, of fixed codes
    put(0x30, 8, true); // the literal 0
    for _ in 0..(64 * MIB / 258) {
        put(0b1100_0101, 8, true); // length 258
        put(0, 5, true); // distance 1
    }
    put(0, 7, true); // its end
    put(0, 7, false);
    bytes
}

#[test]
fn answers_of_a_hostile_provider_are_refused_within_bounds() -> Result<()> {
    Scene::play(|scene| {
        let Lair { mut customer, mut supplier, memory } = Lair::new(scene, scene.plan("b"))?;
        supplier.stop()?;
        let many = (0..200).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
        let json = [("content-type", "application/json")];
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
        let twice = format!(r#"{{"@context":["{CONTEXT}"],"@type":"Catalog","@type":"Catalog"}}"#);
        let other = json!({
            "@context": [CONTEXT],
            "@id": urn(),
            "@type": "Catalog",
            "participantId": "did:web:somebody.example",
        });
        let cases: Vec<(&str, Answer, &str)> = vec![
            (
                "a redirect",
                Answer::honest(302, &[("location", "https://169.254.169.254/latest")], b""),
                "redirect",
            ),
            (
                "a redirect to the same place",
                Answer::honest(307, &[("location", "/dsp/2025-1/catalog/request")], b""),
                "redirect",
            ),
            (
                "a huge field",
                Answer::closing(begun(&format!("x: {}\r\n\r\n", "y".repeat(MIB)))),
                "not HTTP/1.1 within our limits",
            ),
            (
                "many fields",
                Answer::closing(begun(&format!("{many}\r\n"))),
                "not HTTP/1.1 within our limits",
            ),
            (
                "endless fields",
                Answer::going_on(begun(""), Then::Endless(b"x: yyyyyyyy\r\n".repeat(1024))),
                "not HTTP/1.1 within our limits",
            ),
            (
                "no HTTP",
                Answer::closing(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec()),
                "not HTTP/1.1 within our limits",
            ),
            (
                "two lengths",
                Answer::closing(begun("content-length: 2\r\ncontent-length: 3\r\n\r\n{}")),
                "not HTTP/1.1 within our limits",
            ),
            (
                "an endless body",
                Answer::going_on(
                    begun("transfer-encoding: chunked\r\n\r\n"),
                    Then::Endless(
                        [&b"10000\r\n"[..], "x".repeat(65_536).as_bytes(), b"\r\n"].concat(),
                    ),
                ),
                "cannot be read",
            ),
            (
                "a body until the end that has none",
                Answer::going_on(begun("\r\n"), Then::Endless(vec![b' '; 65_536])),
                "cannot be read",
            ),
            (
                "a length that is a lie",
                Answer::closing(begun("content-length: 9999\r\n\r\n{}")),
                "cannot be read",
            ),
            (
                "a length that is too much",
                Answer::going_on(begun("content-length: 99999999999\r\n\r\n{}"), Then::Silence),
                "cannot be read",
            ),
            (
                "a body that drips",
                Answer::going_on(begun("content-length: 99999\r\n\r\n"), Then::Drip(b" ".to_vec())),
                "slow|too long",
            ),
            (
                "a head that drips",
                Answer::going_on(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), Then::Drip(b"y".to_vec())),
                "too long",
            ),
            ("silence", Answer::going_on(Vec::new(), Then::Silence), "too long"),
            ("a packed bomb", Answer::honest(200, &packed, &gzip_bomb()), "cannot be read|longer"),
            ("a deep document", Answer::honest(200, &json, deep.as_bytes()), "cannot be read"),
            ("a member twice", Answer::honest(200, &json, twice.as_bytes()), "cannot be read"),
            ("nothing", Answer::honest(200, &json, b""), "cannot be read"),
            (
                "another's catalog",
                Answer::honest(200, &json, other.to_string().as_bytes()),
                "another participant",
            ),
        ];
        let credential = Credential::of_server(&supplier)?;
        let villain =
            Villain::serve(supplier.address(), &credential, |_| Answer::closing(Vec::new()))?;
        for (name, answer, words) in cases {
            let (requests, written) = (villain.requests(), villain.written());
            villain.answer(move |_: &Asked| answer.clone());
            let refused = customer.run(&["catalog", "b"])?;
            let said = format!("{}{}", refused.stdout, refused.stderr);
            ensure!(refused.code != Some(0), "{name}: {said}");
            ensure!(words.split('|').any(|word| said.contains(word)), "{name}: {said}");
            ensure!(villain.requests() == requests + 1, "{name}: asked once, and again");
            let taken = villain.written() - written;
            ensure!(taken < 32 * MIB as u64, "{name}: {taken} bytes were taken");
        }
        drop(villain);
        unharmed(&mut customer, memory)?;
        supplier.start()?;
        customer.ask(&["catalog", "b"])?;
        Ok(())
    })
}

#[test]
fn data_of_a_hostile_provider_are_never_delivered() -> Result<()> {
    const SIZE: usize = 300_000;
    Scene::play(|scene| {
        // Everything goes through the villain, which answers as the real node does until the data are asked for.
        let mut supplier = scene.plan("b").dialled_at(ports::free()?).make()?;
        supplier.start()?;
        let mut customer = Lair::customer(scene)?;
        let address = supplier.origin().trim_start_matches("https://").parse()?;
        let credential = Credential::of_server(&supplier)?;
        let node = Peer::of(&customer, &supplier)?;
        let honest = move |asked: &Asked| {
            Answer::of(&node, asked)
                .unwrap_or_else(|error| Answer::honest(503, &[], error.to_string().as_bytes()))
        };
        let honest = Arc::new(honest);
        let villain = Villain::serve(address, &credential, {
            let honest = Arc::clone(&honest);
            move |asked: &Asked| honest(asked)
        })?;
        befriend(&supplier, &customer)?;
        supplier.activate(&[("open", OPEN)])?;
        let source = scene.file("source.bin");
        files::write(&source, SIZE as u64, "source")?;
        supplier.publish(&source, "one", "open")?;
        let memory = customer.daemon()?.peak_bytes()?;
        let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes();
        let wrong = vec![b'x'; SIZE];
        let bytes = [head(&format!("content-length: {SIZE}\r\n")), wrong.clone()].concat();
        let digest = "repr-digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\r\n";
        let endless = Then::Endless(vec![b'x'; 65_536]);
        let data: Vec<(&str, Answer)> = vec![
            ("other bytes", Answer::closing(bytes)),
            ("another digest", Answer::closing([head(digest), wrong.clone()].concat())),
            ("more bytes", Answer::honest(200, &[], &wrong.repeat(2))),
            ("endless bytes", Answer::going_on(head(""), endless.clone())),
            (
                "a length beyond all",
                Answer::going_on(head("content-length: 99999999999999\r\n"), endless),
            ),
            ("packed bytes", Answer::honest(200, &[("content-encoding", "gzip")], &gzip_bomb())),
            (
                "a part that was not asked for",
                Answer::honest(206, &[("content-range", "bytes 0-9/300000")], b"0123456789"),
            ),
            ("a redirect", Answer::honest(302, &[("location", "https://169.254.169.254/")], b"")),
            ("words for a terminal", Answer::honest(400, &[], b"\x1b[2Jsurprise\x07")),
        ];
        for (number, (name, answer)) in data.into_iter().enumerate() {
            let honest = Arc::clone(&honest);
            villain.answer(move |asked: &Asked| {
                let is_data =
                    asked.path.starts_with("/data/") && !asked.path.ends_with("/provenance");
                if is_data { answer.clone() } else { honest(asked) }
            });
            not_delivered(scene, &customer, &format!("data-{number}"), name)?;
        }
        let bundles: Vec<(&str, Answer)> = vec![
            ("no bundle", Answer::honest(200, &[], b"nothing of the kind")),
            ("an endless bundle", Answer::going_on(head(""), Then::Endless(vec![b'x'; 65_536]))),
            ("a deep bundle", Answer::honest(200, &[], "[".repeat(100_000).as_bytes())),
        ];
        for (number, (name, answer)) in bundles.into_iter().enumerate() {
            let honest = Arc::clone(&honest);
            villain.answer(move |asked: &Asked| {
                if asked.path.ends_with("/provenance") { answer.clone() } else { honest(asked) }
            });
            not_delivered(scene, &customer, &format!("bundle-{number}"), name)?;
        }
        unharmed(&mut customer, memory)?;
        let kept = size_of(&customer.path("data/objects"))?;
        ensure!(kept < 4 * SIZE as u64, "{kept} bytes are left of what did not verify");

        villain.answer(move |asked: &Asked| honest(asked));
        let target = scene.file("good");
        customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        assert_eq!(files::sha256(&target)?, files::sha256(&source)?);
        Ok(())
    })
}

fn not_delivered(scene: &Scene, customer: &Site, file: &str, name: &str) -> Result<()> {
    let target = scene.file(file);
    let refused = customer.run(&["pull", "b", "one", "-o", word(&target)?])?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(!matches!(refused.code, Some(0 | 70) | None), "{name}: {:?} {said}", refused.code);
    ensure!(!target.exists(), "{name}: a file was delivered");
    ensure!(!said.contains('\u{1b}') && !said.contains('\u{7}'), "{name}: {said:?}");
    Ok(())
}

/// The bytes of all files in a directory.
fn size_of(directory: &std::path::Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

#[test]
fn a_name_that_resolves_into_our_own_network_is_not_dialled() -> Result<()> {
    Scene::play(|scene| {
        let address = ports::free()?;
        let mut customer = scene.site("a")?;
        let supplier = scene.plan("b").make()?;
        let card = scene.file("b.card");
        let issued = supplier.run(&["partner", "card", "-o", word(&card)?])?.expect(0)?;
        let fingerprint = issued.text("/fingerprint")?;
        let add = ["partner", "add", word(&card)?, "--name", "b", "--region", "JP"];
        customer.ask(&[&add[..], &["--fingerprint", &fingerprint, "--yes"]].concat())?;
        // The partner moved to a name whose resolver answers 127.0.0.1; no file of ours allows that network.
        let file = customer.path("partners/b.toml");
        let before = std::fs::read_to_string(&file)?;
        let moved =
            before.replace(&supplier.origin(), &format!("https://localhost:{}", address.port()));
        ensure!(moved != before, "{before}");
        customer.stop()?;
        std::fs::write(&file, moved)?;
        customer.start()?;
        let trap = TcpListener::bind(address)?;
        trap.set_nonblocking(true)?;
        let refused = customer.run(&["catalog", "b"])?.expect(64)?;
        ensure!(refused.stdout.contains("this host's loopback"), "{}", refused.stdout);
        ensure!(trap.accept().is_err(), "it was dialled");
        Ok(())
    })
}

#[test]
fn an_address_in_a_message_leads_nowhere_else() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = Stage::new(scene, scene.plan("b"))?;
        let trap = TcpListener::bind(ports::free()?)?;
        trap.set_nonblocking(true)?;
        let port = trap.local_addr()?.port();
        let own = stage.hostile.callback();
        let addresses: Vec<Value> = vec![
            json!(format!("https://127.0.0.1:{port}/dsp/2025-1")),
            json!(format!("https://localhost:{port}/dsp/2025-1")),
            json!(format!("https://[::ffff:127.0.0.1]:{port}/")),
            json!(own.replace("https://", "http://")),
            json!(own.replace("https://", "https://user:password@")),
            json!(own.replace("https://", &format!("https://127.0.0.1:{port}#@"))),
            json!("file:///etc/passwd"),
            json!("https://169.254.169.254/latest/meta-data"),
            json!("//127.0.0.1/"),
            json!(""),
            json!("x".repeat(100_000)),
        ];
        let offer = stage.hostile.offer("one")?;
        for address in addresses {
            let mut request = stage.hostile.contract_request(&offer, None);
            request["callbackAddress"] = address.clone();
            let path = format!("{BASE}/negotiations/request");
            let reply = stage.hostile.peer.post(&path, &request)?;
            assert_eq!(reply.status, 400, "{address}: {reply:?}");
        }
        assert_eq!(stage.count("negotiation-requested")?, 0);
        ensure!(trap.accept().is_err(), "it was dialled");
        stage.unharmed()
    })
}
