//! What nodes answer is held against the official schemas: by every peer that a test plays, and between two real sites.

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use integration_tests::connector::{BASE, CONTEXT};
use integration_tests::judged;
use integration_tests::peer::Reply;
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::schemas::Schemas;
use integration_tests::window::Window;
use serde_json::{Value, json};

use crate::stage::{Pair, note, word};

const JSON: &str = "application/json";

fn reply(status: u16, declared: &'static str, body: impl Into<Bytes>) -> Reply {
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("content-type"),
        HeaderValue::from_static(declared),
    )]);
    Reply { status, headers, body: body.into() }
}

/// A negotiation as a provider describes it, with this in place of what it has.
fn negotiation(member: &str, value: Value) -> Value {
    let mut document = json!({
        "@context": [CONTEXT], "@type": "ContractNegotiation", "state": "REQUESTED",
        "consumerPid": "urn:x:c", "providerPid": "urn:x:p",
    });
    if let Some(members) = document.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
    document
}

#[test]
fn an_answer_that_violates_dsp_is_found() -> Result<()> {
    if Schemas::named()?.is_none() {
        return Ok(());
    }
    let path = format!("{BASE}/negotiations/urn:x:p");
    let good = negotiation("state", json!("REQUESTED")).to_string();
    let judge = |path: &str, answer: &Reply| judged::answer(path, answer);
    assert_eq!(
        judge(&path, &reply(200, JSON, good.clone()))?.as_deref(),
        Some("ContractNegotiation")
    );
    assert_eq!(judge(&path, &reply(404, JSON, ""))?, None);
    assert_eq!(judge("/data/one", &reply(200, "text/plain", "anything"))?, None);
    let error = json!({ "@context": [CONTEXT], "@type": "TransferError", "consumerPid": "urn:x:c",
        "providerPid": "urn:x:p", "code": "not-found", "reason": ["no"] });
    let bare_error = json!({ "code": "not-found", "reason": ["no"] });
    let discovery = "/.well-known/dspace-version";
    let requests = format!("{BASE}/negotiations/request");
    for (name, path, answer, words) in [
        (
            "no state of DSP",
            &path,
            reply(200, JSON, negotiation("state", json!("WAITING")).to_string()),
            "WAITING",
        ),
        (
            "a context that is no array",
            &path,
            reply(200, JSON, negotiation("@context", json!(CONTEXT)).to_string()),
            "@context",
        ),
        (
            "no type",
            &path,
            reply(200, JSON, negotiation("@type", Value::Null).to_string()),
            "without @type",
        ),
        (
            "another type",
            &path,
            reply(200, JSON, negotiation("@type", json!("Negotiation")).to_string()),
            "no type of DSP",
        ),
        (
            "a good answer with a bad status",
            &path,
            reply(400, JSON, good.clone()),
            "does not belong",
        ),
        ("a transfer's error", &path, reply(404, JSON, error.to_string()), "does not belong"),
        (
            "an error that is no message",
            &path,
            reply(404, JSON, bare_error.to_string()),
            "without @type",
        ),
        ("no JSON", &path, reply(500, JSON, "oh"), "not JSON"),
        ("declared as something else", &path, reply(200, "text/html", good.clone()), "text/html"),
        ("created, and nothing said", &requests, reply(201, JSON, ""), "not described"),
        (
            "versions that are none",
            &discovery.to_owned(),
            reply(200, JSON, r#"{"protocolVersions":[{}]}"#),
            "required",
        ),
    ] {
        let found = judge(path, &answer).err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(found.contains("violates DSP") && found.contains(words), "{name}: {found:?}");
    }
    Ok(())
}

#[test]
fn what_two_sites_answer_each_other_is_as_dsp_wants_it() -> Result<()> {
    Scene::play(|scene| {
        let mut supplier = scene.plan("b").dialled_at(ports::free()?).make()?;
        let mut customer = scene.plan("a").dialled_at(ports::free()?).make()?;
        let there = Window::between(&customer, &supplier)?;
        let back = Window::between(&supplier, &customer)?;
        supplier.start()?;
        customer.start()?;
        let Pair { supplier, customer } = Pair::of(supplier, customer)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        supplier.publish(&note(scene, "two.txt", "two")?, "two", "reporting")?;

        customer.ask(&["catalog", "b"])?;
        let got = scene.file("got.txt");
        customer.ask(&["pull", "b", "one", "-o", word(&got)?])?;
        assert_eq!(std::fs::read_to_string(&got)?, "one");
        // Refused: one that does not exist, and a purpose that its policy does not allow.
        let lost = scene.file("lost.txt");
        for (dataset, purpose) in [("nothing", "audit"), ("two", "marketing")] {
            let pull = ["pull", "b", dataset, "-o", word(&lost)?, "--purpose", purpose];
            let refused = customer.run(&pull)?;
            ensure!(refused.code != Some(0), "{dataset}: {}", refused.stdout);
        }
        ensure!(there.requests() > 0 && back.requests() > 0, "both windows are looked through");
        if Schemas::named()?.is_some() {
            let seen = scene.answers();
            for kind in ["Catalog", "ContractNegotiation", "TransferProcess"] {
                ensure!(seen.contains_key(kind), "no {kind} was judged: {seen:?}");
            }
            ensure!(
                seen.keys().any(|kind| kind.ends_with("Error")),
                "no error was judged: {seen:?}"
            );
        }
        Ok(())
    })
}
