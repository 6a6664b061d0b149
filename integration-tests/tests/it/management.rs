//! The management API as applications use it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use integration_tests::peer::Peer;
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait;
use serde_json::Value;

use crate::stage::{Pair, note, word};

/// How long something may take that happens by itself.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn events_go_on_after_a_restart_exactly_where_the_reader_was() -> Result<()> {
    Scene::play(|scene| {
        let mut pair = Pair::new(scene)?;
        let source = note(scene, "one.txt", "one")?;
        pair.supplier.publish(&source, "one", "open")?;
        let target = scene.file("received");
        pair.customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;

        let before = events(&pair.customer, &[])?;
        assert_eq!(before[0]["kind"], "pull-requested");
        assert_eq!(before[0]["dataset"], "one");
        assert_eq!(before[0]["partner"], "b");
        let finalized = before.iter().find(|event| event["state"] == "FINALIZED");
        let finalized = finalized.context("the negotiation was finalized")?;
        assert_eq!(finalized["role"], "consumer");
        assert!(finalized["agreement"].is_string());
        assert!(finalized["consumer_pid"] == finalized["negotiation"]);
        assert!(finalized["provider_pid"].is_string());
        assert_eq!(before.last().context("there are events")?["kind"], "pull-delivered");
        let text = serde_json::to_string(&before)?;
        assert!(!text.contains("sealed"), "no token is in an event, sealed or not: {text}");

        pair.customer.restart()?;
        let middle = &before[before.len() / 2]["position"];
        let middle = middle.as_str().context("an event has a position")?;
        let after = events(&pair.customer, &["--from", middle])?;
        assert_eq!(after, before[before.len() / 2 + 1..]);
        let kind = events(&pair.customer, &["--kind", "pull-delivered", "--partner", "b"])?;
        assert_eq!(kind, before[before.len() - 1..]);

        // What follows comes in the order of the journal, while it happens.
        let last = before[before.len() - 1]["position"].as_str().context("a position")?;
        let following = pair.customer.begin(&["events", "--follow", "--from", last])?;
        let again = scene.file("again");
        pair.customer.ask(&["pull", "b", "one", "-o", word(&again)?])?;
        wait::until("the new pull is told to its end", LIMIT, || {
            let told = following.so_far()?;
            let requested = told.find("pull-requested");
            let delivered = told.find("pull-delivered");
            Ok((requested.is_some() && requested < delivered).then_some(()))
        })?;
        following.kill()?;

        let unknown = pair.customer.run(&["events", "--from", "1.0"])?.expect(66)?;
        assert!(unknown.text("/error/help")?.contains("start"));
        pair.customer.run(&["events", "--from", "yesterday"])?.expect(64)?;
        Ok(())
    })
}

/// Who may call what, beside administrators. A change here is a change of who may do what.
const OTHERS: [(&str, &[&str]); 28] = [
    ("agreements.list", READERS_AND_APPLICATIONS),
    ("audit.records", READERS),
    ("audit.tail", READERS),
    ("audit.verify", READERS),
    ("catalog.ask", APPLICATIONS),
    ("clock.accept", NOBODY),
    ("datasets.list", READERS),
    ("datasets.preview", POLICY),
    ("datasets.publish", POLICY),
    ("datasets.show", READERS),
    ("datasets.withdraw", POLICY),
    ("events.follow", READERS_AND_APPLICATIONS),
    ("keys.create", NOBODY),
    ("keys.list", NOBODY),
    ("keys.revoke", NOBODY),
    ("partners.add", NOBODY),
    ("partners.list", READERS_AND_APPLICATIONS),
    ("partners.preview", NOBODY),
    ("partners.remove", NOBODY),
    ("partners.resume", NOBODY),
    ("partners.show", READERS),
    ("partners.suspend", NOBODY),
    ("pulls.begin", APPLICATIONS),
    ("pulls.content", APPLICATIONS),
    ("pulls.delivered", APPLICATIONS),
    ("pulls.provenance", APPLICATIONS),
    ("status.show", READERS),
    ("transfers.list", READERS_AND_APPLICATIONS),
];
const NOBODY: &[&str] = &[];
const READERS: &[&str] = &["policy-administrator", "auditor"];
const READERS_AND_APPLICATIONS: &[&str] = &["policy-administrator", "auditor", "application"];
const POLICY: &[&str] = &["policy-administrator"];
const APPLICATIONS: &[&str] = &["application"];

#[test]
fn each_route_lets_exactly_its_roles_in_and_nobody_without_a_key() -> Result<()> {
    Scene::play(|scene| {
        let site = remote(scene)?;
        let peer = Peer::new(None, site.1)?;
        let site = site.0;
        let stranger = peer.get("/v1/status", &[])?;
        assert_eq!(stranger.status, 401);
        assert_eq!(stranger.header("www-authenticate"), "Bearer");
        for wrong in ["sekisho.auditor.AAAA", "sekisho.nobody.AAAA", "x", ""] {
            assert_eq!(status(&peer, "GET", "/v1/status", wrong)?, 401, "{wrong}");
        }
        let mut keys = Vec::new();
        for role in ["administrator", "policy-administrator", "auditor", "application"] {
            keys.push((role, key(&site, role, &["--role", role])?));
        }
        let document: Value = site.ask(&["openapi"])?;
        let paths = document["paths"].as_object().context("paths")?;
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().context("methods")? {
                let name = operation["operationId"].as_str().context("a name")?;
                let said = operation["security"][0]["key"].as_array().context("roles")?;
                let expected = OTHERS.iter().find(|(known, _)| *known == name);
                let (_, others) =
                    expected.with_context(|| format!("`{name}` is not in the table"))?;
                let path = path.replace("{", "").replace("}", "");
                for (role, key) in &keys {
                    let allowed = *role == "administrator" || others.contains(role);
                    assert_eq!(said.contains(&Value::from(*role)), allowed, "{name} {role}");
                    let status = status(&peer, &method.to_uppercase(), &path, key)?;
                    assert_eq!(status != 403, allowed, "{name} {role}: {status}");
                }
            }
        }
        let known: usize =
            paths.values().filter_map(Value::as_object).map(serde_json::Map::len).sum();
        assert_eq!(known, OTHERS.len(), "an entry of the table has no route");
        let refused = site.records("site", "management-refused")?;
        assert!(refused.iter().any(|record| record["account"]["node"] == "unknown"));
        assert!(refused.iter().any(|record| record["account"]["node"] == "key auditor"));
        assert!(!site.log()?.contains(&keys[0].1), "a key is never logged");
        Ok(())
    })
}

#[test]
fn a_key_that_is_revoked_ends_what_runs_under_it_and_never_comes_back() -> Result<()> {
    Scene::play(|scene| {
        let (mut site, address) = remote(scene)?;
        let peer = Peer::new(None, address)?;
        let text = key(&site, "reports", &["--role", "application"])?;
        let bearer = format!("Bearer {text}");
        let head = [("authorization", bearer.as_str())];
        let mut stream = peer.open(Method::GET, "/v1/events?from=start", &head, Bytes::new())?;
        assert_eq!(stream.status, 200);
        assert!(stream.chunk()?.is_some(), "it is heard at once");
        let revoked = site.ask(&["key", "revoke", "reports", "--reason", "lost laptop"])?;
        assert_eq!(revoked["state"], "revoked");
        let (_, well) = stream.drain();
        assert!(!well, "the stream is cut, not ended in good order");
        let refused = peer.get("/v1/partners", &head)?;
        assert_eq!(refused.status, 401);
        assert!(refused.json()?["error"]["message"].as_str().context("why")?.contains("revoked"));
        site.restart()?;
        assert_eq!(peer.get("/v1/partners", &head)?.status, 401);
        site.run(&["key", "create", "reports", "--role", "auditor"])?.expect(77)?;
        site.run(&["key", "revoke", "reports"])?.expect(77)?;
        site.run(&["key", "create", "Reports", "--role", "auditor"])?.expect(64)?;
        site.run(&["key", "create", "r", "--role", "auditor", "--purpose", "x"])?.expect(64)?;
        site.run(&["key", "create", "r", "--role", "auditor", "--expires", "2020-01-01"])?
            .expect(64)?;
        let record = &site.records("site", "key-revoked")?[0];
        assert_eq!(record["account"]["reason"], "lost laptop");
        let journal = site.ask(&["audit", "show", "--log", "site", "--kind", "key-created"])?;
        assert!(!journal.to_string().contains(&text), "the journal has no key");
        Ok(())
    })
}

/// A site with the management listener on TCP.
fn remote(scene: &Scene) -> Result<(Site, SocketAddr)> {
    let address = ports::free()?;
    let rate = "10000";
    let mut site = scene
        .plan("a")
        .setting("management", "bind", &address.to_string())
        .setting("management", "max_requests_per_key_per_second_count", rate)
        .make()?;
    site.start()?;
    Ok((site, address))
}

/// Makes a key; its text.
fn key(site: &Site, name: &str, more: &[&str]) -> Result<String> {
    let words: Vec<&str> = ["key", "create", name].iter().chain(more).copied().collect();
    let made = site.ask(&words)?;
    Ok(made["text"].as_str().context("the key is shown")?.to_owned())
}

/// The status of an answer, whatever its body does.
fn status(peer: &Peer, method: &str, path: &str, key: &str) -> Result<u16> {
    let bearer = format!("Bearer {key}");
    let head = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    Ok(peer.open(method.parse()?, path, &head, Bytes::from_static(b"{}"))?.status)
}

fn events(site: &Site, more: &[&str]) -> Result<Vec<Value>> {
    let words: Vec<&str> = ["events"].iter().chain(more).copied().collect();
    site.run(&words)?.expect(0)?.lines()
}
