//! What becomes of messages that a partner does not take, or does not take yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use integration_tests::authority::Credential;
use integration_tests::connector::{Connector, text};
use integration_tests::peer::Peer;
use integration_tests::process::get;
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use integration_tests::villain::{Answer, Asked, Villain};
use integration_tests::{ports, wait};
use serde_json::{Value, json};

use crate::stage::{OPEN, Pair, note, word};

const LIMIT: Duration = Duration::from_secs(30);
/// Partners may use it when somebody says so.
const ASKED: &str = r#"
title = "Asked"
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
[offer]
handling = "manual"
"#;

/// The dead letters of a site, once there are so many.
fn letters(site: &Site, count: usize) -> Result<Vec<Value>> {
    wait::until(&format!("{count} dead letters"), LIMIT, || {
        let listed = site.ask(&["dead-letter", "list"])?;
        let letters = listed["dead-letters"].as_array().context("a list")?.clone();
        Ok((letters.len() == count).then_some(letters))
    })
}

/// A negotiation of a site, once it is in a state.
fn reaches(site: &Site, id: &str, state: &str) -> Result<Value> {
    wait::until(&format!("{id} in {state}"), LIMIT, || {
        let shown = site.ask(&["negotiation", "show", id])?;
        Ok((shown["state"] == state).then_some(shown))
    })
}

#[test]
fn a_partner_that_was_away_too_long_is_told_by_a_retry_when_it_is_back() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, mut customer } = Pair::new(scene)?;
        supplier.activate(&[("asked", ASKED)])?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "asked")?;
        let own = text(&customer.ask(&["negotiation", "request", "b", "one"])?, "/id")?;
        reaches(&customer, &own, "REQUESTED")?;
        let open = supplier.ask(&["negotiation", "list"])?;
        let theirs = text(&open, "/negotiations/0/id")?;

        customer.stop()?;
        customer.set("outbound", "delivery_deadline_seconds", "1");
        customer.start()?;
        supplier.stop()?;
        let end = ["negotiation", "terminate", &own, "--reason", "not needed any more"];
        customer.ask(&end)?;
        let letter = letters(&customer, 1)?.remove(0);
        assert_eq!(letter["message_type"], "ContractNegotiationTerminationMessage", "{letter}");
        assert_eq!((&letter["partner"], &letter["process"]), (&json!("b"), &json!(own)));
        assert_eq!(letter["code"], "undelivered");
        assert!(letter["reason"].as_str().is_some_and(|why| why.contains("in time")), "{letter}");
        assert!(letter["last_error"].is_string(), "what went wrong is said: {letter}");
        assert!(letter["attempts"].as_u64() > Some(0), "{letter}");
        assert_eq!(customer.ask(&["status"])?["dead_letters"], 1);
        let (_, metrics) = get(customer.status(), "/metrics")?;
        let counted = |line: &&str| {
            line.starts_with("sekisho_deliveries_total") && line.contains(r#"outcome="given-up""#)
        };
        assert!(metrics.lines().any(|line| counted(&line)), "it is alerted on: {metrics}");

        customer.stop()?;
        customer.set("outbound", "delivery_deadline_seconds", "600");
        customer.start()?;
        assert_eq!(
            letters(&customer, 1)?,
            std::slice::from_ref(&letter),
            "it is kept over a restart"
        );
        supplier.start()?;
        assert_eq!(supplier.ask(&["negotiation", "show", &theirs])?["state"], "REQUESTED");
        let id = text(&letter, "/id")?;
        let again = ["dead-letter", "retry", &id, "--reason", "their node is back"];
        customer.ask(&again)?;
        let ended = reaches(&supplier, &theirs, "TERMINATED")?;
        assert!(ended.to_string().contains("not needed any more"), "{ended}");
        letters(&customer, 0)?;
        let told = customer.run(&again)?.expect(66)?;
        assert!(told.text("/error/help")?.contains("dead-letter list"));
        let retried = customer.records("b", "message-retried")?;
        assert_eq!(retried.len(), 1);
        assert_eq!(retried[0]["account"]["reason"], "their node is back");
        Ok(())
    })
}

/// A supplier whose partner is played by the test.
fn played(scene: &Scene, patience_ms: &str) -> Result<(Site, Connector)> {
    let mut supplier = scene
        .plan("b")
        .setting("outbound", "refusal_patience_ms", patience_ms)
        .setting("outbound", "retry_minimum_ms", "20")
        .setting("outbound", "retry_maximum_ms", "100")
        .make()?;
    supplier.start()?;
    let Pair { supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
    supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
    customer.stop()?;
    let connector = Connector::play(&customer, &supplier)?;
    Ok((supplier, connector))
}

/// Requests a contract; the supplier's process id.
fn requested(connector: &Connector) -> Result<String> {
    let request = connector.contract_request(&connector.offer("one")?, None);
    let reply = connector.post("/negotiations/request", &request)?;
    ensure!(reply.status == 201, "{reply:?}");
    text(&reply.json()?, "/providerPid")
}

/// The next agreement that comes in a negotiation.
fn agreement(connector: &Connector, pid: &str) -> Result<Value> {
    loop {
        let received = connector.expect("ContractAgreementMessage")?;
        if received.body["providerPid"] == pid {
            return Ok(received.body);
        }
    }
}

#[test]
fn a_refusal_of_what_overtook_the_partners_records_is_not_final() -> Result<()> {
    Scene::play(|scene| {
        // Longer than the test waits for anything.
        let (supplier, connector) = played(scene, "600000")?;
        for status in [StatusCode::CONFLICT, StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND] {
            connector.answer(status);
            let pid = requested(&connector)?;
            let (first, second) = (agreement(&connector, &pid)?, agreement(&connector, &pid)?);
            assert_eq!(first, second, "the same message each time");
            let shown = supplier.ask(&["negotiation", "show", &pid])?;
            assert_eq!(shown["pending"], "ContractAgreementMessage", "{status}: {shown}");
            connector.answer(StatusCode::OK);
            let agreed = reaches(&supplier, &pid, "AGREED")?;
            assert_eq!(agreed["failure"], Value::Null, "{status}: {agreed}");
        }
        letters(&supplier, 0)?;
        Ok(())
    })
}

#[test]
fn a_refusal_is_final_when_patience_is_over_and_what_was_refused_is_kept() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, connector) = played(scene, "200")?;
        connector.answer(StatusCode::CONFLICT);
        let pid = requested(&connector)?;
        let ended = reaches(&supplier, &pid, "TERMINATED")?;
        assert_eq!(ended["failure"]["code"], "refused", "{ended}");
        assert!(ended["failure"]["reason"].as_str().is_some_and(|why| why.contains("409")));
        // The end that follows from it is refused as well.
        let kept = letters(&supplier, 2)?;
        let of = |kind: &str| kept.iter().find(|letter| letter["message_type"] == kind);
        let letter = of("ContractAgreementMessage").context("the agreement")?;
        assert!(letter["attempts"].as_u64() > Some(1), "it was tried for a while: {letter}");
        // What ended for want of the message cannot begin again by it.
        let id = text(letter, "/id")?;
        let retry = ["dead-letter", "retry", &id, "--reason", "perhaps now"];
        let refused = supplier.run(&retry)?.expect(77)?;
        assert!(refused.text("/error/message")?.contains("begin another one"));
        // Its end can still be told.
        let end = of("ContractNegotiationTerminationMessage").context("the end")?;
        connector.answer(StatusCode::OK);
        supplier.ask(&["dead-letter", "retry", &text(end, "/id")?, "--reason", "perhaps now"])?;
        assert_eq!(letters(&supplier, 1)?, std::slice::from_ref(letter));
        Ok(())
    })
}

/// A customer, and a supplier that answers through somebody who refuses what the test wants refused.
struct Refusing {
    customer: Site,
    _supplier: Site,
    villain: Villain,
    honest: Arc<dyn Fn(&Asked) -> Answer + Send + Sync>,
}

impl Refusing {
    fn new(scene: &Scene) -> Result<Self> {
        let mut supplier = scene.plan("b").dialled_at(ports::free()?).make()?;
        supplier.start()?;
        let mut customer = scene
            .plan("a")
            .setting("outbound", "refusal_patience_ms", "600000")
            .setting("outbound", "retry_minimum_ms", "20")
            .setting("outbound", "retry_maximum_ms", "100")
            .make()?;
        customer.start()?;
        let node = Peer::of(&customer, &supplier)?;
        let honest = Arc::new(move |asked: &Asked| {
            Answer::of(&node, asked)
                .unwrap_or_else(|error| Answer::honest(503, &[], error.to_string().as_bytes()))
        });
        let address = supplier.origin().trim_start_matches("https://").parse()?;
        let credential = Credential::of_server(&supplier)?;
        let villain = Villain::serve(address, &credential, {
            let honest = Arc::clone(&honest);
            move |asked| honest(asked)
        })?;
        befriend(&supplier, &customer)?;
        supplier.activate(&[("open", OPEN)])?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        Ok(Self { customer, _supplier: supplier, villain, honest })
    }

    /// From now on so many requests to a path are refused; how many came to it is counted.
    fn refuse(&self, path: &'static str, times: usize, refusal: &Answer) -> Arc<AtomicUsize> {
        let came = Arc::new(AtomicUsize::new(0));
        let (counted, honest, refusal) =
            (Arc::clone(&came), Arc::clone(&self.honest), refusal.clone());
        self.villain.answer(move |asked: &Asked| {
            if !asked.path.ends_with(path) {
                return honest(asked);
            }
            let before = counted.fetch_add(1, Ordering::Relaxed);
            if before < times { refusal.clone() } else { honest(asked) }
        });
        came
    }
}

/// A refusal of a transfer request, with a code.
fn transfer_error(code: &str) -> Answer {
    let body = json!({
        "@context": ["https://w3id.org/dspace/2025/1/context.jsonld"], "@type": "TransferError",
        "consumerPid": "urn:x:c", "providerPid": "urn:x:p", "code": code, "reason": ["not now"],
    });
    Answer::honest(409, &[("content-type", "application/json")], body.to_string().as_bytes())
}

#[test]
fn a_transfer_request_that_overtook_the_record_of_its_agreement_is_not_lost() -> Result<()> {
    const NEVER: usize = usize::MAX;
    Scene::play(|scene| {
        let mut refusing = Refusing::new(scene)?;
        let bare = Answer::honest(404, &[], b"");
        // Nothing came before a contract request that the partner might not have recorded: it is asked once.
        let came = refusing.refuse("/negotiations/request", NEVER, &bare);
        let target = scene.file("got.txt");
        let pull = ["pull", "b", "one", "-o", word(&target)?];
        let refused = refusing.customer.run(&pull)?;
        ensure!(refused.code != Some(0) && !target.exists(), "{refused:?}");
        assert_eq!(came.load(Ordering::Relaxed), 1);
        // What the partner decided is not asked again.
        for code in ["policy", "agreement-ended"] {
            let refused = refusing.refuse("/transfers/request", NEVER, &transfer_error(code));
            let told = refusing.customer.run(&["pull", "b", "one", "-o", word(&target)?])?;
            ensure!(told.code != Some(0) && !target.exists(), "{told:?}");
            let letters = refusing.customer.ask(&["dead-letter", "list"])?;
            let attempts = letters["dead-letters"].as_array().context("a list")?.iter();
            ensure!(attempts.clone().all(|letter| letter["attempts"] == 1), "{code}: {letters}");
            ensure!(refused.load(Ordering::Relaxed) > 0, "{code}: {told:?}");
        }
        // An agreement that is recorded as we ask.
        for (number, answer) in [bare.clone(), transfer_error("not-yet")].into_iter().enumerate() {
            let id = format!("later-{number}");
            refusing.customer.stop()?;
            refusing.customer.start()?;
            let came = refusing.refuse("/transfers/request", 3, &answer);
            let target = scene.file(&id);
            refusing.customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
            assert_eq!(std::fs::read_to_string(&target)?, "one");
            assert_eq!(came.load(Ordering::Relaxed), 4, "three times too early");
        }
        // One that was settled long ago was recorded long ago.
        refusing.customer.stop()?;
        refusing.customer.set("outbound", "refusal_patience_ms", "1");
        refusing.customer.start()?;
        let came = refusing.refuse("request", NEVER, &bare);
        let target = scene.file("never.txt");
        let refused = refusing.customer.run(&["pull", "b", "one", "-o", word(&target)?])?;
        ensure!(refused.code != Some(0) && !target.exists(), "{refused:?}");
        assert_eq!(came.load(Ordering::Relaxed), 1);
        let letters = refusing.customer.ask(&["dead-letter", "list"])?;
        let last = letters.pointer("/dead-letters/2").context("the transfer request")?;
        assert_eq!(last["message_type"], "TransferRequestMessage", "{letters}");
        assert_eq!((&last["attempts"], &last["code"]), (&json!(1), &json!("refused")), "{last}");
        Ok(())
    })
}

#[test]
fn a_provider_that_takes_its_token_only_without_the_scheme_gives_its_data() -> Result<()> {
    Scene::play(|scene| {
        let mut refusing = Refusing::new(scene)?;
        let honest = Arc::clone(&refusing.honest);
        refusing.villain.answer(move |asked: &Asked| {
            let shown = asked.fields.iter().find(|(name, _)| name == "authorization");
            match shown {
                Some((_, value)) if value.starts_with("Bearer ") => Answer::honest(403, &[], b""),
                _ => honest(asked),
            }
        });
        // A node of ours is shown its token in one way.
        let target = scene.file("got.txt");
        let pull = ["pull", "b", "one", "-o", word(&target)?];
        let refused = refusing.customer.run(&pull)?;
        ensure!(refused.code != Some(0) && !target.exists(), "{refused:?}");
        // A connector of another make has no card that lists extensions.
        refusing.customer.stop()?;
        let file = refusing.customer.path("partners/b.toml");
        let mut partner = std::fs::read_to_string(&file)?.parse::<toml::Table>()?;
        partner.remove("extensions").context("the card lists extensions")?;
        std::fs::write(&file, partner.to_string())?;
        refusing.customer.start()?;
        refusing.customer.ask(&pull)?;
        assert_eq!(std::fs::read_to_string(&target)?, "one");
        Ok(())
    })
}
