//! Agreements that end, partners that leave, and agreements made elsewhere that are refused.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use integration_tests::connector::{Connector, text};
use integration_tests::files;
use integration_tests::scene::Scene;
use serde_json::{Value, json};

use crate::stage::{Pair, note, word};
use crate::transfer_steps::{agreement, import};

#[test]
fn the_end_of_an_agreement_cuts_what_runs_and_refuses_what_comes() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        let source = scene.file("source.bin");
        files::write(&source, 64 * 1024 * 1024, "source")?;
        supplier.publish(&source, "one", "open")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let agreed = connector.negotiate("one", None)?;
        let transfer = connector.transfer(&agreed)?;
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let mut data =
            connector.peer.open(Method::GET, &transfer.address.path, &headers, Bytes::new())?;
        assert_eq!(data.status, 200);
        data.chunk()?.context("no byte came")?;

        let ended = supplier.ask(&["agreement", "end", &agreed, "--reason", "contract ended"])?;
        assert_eq!(ended["agreement"]["state"], "ended");
        assert_eq!(ended["transfers"], json!([transfer.provider_pid]));
        let (_, whole) = data.drain();
        assert!(!whole, "the stream ended well");
        let told = connector.expect("TransferTerminationMessage")?.body;
        assert_eq!(
            (&told["code"], &told["reason"]),
            (&json!("agreement-ended"), &json!(["contract ended"]))
        );
        let later = connector.post("/transfers/request", &connector.transfer_request(&agreed))?;
        assert_eq!(later.status, 400, "{later:?}");
        assert_eq!(later.json()?["code"], "agreement-ended");
        let record = supplier.records("a", "agreement-ended")?.remove(0).to_string();
        assert!(record.contains("contract ended"), "{record}");
        // Again it changes nothing.
        let again = supplier.ask(&["agreement", "end", &agreed, "--reason", "again"])?;
        assert_eq!(again["ended_before"], true);
        assert_eq!(supplier.records("a", "agreement-ended")?.len(), 1);
        // Others go on, and new ones can be made.
        connector.transfer(&connector.negotiate("one", None)?)?;
        Ok(())
    })
}

#[test]
fn a_consumer_learns_that_an_agreement_has_ended_and_negotiates_another() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = scene.file("got.txt");
        let pull = ["pull", "b", "one", "-o", word(&target)?, "--force"];
        customer.ask(&pull)?;
        let list = customer.ask(&["agreement", "list"])?;
        let agreed = text(&list, "/agreements/0/id")?;
        supplier.ask(&["agreement", "end", &agreed, "--reason", "contract ended"])?;
        let refused = customer.run(&pull)?.expect(77)?;
        assert!(refused.stdout.contains("contract ended"), "{}", refused.stdout);
        let shown = customer.ask(&["agreement", "show", &agreed])?;
        assert_eq!(shown["state"], "ended", "both sides know: {shown}");
        customer.ask(&pull)?;
        assert_eq!(customer.ask(&["agreement", "list"])?["total"], 2);
        Ok(())
    })
}

#[test]
fn an_offboarded_partner_is_told_shut_out_and_accounted_for() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let target = scene.file("got.txt");
        customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        let holdings = customer.ask(&["partner", "holdings", "b"])?;
        let received = &holdings["holdings"][0];
        assert_eq!((&received["kind"], &received["partner"]), (&json!("received"), &json!("b")));
        assert_eq!(received["dataset"], "one");
        assert_eq!(received["sha256"], json!(files::sha256(&target)?));
        assert_eq!(received["kept"], "taken");
        assert!(received["since"].is_string(), "{received}");
        let count = |words: &[&str]| -> Result<Value> {
            Ok(customer.ask(&[&["partner", "holdings"], words].concat())?["total"].clone())
        };
        assert_eq!(count(&["--where", "kind=received", "--where", "size=3"])?, 1);
        assert_eq!(count(&["b", "--where", "kind!=received"])?, 0);
        customer.run(&["partner", "holdings", "nobody"])?.expect(66)?;
        // The journal is asked in the same way.
        let agreement = text(received, "/agreement")?;
        let criterion = format!("account.agreement={agreement}");
        let records = customer.ask(&["audit", "show", "--where", &criterion, "--limit", "2"])?;
        let shown = records["records"].as_array().map_or(0, Vec::len);
        assert_eq!((shown, records["total"].as_u64() > Some(2)), (2, true), "{records}");

        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let transfer = connector.transfer(&connector.negotiate("one", None)?)?;
        let offboard = ["partner", "offboard", "a", "--reason", "they left", "--yes"];
        let done = supplier.ask(&offboard)?;
        assert_eq!(done["partner"]["state"], "offboarded");
        assert_eq!(done["ended"]["agreements"].as_array().map(Vec::len), Some(2), "{done}");
        assert_eq!(done["ended"]["transfers"], json!([transfer.provider_pid]));
        assert_eq!(done["untold"], 0, "{done}");
        let given = done["holdings"].as_array().context("no report")?;
        assert!(given.iter().all(|one| one["kind"] == "given"), "{given:?}");
        assert_eq!(given.len(), 2);
        assert!(given.iter().any(|one| one["served_bytes"] == 3), "{given:?}");
        let told = connector.expect("TransferTerminationMessage")?.body;
        assert_eq!(told["reason"], json!(["they left"]));

        let later = connector.transfer_request("anything");
        let later = connector.post("/transfers/request", &later)?;
        assert_eq!((later.status, &later.json()?["code"]), (403, &json!("offboarded")));
        let headers = [("authorization", transfer.address.authorization.as_str())];
        assert_eq!(connector.peer.get(&transfer.address.path, &headers)?.status, 403);
        let record = supplier.records("a", "partner-offboarded")?.remove(0).to_string();
        assert!(record.contains("they left"), "{record}");
        // It stays out over a restart, and is let in again by a person only; the agreements stay ended.
        let mut supplier = supplier;
        supplier.restart()?;
        assert_eq!(supplier.ask(&["partner", "show", "a"])?["state"], "offboarded");
        supplier.ask(&["partner", "resume", "a"])?;
        connector.negotiate("one", None)?;
        Ok(())
    })
}

#[test]
fn an_agreement_made_elsewhere_is_validated_like_any_other() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        let good = agreement("ATP0101", "one", &supplier, &customer);
        let unknown = json!([{ "action": "use", "constraint": [
            { "leftOperand": "moonPhase", "operator": "eq", "rightOperand": "full" }
        ] }]);
        let with = |member: &str, value: Value| {
            let mut changed = good.clone();
            changed[member] = value;
            changed
        };
        let cases = [
            (with("permission", unknown), 77, "moonPhase"),
            (with("target", json!("nothing")), 66, "nothing"),
            (with("assigner", json!(customer.participant())), 64, "assigner"),
            (with("assignee", json!("did:web:elsewhere.example")), 64, "assignee"),
            (json!({ "@id": "x" }), 64, "agreement"),
        ];
        for (document, code, word_in_it) in cases {
            let file = note(scene, "bad.json", &document.to_string())?;
            let command = ["agreement", "import", word(&file)?, "--partner", "a"];
            let more = ["--side", "provider", "--reason", "paper"];
            let refused = supplier.run(&[&command[..], &more].concat())?.expect(code)?;
            assert!(refused.stdout.contains(word_in_it), "{}", refused.stdout);
        }
        assert!(supplier.records("a", "agreement-imported")?.is_empty());
        import(scene, &supplier, "a", "provider", &good, &[])?;
        import(scene, &supplier, "a", "provider", &good, &[])?;
        assert_eq!(supplier.records("a", "agreement-imported")?.len(), 1);
        let other = with("permission", json!([{ "action": "read" }]));
        let file = note(scene, "other.json", &other.to_string())?;
        let command = ["agreement", "import", word(&file)?, "--partner", "a"];
        let more = ["--side", "provider", "--reason", "paper"];
        supplier.run(&[&command[..], &more].concat())?.expect(64)?;
        // Both sides took it: a pull under it needs no negotiation.
        import(scene, &customer, "b", "consumer", &good, &[])?;
        let target = scene.file("got.txt");
        customer.ask(&["pull", "b", "one", "-o", word(&target)?])?;
        assert_eq!(std::fs::read_to_string(&target)?, "one");
        assert!(customer.records("b", "negotiation-requested")?.is_empty());
        Ok(())
    })
}
