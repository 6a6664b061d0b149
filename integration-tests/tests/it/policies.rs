//! What policies refuse, and what a refused partner learns.

use anyhow::Result;
use integration_tests::connector::{Connector, text, urn};
use integration_tests::peer::{Peer, Reply};
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::stage::{OPEN, Pair, note, word};

#[test]
fn a_purpose_that_is_not_allowed_is_refused_with_the_clause() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "reporting")?;
        let target = scene.file("got");
        let pull = ["pull", "b", "one", "-o", word(&target)?, "--purpose", "marketing"];
        let refused = pair.customer.run(&pull)?.expect(77)?;
        let message = refused.text("/error/message")?;
        assert!(message.contains("purpose"), "{message}");
        assert!(message.contains("cfp-reporting"), "{message}");
        let reference = refused.text("/error/reference")?;
        assert!(reference.starts_with("urn:uuid:"), "{reference}");
        assert!(!target.exists());

        // Our side has the whole reason under the same reference.
        let shown = pair.supplier.ask(&["audit", "show", "--reference", &reference])?;
        let records = shown["records"].as_array().cloned().unwrap_or_default();
        assert_eq!(records.len(), 1, "{shown}");
        let reason = records[0]["account"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("marketing"), "{reason}");
        Ok(())
    })
}

#[test]
fn what_may_not_be_seen_looks_like_what_does_not_exist() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "hidden-1", "hidden")?;
        supplier.publish(&note(scene, "two.txt", "two")?, "visible", "open")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let offer = connector.offer("visible")?;

        let mut seen = Vec::new();
        for dataset in ["hidden-1", "missing1"] {
            let shown =
                connector.peer.get(&format!("/dsp/2025-1/catalog/datasets/{dataset}"), &[])?;
            let mut asked = offer.clone();
            asked["target"] = json!(dataset);
            asked["@id"] = json!(format!("urn:example:{dataset}"));
            let request = connector.contract_request(&asked, None);
            let negotiated = connector.post("/negotiations/request", &request)?;
            let transferred =
                connector.post("/transfers/request", &connector.transfer_request(&urn()))?;
            assert_eq!([shown.status, negotiated.status, transferred.status], [404; 3]);
            seen.push([shown, negotiated, transferred].map(|reply| masked(&reply)));
        }
        let (hidden, missing) = (seen.remove(0), seen.remove(0));
        assert_eq!(hidden, missing);
        Ok(())
    })
}

#[test]
fn a_count_is_a_number_of_transfers() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let twice = r#"
title = "Twice"
description = "Two times and no more."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
when = ["count lteq 2"]
"#;
        pair.supplier.activate(&[("twice", twice)])?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "twice")?;
        for (round, code) in [(1, 0), (2, 0), (3, 77)] {
            let target = scene.file(&format!("got-{round}"));
            pair.customer.run(&["pull", "b", "one", "-o", word(&target)?])?.expect(code)?;
            assert_eq!(target.exists(), code == 0, "round {round}");
        }
        Ok(())
    })
}

#[test]
fn a_policy_that_is_not_understood_changes_nothing_and_is_named() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let odd =
            crate::stage::OPEN.replace("[[permit]]", "[[permit]]\nwhen = [\"moonPhase eq full\"]");
        pair.supplier.policy("open", &odd)?;
        wait::until("the policy is refused", PATIENCE, || {
            Ok(pair.supplier.log()?.contains("reload.refused").then_some(()))
        })?;
        assert!(pair.supplier.log()?.contains("moonPhase"));
        let target = scene.file("got");
        pair.customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        let checked = pair.supplier.run(&["policy", "check"])?.expect(64)?;
        assert!(checked.stdout.contains("moonPhase"), "{}", checked.stdout);
        Ok(())
    })
}

#[test]
fn what_is_published_may_name_a_policy_that_was_written_a_moment_ago() -> Result<()> {
    Scene::play(|scene| {
        let supplier = scene.site("b")?;
        let file = note(scene, "one.txt", "one")?;
        let publish = |policy: &str, code: i32| {
            let words =
                ["dataset", "publish", word(&file)?, "--id", policy, "--title", "One", "--policy"];
            supplier.run(&[&words[..], &[policy, "--yes"]].concat())?.expect(code)
        };
        supplier.policy("fresh", OPEN)?;
        publish("fresh", 0)?;

        supplier.policy("wrong", "title = 3\n")?;
        let refused = publish("wrong", 64)?;
        assert!(refused.text("/error/message")?.contains("not in force"));
        let refused = publish("missing", 64)?;
        assert!(refused.text("/error/message")?.contains("there is no policy"));
        Ok(())
    })
}

#[test]
fn what_a_lenient_site_cannot_honour_is_named_to_all_and_grants_nothing() -> Result<()> {
    Scene::play(|scene| {
        let mut supplier = scene.plan("b").setting("policy", "strict", "false").make()?;
        supplier.start()?;
        let Pair { supplier, mut customer } = Pair::of(supplier, scene.site("a")?)?;
        let paid = crate::stage::OPEN
            .replace("[[permit]]", "[[permit]]\nwhen = [\"meteredTime lteq PT1H\"]");
        let partly =
            format!("{paid}\n[[permit]]\nactions = [\"use\"]\nwhen = [\"purpose eq audit\"]\n");
        supplier.activate(&[("paid", &paid), ("partly", &partly)])?;
        supplier.publish(&note(scene, "one.txt", "one")?, "sold", "paid")?;
        supplier.publish(&note(scene, "two.txt", "two")?, "both", "partly")?;
        let checked = supplier.run(&["policy", "check"])?.expect(0)?;
        assert!(checked.stdout.contains("meteredTime"), "{}", checked.stdout);

        // What rests on the clause is not granted; what the policy permits besides is.
        let target = scene.file("got");
        let pull = |dataset, code| {
            let words = ["pull", "b", dataset, "-o", word(&target)?, "--purpose", "audit"];
            customer.run(&words)?.expect(code)
        };
        let refused = pull("sold", 77)?;
        assert!(!target.exists(), "{}", refused.stdout);
        pull("both", 0)?;

        // The site, the recipient, and whoever agrees are told.
        let named = |value: &Value| value.to_string().contains("meteredTime");
        let agreements = supplier.ask(&["agreement", "list"])?;
        let id = text(&agreements, "/agreements/0/id")?;
        assert!(named(&supplier.ask(&["agreement", "show", &id])?["not_honoured"]));
        assert!(named(&customer.ask(&["terms", word(&target)?])?));
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let request = connector.contract_request(&connector.offer("both")?, Some("audit"));
        assert_eq!(connector.post("/negotiations/request", &request)?.status, 201);
        let agreement = connector.expect("ContractAgreementMessage")?.body;
        assert!(named(&agreement["urn:sekisho:v1:notHonoured"]), "{agreement}");
        Ok(())
    })
}

#[test]
fn of_a_hundred_requests_at_once_as_many_succeed_as_are_allowed() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, mut customer } = Pair::new(scene)?;
        let ten =
            crate::stage::OPEN.replace("[[permit]]", "[[permit]]\nwhen = [\"count lteq 10\"]");
        supplier.activate(&[("ten", &ten)])?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "ten")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        // Counted over agreements: each half has its own.
        let agreements = [connector.negotiate("one", None)?, connector.negotiate("one", None)?];
        let requests: Vec<Value> = (0..100)
            .map(|number| connector.transfer_request(&agreements[number % agreements.len()]))
            .collect();
        let (few, many) = requests.split_at(4);
        let mut granted = at_once(&customer, &supplier, few)?;
        assert_eq!(granted, 4);
        supplier.kill()?;
        supplier.start()?;
        granted += at_once(&customer, &supplier, many)?;
        assert_eq!(granted, 10);
        assert_eq!(supplier.records("a", "transfer-granted")?.len(), 10);
        Ok(())
    })
}

/// Posts transfer requests, ten at a time, and counts those that are taken; the others must be refused by policy.
fn at_once(customer: &Site, supplier: &Site, requests: &[Value]) -> Result<usize> {
    let shares: Vec<&[Value]> = requests.chunks(requests.len().div_ceil(10)).collect();
    std::thread::scope(|scope| {
        let post = |share: &[Value]| -> Result<usize> {
            let peer = Peer::of(customer, supplier)?;
            let mut taken = 0;
            for request in share {
                let reply = peer.post("/dsp/2025-1/transfers/request", request)?;
                match reply.status {
                    201 => taken += 1,
                    status => {
                        let body = reply.json()?;
                        assert_eq!((status, &body["code"]), (400, &json!("policy")), "{body}");
                    }
                }
            }
            Ok(taken)
        };
        let workers: Vec<_> = shares.iter().map(|share| scope.spawn(move || post(share))).collect();
        let taken = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| anyhow::anyhow!("a request failed"))?);
        taken.sum()
    })
}

#[test]
fn what_the_administrator_declares_of_a_partner_decides() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let members = crate::stage::OPEN
            .replace("[[permit]]", "[[permit]]\nwhen = [\"Membership eq active\"]");
        pair.supplier.activate(&[("members", &members)])?;
        pair.supplier.publish(&note(scene, "one.txt", "one")?, "one", "members")?;
        let target = scene.file("got");
        let pull = ["pull", "b", "one", "-o", word(&target)?];
        assert_ne!(pair.customer.run(&pull)?.code, Some(0));
        assert!(!target.exists());

        let file = pair.supplier.path("partners").join("a.toml");
        let before = std::fs::read_to_string(&file)?;
        std::fs::write(&file, format!("{before}\n[attributes]\nMembership = [\"active\"]\n"))?;
        wait::until("the partner is a member", PATIENCE, || {
            Ok((pair.customer.run(&pull)?.code == Some(0)).then_some(()))
        })?;
        std::fs::remove_file(&target)?;

        std::fs::write(&file, before)?;
        wait::until("the partner is no member", PATIENCE, || {
            let refused = pair.customer.run(&[&pull[..], &["--force"]].concat())?.code != Some(0);
            Ok(refused.then_some(()))
        })?;
        Ok(())
    })
}

#[test]
fn a_group_whose_last_member_left_matches_nobody_and_is_warned_of() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        assert_eq!(supplier.ask(&["status"])?["policies"]["warnings"], json!([]));
        // The group `partners` has no member then.
        supplier.ask(&["partner", "remove", "a", "--yes"])?;
        let warned = supplier.ask(&["status"])?["policies"]["warnings"].clone();
        let problem = warned[0]["problem"].as_str().unwrap_or_default();
        assert!(problem.contains("`partners`"), "{warned}");
        let checked = supplier.ask(&["check"])?["warnings"].to_string();
        assert!(
            checked.contains("policies/open.toml:5: no partner is in a group `partners`"),
            "{checked}"
        );
        assert!(supplier.log()?.contains("policies.unknown_group"));
        supplier.restart()?;

        supplier.register(&customer, &["partners"])?;
        assert_eq!(supplier.ask(&["status"])?["policies"]["warnings"], json!([]));
        customer.ask(&["pull", "b", "one", "-o", word(&scene.file("got"))?])?;
        Ok(())
    })
}

/// An answer without what is random in it: the lengths stay.
fn masked(reply: &Reply) -> (u16, Vec<(String, String)>, String, usize) {
    let headers = reply
        .headers
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let text = match reply.json() {
        Ok(mut body) => {
            mask(&mut body);
            body.to_string()
        }
        Err(_) => String::from_utf8_lossy(&reply.body).into_owned(),
    };
    (reply.status, headers, text, reply.body.len())
}

fn mask(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("urn:uuid:") => *text = "id".to_owned(),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => members.values_mut().for_each(mask),
        _ => {}
    }
}
