//! Limits towards partners: what is too much, what takes too long, and what they are told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use http::Method;
use integration_tests::clocked::ClockedNode;
use integration_tests::connector::{BASE, Connector, text};
use integration_tests::peer::{Peer, Version};
use integration_tests::scene::Scene;
use integration_tests::site::{Plan, Site};
use integration_tests::wait::{self, PATIENCE};
use serde_json::json;

use crate::stage::{Pair, note};

/// A supplier with the dataset `one`, and a customer that does not run, for a test to play.
fn stage(scene: &Scene, plan: Plan) -> Result<(Site, Site)> {
    let mut supplier = plan.make()?;
    supplier.start()?;
    let Pair { supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
    supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
    customer.stop()?;
    Ok((supplier, customer))
}

#[test]
fn a_negotiation_that_the_partner_leaves_ends_at_its_deadline_also_after_a_restart() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene
            .plan("b")
            .setting("clock", "tick_seconds", "1")
            .setting("processes", "approval_deadline_seconds", "1800")
            .setting("processes", "negotiation_deadline_seconds", "3600");
        let (mut supplier, customer) = stage(scene, plan)?;
        supplier.stop()?;
        let mut node = ClockedNode::start(&supplier)?;
        let connector = Connector::play(&customer, &supplier)?;
        let request = connector.contract_request(&connector.offer("one")?, None);
        assert_eq!(connector.post("/negotiations/request", &request)?.status, 201);
        connector.expect("ContractAgreementMessage")?;
        wait::until("the agreement is delivered", PATIENCE, || {
            Ok(supplier.records("a", "message-delivered")?.pop())
        })?;
        node.stop()?;

        let mut node = ClockedNode::start(&supplier)?;
        node.clock.pass(2 * 3600);
        let told = connector.expect("ContractNegotiationTerminationMessage")?;
        assert_eq!(text(&told.body, "/code")?, "expired");
        assert_eq!(text(&told.body, "/consumerPid")?, text(&request, "/consumerPid")?);
        let ended = wait::until("the end is on record", PATIENCE, || {
            Ok(supplier.records("a", "agreement-ended")?.pop())
        })?;
        assert!(text(&ended, "/account/reason")?.contains("stood still since"), "{ended}");
        node.stop()
    })
}

#[test]
fn a_partner_with_too_many_open_negotiations_is_told_to_wait() -> Result<()> {
    Scene::play(|scene| {
        let plan =
            scene.plan("b").setting("processes", "max_open_negotiations_per_partner_count", "2");
        let (supplier, customer) = stage(scene, plan)?;
        let connector = Connector::play(&customer, &supplier)?;
        let offer = connector.offer("one")?;
        let mut last = json!(null);
        for _ in 0..2 {
            last = connector.contract_request(&offer, None);
            assert_eq!(connector.post("/negotiations/request", &last)?.status, 201);
        }
        let reply =
            connector.post("/negotiations/request", &connector.contract_request(&offer, None))?;
        assert_eq!(reply.status, 429, "{reply:?}");
        assert_ne!(reply.header("retry-after"), "");
        let reference = text(&reply.json()?, "/providerPid")?;
        let shown = supplier.ask(&["audit", "show", "--reference", &reference])?;
        let reason = text(&shown, "/records/0/account/reason")?;
        assert!(reason.contains("max_open_negotiations_per_partner_count"), "{reason}");
        // What is open goes on all the same.
        assert_eq!(connector.post("/negotiations/request", &last)?.status, 201, "a repeat");
        Ok(())
    })
}

#[test]
fn a_message_that_is_too_large_is_refused_with_words_and_its_type_is_read_in_any_case() -> Result<()>
{
    Scene::play(|scene| {
        let plan = scene.plan("b").setting("partner_listener", "max_body_bytes", "16384");
        let (supplier, customer) = stage(scene, plan)?;
        let connector = Connector::play(&customer, &supplier)?;
        let mut request = connector.contract_request(&connector.offer("one")?, None);
        request["note"] = json!("x".repeat(500_000));
        let reply = connector.post("/negotiations/request", &request)?;
        assert_eq!(reply.status, 413, "{reply:?}");
        let body = reply.json()?;
        assert_eq!(body["code"], "too-large");
        let shown =
            supplier.ask(&["audit", "show", "--reference", &text(&body, "/providerPid")?])?;
        assert!(text(&shown, "/records/0/account/reason")?.contains("16384"), "{shown}");

        let path = format!("{BASE}/catalog/request");
        let asking = json!({
            "@context": [integration_tests::connector::CONTEXT],
            "@type": "CatalogRequestMessage",
        });
        for (media_type, status) in [
            ("Application/JSON; Charset=UTF-8", 200),
            ("application/LD+json", 200),
            ("text/json", 400),
        ] {
            let headers = [("content-type", media_type)];
            let body = asking.to_string().into();
            let reply = connector.peer.send(Method::POST, &path, &headers, body)?;
            assert_eq!(reply.status, status, "{media_type}: {reply:?}");
        }
        Ok(())
    })
}

#[test]
fn unlike_refusals_each_keep_their_reason_and_a_flood_of_them_is_bounded() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene.plan("b").setting(
            "partner_listener",
            "max_refusals_per_partner_per_second_count",
            "3",
        );
        let (supplier, customer) = stage(scene, plan)?;
        let connector = Connector::play(&customer, &supplier)?;
        let offer = connector.offer("one")?;
        let mut answers = Vec::new();
        for number in 0..40 {
            let mut request = connector.contract_request(&offer, None);
            request["offer"]["target"] = json!(format!("urn:missing:{number}"));
            answers.push((number, connector.post("/negotiations/request", &request)?));
        }
        let mut flooded = 0;
        for (number, reply) in &answers {
            let reference = text(&reply.json()?, "/providerPid")?;
            let shown = supplier.ask(&["audit", "show", "--reference", &reference])?;
            let reason = text(&shown, "/records/0/account/reason")?;
            match reply.status {
                404 => assert!(reason.contains(&format!("`urn:missing:{number}`")), "{reason}"),
                429 => {
                    flooded += 1;
                    assert!(reason.contains("max_refusals_per_partner_per_second"), "{reason}");
                }
                status => panic!("{status}: {reply:?}"),
            }
        }
        let written = supplier.records("a", "request-refused")?.len();
        assert!(flooded > 0 && written < 40, "{flooded} were answered 429, {written} recorded");
        Ok(())
    })
}

#[test]
fn catalog_requests_at_once_are_bounded_for_each_partner() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene.plan("b").setting(
            "partner_listener",
            "max_concurrent_catalog_requests_per_partner_count",
            "1",
        );
        let (supplier, customer) = stage(scene, plan)?;
        let connector = Connector::play(&customer, &supplier)?;
        let asking = json!({
            "@context": [integration_tests::connector::CONTEXT],
            "@type": "CatalogRequestMessage",
        });
        let path = format!("{BASE}/catalog/request");
        let held = connector.peer.begin_post(&path)?;
        let reply = wait::until("a second one is refused", PATIENCE, || {
            let reply = connector.peer.post(&path, &asking)?;
            Ok((reply.status == 429).then_some(reply))
        })?;
        assert_ne!(reply.header("retry-after"), "", "{reply:?}");
        let body = reply.json()?.to_string();
        assert!(body.contains("wait for them"), "{body}");
        drop(held);
        wait::until("the place is free again", PATIENCE, || {
            Ok((connector.peer.post(&path, &asking)?.status == 200).then_some(()))
        })
    })
}

#[test]
fn handshakes_that_one_address_leaves_open_are_bounded() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene
            .plan("b")
            .setting("partner_listener", "max_handshakes_per_address_count", "1")
            .setting("partner_listener", "handshake_timeout_ms", "60000");
        let (supplier, customer) = stage(scene, plan)?;
        let peer = Peer::of(&customer, &supplier)?;
        let version = "/.well-known/dspace-version";
        assert_eq!(peer.get(version, &[])?.status, 200);
        // The place of the handshake before may not be free yet, so that the silent one is turned away itself.
        let silent = wait::until("another handshake is refused", PATIENCE, || {
            let silent = std::net::TcpStream::connect(supplier.address())?;
            Ok(peer.get(version, &[]).is_err().then_some(silent))
        })?;
        drop(silent);
        wait::until("the place is free again", PATIENCE, || {
            Ok(peer.get(version, &[]).is_ok_and(|reply| reply.status == 200).then_some(()))
        })
    })
}

/// Connections that say nothing, from another address of the loopback network.
fn silent(from: u8, to: SocketAddr, count: usize) -> Result<Vec<std::net::TcpStream>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connect = || {
        runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, from)), 0))?;
            Ok(socket.connect(to).await?.into_std()?)
        })
    };
    (0..count).map(|_| connect()).collect()
}

/// Whether the node has not closed a connection yet.
fn is_open(stream: &std::net::TcpStream) -> bool {
    let looked = stream.peek(&mut [0]);
    looked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn a_partner_connects_while_strangers_hold_all_handshakes() -> Result<()> {
    Scene::play(|scene| {
        // As a node is shipped, but for strangers who are patient: a place that they keep would be free too late for this test.
        let plan = scene.plan("b").setting("partner_listener", "handshake_timeout_ms", "120000");
        let (supplier, customer) = stage(scene, plan)?;
        let mut held = Vec::new();
        for from in 2..10 {
            held.extend(silent(from, supplier.address(), 32)?);
        }
        let peer = Peer::of(&customer, &supplier)?;
        for _ in 0..3 {
            assert_eq!(peer.get("/.well-known/dspace-version", &[])?.status, 200);
        }
        let closed = held.iter().filter(|stream| !is_open(stream)).count();
        // The place of the partner's handshake before may not be free again when the next one comes.
        assert!((1..=3).contains(&closed), "{closed} were closed");
        let metrics = integration_tests::process::get(supplier.status(), "/metrics")?.1;
        assert!(metrics.contains("outcome=\"too-many\""), "{metrics}");
        Ok(())
    })
}

#[test]
fn heads_that_are_not_answered_yet_are_bounded_for_each_partner() -> Result<()> {
    Scene::play(|scene| {
        let plan = scene.plan("b").setting(
            "partner_listener",
            "max_unread_body_bytes_per_partner",
            "65536",
        );
        let (supplier, customer) = stage(scene, plan)?;
        let peer = Peer::of(&customer, &supplier)?;
        let long = "x".repeat(7_000);
        let fields = ["x-a", "x-b", "x-c", "x-d"].map(|name| (name, long.as_str()));
        let path = format!("{BASE}/negotiations/request");
        let held = [peer.begin_post_with(&path, &fields)?, peer.begin_post_with(&path, &fields)?];
        let other = Peer::of(&customer, &supplier)?.speaking(Version::Http2);
        let dataset = format!("{BASE}/catalog/datasets/one");
        let reply = wait::until("a third one is refused", PATIENCE, || {
            let reply = other.get(&dataset, &fields)?;
            Ok((reply.status == 429).then_some(reply))
        })?;
        assert_ne!(reply.header("retry-after"), "", "{reply:?}");
        // What is small has room still, and it ends with what was held.
        assert_eq!(other.get(&dataset, &[])?.status, 200);
        let recorded = supplier.records("a", "request-refused")?;
        assert!(recorded.iter().any(|one| one.to_string().contains("65536")), "{recorded:?}");
        drop(held);
        wait::until("there is room again", PATIENCE, || {
            Ok((other.get(&dataset, &fields)?.status == 200).then_some(()))
        })
    })
}
