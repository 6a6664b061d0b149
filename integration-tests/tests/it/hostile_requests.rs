//! Requests that are well formed one by one, and meant to use up memory, disk or patience.

use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Method;
use integration_tests::authority::Credential;
use integration_tests::connector::{BASE, CONTEXT, encode, text, urn};
use integration_tests::http2::{END_HEADERS, END_STREAM, Frames, Kind, block, frame, request};
use integration_tests::line::Line;
use integration_tests::management::Management;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::hostile::Stage;

/// How many records the supplier has of the hostile one.
fn records(site: &Site) -> Result<usize> {
    let shown = site.ask(&["audit", "show", "--log", "a", "--from", "0", "--limit", "1000"])?;
    Ok(shown["records"].as_array().map_or(0, Vec::len))
}

/// A message to a process that is not there: refused, each for a reason of its own.
fn stray() -> (String, Value) {
    let pid = urn();
    let message = json!({
        "@context": [CONTEXT],
        "@type": "TransferCompletionMessage",
        "@id": urn(),
        "consumerPid": urn(),
        "providerPid": pid,
    });
    (format!("{BASE}/transfers/{}/completion", encode(&pid)), message)
}

#[test]
fn messages_that_never_end_have_one_bound_for_the_whole_partner() -> Result<()> {
    const HALF: usize = 200 * 1024;
    Scene::play(|scene| {
        let plan = scene.plan("b").setting(
            "partner_listener",
            "max_unread_body_bytes_per_partner",
            "1048576",
        );
        let mut stage = Stage::new(scene, plan)?;
        let credential = Credential::of_client(&stage.hostile_site)?;
        let head = format!(
            "POST {BASE}/negotiations/request HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            2 * HALF
        );
        let bytes = [head.as_bytes(), &vec![b' '; HALF]].concat();
        let mut lines = Vec::new();
        for _ in 0..10 {
            let mut line = Line::open(&credential, stage.supplier.address())?;
            // Who has no room may be told so, and be cut off, while it still writes.
            let _ = line.write(&bytes);
            lines.push(line);
        }
        // Five have room, whichever come first.
        wait::until("who has no room is refused", PATIENCE, || {
            let refused = stage.supplier.records("a", "request-refused")?;
            Ok(refused.iter().any(|one| one.to_string().contains("1048576")).then_some(()))
        })?;
        // The bound is the hostile one's own.
        stage.trade()?;
        let mut told = 0;
        for line in &mut lines {
            // Who was cut off while it wrote may have lost the answer.
            let said = line.read_some().unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            if said.starts_with("HTTP/1.1 429") {
                told += 1;
                ensure!(said.contains("retry-after: "), "{said}");
                ensure!(said.contains("are not answered yet"), "{said}");
            } else {
                ensure!(said.is_empty() || said.contains("too slowly"), "{said}");
            }
        }
        ensure!((1..=5).contains(&told), "{told} were told");
        let offer = stage.hostile.offer("one")?;
        ensure!(offer.is_object(), "{offer}");
        stage.unharmed()
    })
}

#[test]
fn refusals_of_an_hour_are_bounded_on_the_disk() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene
            .plan("b")
            .setting("partner_listener", "max_refusals_per_partner_per_second_count", "1000")
            .setting("partner_listener", "max_refusals_per_partner_per_hour_count", "20");
        let mut stage = Stage::new(scene, plan)?;
        let before = records(&stage.supplier)?;
        for number in 0..200 {
            let (path, message) = stray();
            let reply = stage.hostile.peer.post(&path, &message)?;
            let expected = if number < 20 { 404 } else { 429 };
            assert_eq!(reply.status, expected, "{number}: {reply:?}");
        }
        // Each of the first, their sums, and one for all the others; and what a checkpoint writes.
        let written = records(&stage.supplier)? - before;
        ensure!(written <= 2 * 20 + 2 + 4, "{written} records of 200 refusals");
        let refused = stage.supplier.records("a", "request-refused")?;
        let says_so = |record: &&Value| {
            record.to_string().contains("max_refusals_per_partner_per_hour_count")
        };
        assert_eq!(refused.iter().filter(says_so).count(), 1, "{refused:?}");
        // What is not refused is not concerned, of this partner and of others.
        stage.hostile.transfer(&stage.hostile.negotiate("one", None)?)?;
        stage.unharmed()
    })
}

#[test]
fn accepted_messages_of_an_hour_are_bounded_on_the_disk() -> Result<()> {
    Scene::play(|scene| {
        const MOST: u64 = 1024 * 1024;
        let plan = scene.plan("b").setting(
            "partner_listener",
            "max_message_bytes_per_partner_per_hour",
            &MOST.to_string(),
        );
        let mut stage = Stage::new(scene, plan)?;
        let offer = stage.hostile.offer("one")?;
        let mut taken = 0;
        // Each is as it should be: a negotiation is begun and ended, again and again.
        let refused = loop {
            let request = stage.hostile.contract_request(&offer, None);
            let reply = stage.hostile.post("/negotiations/request", &request)?;
            if reply.status != 201 {
                break reply;
            }
            taken += 1;
            ensure!(taken <= MOST / 2048, "{taken} negotiations were taken");
            let pid = text(&reply.json()?, "/providerPid")?;
            let ended = json!({
                "@context": [CONTEXT],
                "@type": "ContractNegotiationTerminationMessage",
                "consumerPid": request["consumerPid"],
                "providerPid": pid,
                "code": "changed-my-mind",
            });
            let reply = stage.hostile.post(&format!("/negotiations/{pid}/termination"), &ended)?;
            if reply.status == 429 {
                break reply;
            }
        };
        assert_eq!(refused.status, 429, "{refused:?}");
        assert_eq!(refused.json()?["code"], "too-many");
        ensure!(taken > 100, "{taken} negotiations were taken");
        let told = stage.supplier.records("a", "request-refused")?;
        let why = "max_message_bytes_per_partner_per_hour";
        ensure!(told.iter().any(|record| record.to_string().contains(why)), "{told:?}");
        // Data that were agreed are another matter, and so are other partners.
        stage.unharmed()
    })
}

#[test]
fn a_flood_of_ranges_costs_a_record_a_second() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = Stage::new(scene, scene.plan("b"))?;
        let transfer = stage.hostile.transfer(&stage.hostile.negotiate("one", None)?)?;
        let token = transfer.address.authorization.as_str();
        let many = (0..1500).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
        let nested = format!("bytes={}", "0-,".repeat(3000));
        let (began, before) = (Instant::now(), records(&stage.supplier)?);
        for range in [
            format!("bytes={many}"),
            nested,
            "bytes=0-0".to_owned(),
            format!("bytes=0-{}", "9".repeat(9000)),
        ] {
            for _ in 0..50 {
                let fields = [("authorization", token), ("range", range.as_str())];
                let reply = stage.hostile.peer.send(
                    Method::GET,
                    &transfer.address.path,
                    &fields,
                    Bytes::new(),
                )?;
                ensure!(matches!(reply.status, 200 | 206 | 416), "{reply:?}");
                ensure!(reply.body.len() <= 3, "{reply:?}");
            }
        }
        let seconds = usize::try_from(began.elapsed().as_secs())? + 2;
        let written = records(&stage.supplier)? - before;
        ensure!(written <= 3 * seconds + 4, "{written} records of 200 requests in {seconds} s");
        stage.unharmed()
    })
}

#[test]
fn what_has_ended_stays_ended() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = Stage::new(scene, scene.plan("b"))?;
        let transfer = stage.hostile.transfer(&stage.hostile.negotiate("one", None)?)?;
        let message = |kind: &str| {
            json!({
                "@context": [CONTEXT],
                "@type": kind,
                "@id": urn(),
                "consumerPid": transfer.consumer_pid,
                "providerPid": transfer.provider_pid,
                "code": "over",
                "reason": ["over"],
            })
        };
        let path = format!("{BASE}/transfers/{}", encode(&transfer.provider_pid));
        let termination = message("TransferTerminationMessage");
        let end = format!("{path}/termination");
        assert_eq!(stage.hostile.peer.post(&end, &termination)?.status, 200);
        // The same again is answered as before; anything new is not taken.
        assert_eq!(stage.hostile.peer.post(&end, &termination)?.status, 200);
        for (verb, kind) in [
            ("start", "TransferStartMessage"),
            ("suspension", "TransferSuspensionMessage"),
            ("completion", "TransferCompletionMessage"),
            ("termination", "TransferTerminationMessage"),
        ] {
            for _ in 0..3 {
                let reply = stage.hostile.peer.post(&format!("{path}/{verb}"), &message(kind))?;
                assert_eq!(reply.status, 400, "{kind}: {reply:?}");
            }
            assert_eq!(
                stage.hostile.peer.get(&path, &[])?.json()?["state"],
                "TERMINATED",
                "{kind}"
            );
        }
        let token = [("authorization", transfer.address.authorization.as_str())];
        let reply = stage.hostile.peer.get(&transfer.address.path, &token)?;
        ensure!((400..500).contains(&reply.status) && reply.body.len() < 2048, "{reply:?}");
        assert_eq!(stage.count("transfer-terminated")?, 1);
        stage.unharmed()
    })
}

/// The administrator's own programs may be broken too: every route that takes a body refuses what is none.
#[tokio::test(flavor = "multi_thread")]
async fn every_management_route_refuses_what_is_no_body_of_its() -> Result<()> {
    let site = tokio::task::spawn_blocking(|| -> Result<_> {
        let scene = Scene::new()?;
        let site = scene.site("a")?;
        let document = site.ask(&["openapi"])?;
        Ok((scene, site, document))
    });
    let (scene, mut site, document) = site.await??;
    let management = Management::of(&site);
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("a list", b"[]".to_vec()),
        ("a number beyond range", b"{\"limit\":1e999}".to_vec()),
        ("a member twice", b"{\"reason\":\"a\",\"reason\":\"b\"}".to_vec()),
        ("a member twice, deep", b"{\"filter\":{\"and\":[],\"and\":[]}}".to_vec()),
        ("an unknown member", b"{\"nothing-of-this-name\":1}".to_vec()),
        ("cut off", b"{\"reason\":\"".to_vec()),
        ("not UTF-8", b"{\"reason\":\"\xff\"}".to_vec()),
        ("deep", deep.into_bytes()),
        ("too large", vec![b' '; 3 * 1024 * 1024]),
        ("zero bytes", vec![0; 100]),
    ];
    let mut routes = 0;
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        if methods["post"]["requestBody"].is_null() {
            continue;
        }
        routes += 1;
        let path = path.replace(['{', '}'], "");
        for (name, body) in &bodies {
            let (status, answer) = management.post_bytes(&path, body.clone()).await?;
            ensure!(status.is_client_error(), "{name} to {path}: {status} {answer}");
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            ensure!(!message.is_empty(), "{name} to {path}: {answer}");
        }
    }
    ensure!(routes > 20, "{routes} routes take a body");
    tokio::task::spawn_blocking(move || {
        ensure!(!site.log()?.contains("panicked"), "it panicked");
        site.stop()?;
        drop(scene);
        Ok(())
    })
    .await?
}

#[test]
fn whoever_asks_for_catalogs_and_takes_none_is_held_to_his_places() -> Result<()> {
    Scene::play(|scene| {
        let mut stage = Stage::new(
            scene,
            scene
                .plan("b")
                .setting(
                    "partner_listener",
                    "max_concurrent_catalog_requests_per_partner_count",
                    "2",
                )
                .setting("partner_listener", "stall_timeout_ms", "3000"),
        )?;
        let credential = Credential::of_client(&stage.hostile_site)?;
        let body = json!({ "@context": [CONTEXT], "@type": "CatalogRequestMessage" }).to_string();
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut frames = Frames::open(&credential, stage.supplier.address(), &[(4, 0)])?;
            let path = format!("{BASE}/catalog/request");
            let mut fields = block(&request("POST", &path));
            fields.extend(block(&[("content-type", "application/json")]));
            let asked = frame(Kind::Headers, END_HEADERS, 1, &fields);
            frames.write(&[asked, frame(Kind::Data, END_STREAM, 1, body.as_bytes())].concat())?;
            held.push(frames);
        }
        let path = format!("{BASE}/catalog/request");
        let message: Value = serde_json::from_str(&body)?;
        wait::until("the places are taken", PATIENCE, || {
            Ok((stage.hostile.peer.post(&path, &message)?.status == 429).then_some(()))
        })?;
        stage.trade()?;
        // They are given back when the node has waited long enough.
        for mut frames in held {
            frames.read_to_close()?;
        }
        wait::until("the places are given back", PATIENCE, || {
            Ok((stage.hostile.peer.post(&path, &message)?.status == 200).then_some(()))
        })?;
        stage.unharmed()
    })
}
