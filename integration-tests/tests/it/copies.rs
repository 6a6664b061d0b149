//! What was received and waits for the application that asked: given again while its terms let it, and let go.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use integration_tests::clocked::ClockedNode;
use integration_tests::peer::{Peer, Reply};
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use serde_json::Value;

use crate::stage::{FLEETING, OPEN, Pair, note};

/// The data may be used for half a day.
const WINDOW: &str = r#"
title = "Window"
description = "For half a day."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
when = ["elapsedTime lteq PT12H"]
"#;

/// A customer whose application asks with a key.
struct Application {
    pair: Pair,
    peer: Peer,
    bearer: String,
}

impl Application {
    /// The supplier publishes a dataset under each of these policies, named as the policy is.
    fn new(scene: &Scene, policies: &[(&str, &str)], settings: &[(&str, &str)]) -> Result<Self> {
        let address = ports::free()?;
        let mut plan = scene.plan("a").setting("management", "bind", &address.to_string());
        for (key, value) in settings {
            plan = plan.setting("data", key, value);
        }
        let mut customer = plan.make()?;
        customer.start()?;
        let pair = Pair::of(scene.site("b")?, customer)?;
        pair.supplier.activate(policies)?;
        for (name, _) in policies {
            pair.supplier.publish(&note(scene, name, name)?, name, name)?;
        }
        let made = pair.customer.ask(&["key", "create", "reports", "--role", "application"])?;
        let bearer = format!("Bearer {}", made["text"].as_str().context("the key is shown")?);
        Ok(Self { peer: Peer::new(None, address)?, pair, bearer })
    }

    fn get(&self, path: &str) -> Result<Reply> {
        self.peer.get(path, &[("authorization", self.bearer.as_str())])
    }

    fn data(&self, dataset: &str) -> Result<Reply> {
        self.get(&format!("/v1/data/b/{dataset}"))
    }

    /// Where the bytes of a dataset are, which were given just now.
    fn given(&self, dataset: &str) -> Result<String> {
        let reply = self.data(dataset)?;
        assert_eq!((reply.status, reply.body.as_ref()), (200, dataset.as_bytes()), "{reply:?}");
        Ok(reply.header("content-location").to_owned())
    }

    /// What is refused, for a reason with this word.
    fn is_refused(&self, path: &str, kind: &str, word: &str) -> Result<()> {
        let reply = self.get(path)?;
        assert_eq!(reply.status, 403, "{path}: {reply:?}");
        let error = reply.json()?["error"].clone();
        assert_eq!(error["kind"], kind, "{error}");
        assert!(error["message"].to_string().contains(word), "{error}");
        Ok(())
    }

    fn agreement(&self, dataset: &str) -> Result<String> {
        let list = self.pair.customer.ask(&[
            "agreement",
            "list",
            "--where",
            &format!("dataset={dataset}"),
        ])?;
        Ok(list["agreements"][0]["id"].as_str().context("no agreement")?.to_owned())
    }
}

fn open(site: &Site) -> Result<Vec<Value>> {
    let listed = site.ask(&["pulls", "list", "--where", "step=received"])?;
    Ok(listed["pulls"].as_array().cloned().unwrap_or_default())
}

#[test]
fn copies_do_not_take_the_place_of_pulls_and_are_bounded() -> Result<()> {
    Scene::play(|scene| {
        let policies = [("one", OPEN), ("two", OPEN), ("three", OPEN), ("four", OPEN)];
        let settings = [("max_concurrent_pulls_count", "1"), ("max_kept_copies_count", "3")];
        let application = Application::new(scene, &policies, &settings)?;
        for dataset in ["one", "two", "three"] {
            application.given(dataset)?;
        }
        let refused = application.data("four")?;
        assert_eq!(refused.status, 429, "{refused:?}");
        let customer = &application.pair.customer;
        let kept = open(customer)?;
        assert_eq!(kept.len(), 3, "{kept:?}");
        let id = kept[0]["id"].as_str().context("an id")?;
        customer.ask(&["pulls", "cancel", id])?;
        application.given("four")?;
        Ok(())
    })
}

#[test]
fn a_copy_is_not_given_while_its_partner_is_shut_out_nor_after_its_agreement() -> Result<()> {
    Scene::play(|scene| {
        let application = Application::new(scene, &[("open", OPEN)], &[])?;
        let (customer, data) = (&application.pair.customer, "/v1/data/b/open");
        let content = application.given("open")?;
        assert_eq!(application.get(&content)?.status, 200);
        // What GET would say, without the bytes.
        for path in [data, &content] {
            let key = [("authorization", application.bearer.as_str())];
            let (get, head) = (
                application.get(path)?,
                application.peer.send(Method::HEAD, path, &key, Bytes::new())?,
            );
            assert_eq!((head.status, head.body.len()), (200, 0), "{head:?}");
            for field in ["content-length", "etag", "content-type"] {
                assert_eq!(head.header(field), get.header(field), "{path}: {field}");
            }
        }
        let both = application.peer.send(
            Method::DELETE,
            data,
            &[("authorization", application.bearer.as_str())],
            Bytes::new(),
        )?;
        assert_eq!((both.status, both.header("allow")), (405, "GET, HEAD"));
        customer.ask(&["partner", "suspend", "b", "--reason", "their key is lost"])?;
        application.is_refused(&content, "suspended", "suspended")?;
        application.is_refused(data, "suspended", "suspended")?;
        customer.ask(&["partner", "resume", "b"])?;
        assert_eq!(application.get(&content)?.status, 200);

        let agreement = application.agreement("open")?;
        let end = ["agreement", "end", &agreement, "--reason", "the project is over"];
        let ended = customer.ask(&end)?;
        let held = &ended["holdings"];
        assert_eq!(held.as_array().map(Vec::len), Some(1), "{ended}");
        assert_eq!((&held[0]["dataset"], &held[0]["kept"]), (&"open".into(), &"whole".into()));
        application.is_refused(&content, "policy", "the project is over")?;
        application.is_refused(data, "policy", "the project is over")?;
        Ok(())
    })
}

#[test]
fn a_copy_whose_deletion_is_recorded_is_gone() -> Result<()> {
    Scene::play(|scene| {
        let application = Application::new(scene, &[("fleeting", FLEETING)], &[])?;
        let content = application.given("fleeting")?;
        let agreement = application.agreement("fleeting")?;
        let fulfil = ["duty", "fulfil", &agreement, "obligation-1", "--how", "erased everywhere"];
        application.pair.customer.ask(&fulfil)?;
        assert!(open(&application.pair.customer)?.is_empty());
        assert_ne!(application.get(&content)?.status, 200);
        let mut kept = std::fs::read_dir(application.pair.customer.path("data/incoming"))?;
        assert!(kept.next().is_none(), "nothing is left on the disk");
        // Its agreement stands: what is received anew is another copy.
        application.given("fleeting")?;
        Ok(())
    })
}

#[test]
fn a_copy_is_not_given_when_its_time_is_over_or_a_duty_was_not_done() -> Result<()> {
    Scene::play(|scene| {
        let policies = [("fleeting", FLEETING), ("window", WINDOW)];
        let mut application = Application::new(scene, &policies, &[])?;
        let (fleeting, window) = (application.given("fleeting")?, application.given("window")?);
        application.pair.customer.stop()?;
        let mut later = ClockedNode::start_later(&application.pair.customer, 24 * 3600)?;
        application.is_refused(&window, "policy", "was over at")?;
        application.is_refused("/v1/data/b/window", "policy", "was over at")?;
        application.is_refused(&fleeting, "policy", "delete")?;
        application.is_refused("/v1/data/b/fleeting", "policy", "delete")?;
        later.stop()
    })
}
