//! Terms that are for certain applications: the recipient's node hands the data to those, and to nobody else.

use anyhow::{Context as _, Result};
use integration_tests::peer::{Peer, Reply};
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::wait::{self, PATIENCE};
use serde_json::Value;

use crate::stage::{OPEN, Pair, note, word};

const SOLVER: &str = "https://a.example/apps/solver";
const VIEWER: &str = "https://a.example/apps/viewer";

/// A recipient with two applications and a key that is for none.
struct Applications {
    pair: Pair,
    peer: Peer,
    solver: String,
    viewer: String,
    anonymous: String,
}

impl Applications {
    fn new(scene: &Scene) -> Result<Self> {
        let address = ports::free()?;
        let mut customer =
            scene.plan("a").setting("management", "bind", &address.to_string()).make()?;
        customer.start()?;
        let pair = Pair::of(scene.site("b")?, customer)?;
        let key = |name: &str, identifier: Option<&str>| -> Result<String> {
            let words = ["key", "create", name, "--role", "application"];
            let more = identifier.map_or_else(Vec::new, |iri| vec!["--application", iri]);
            let made = pair.customer.ask(&words.into_iter().chain(more).collect::<Vec<_>>())?;
            assert_eq!(made["key"]["application"].as_str(), identifier);
            Ok(format!("Bearer {}", made["text"].as_str().context("the key is shown")?))
        };
        let (solver, viewer) = (key("solver", Some(SOLVER))?, key("viewer", Some(VIEWER))?);
        let anonymous = key("reports", None)?;
        Ok(Self { peer: Peer::new(None, address)?, pair, solver, viewer, anonymous })
    }

    fn publish(&self, scene: &Scene, name: &str, policy: &str) -> Result<()> {
        self.pair.supplier.activate(&[(name, policy)])?;
        self.pair.supplier.publish(&note(scene, name, name)?, name, name)?;
        Ok(())
    }

    fn get(&self, key: &str, path: &str) -> Result<Reply> {
        self.peer.get(path, &[("authorization", key)])
    }
}

fn permit(condition: &str) -> String {
    OPEN.replace("[[permit]]", &format!("[[permit]]\nwhen = [\"{condition}\"]"))
}

fn prohibit(condition: &str) -> String {
    let prohibition = format!("[[prohibit]]\nactions = [\"use\"]\nwhen = [\"{condition}\"]\n");
    format!("conflict = \"prohibit\"\n{OPEN}{prohibition}")
}

#[test]
fn data_go_to_the_applications_that_the_terms_name() -> Result<()> {
    Scene::play(|scene| {
        let all = Applications::new(scene)?;
        // policy, and whether the solver, the viewer and one who is not known as an application get it
        let table = [
            ("open-to-all", OPEN.to_owned(), [true, true, true]),
            ("solver-only", permit(&format!("APPLICATION eq {SOLVER}")), [true, false, false]),
            ("not-viewer", prohibit(&format!("APPLICATION eq {VIEWER}")), [true, false, false]),
            (
                "either",
                permit(&format!("APPLICATION isAnyOf [{SOLVER}, {VIEWER}]")),
                [true, true, false],
            ),
            ("neither", permit("APPLICATION eq urn:app:other"), [false, false, false]),
        ];
        for (name, policy, expected) in &table {
            all.publish(scene, name, policy)?;
            let keys = [&all.solver, &all.viewer, &all.anonymous];
            for (key, is_given) in keys.into_iter().zip(expected) {
                let reply = all.get(key, &format!("/v1/data/b/{name}"))?;
                if *is_given {
                    assert_eq!(
                        (reply.status, reply.body.as_ref()),
                        (200, name.as_bytes()),
                        "{reply:?}"
                    );
                    continue;
                }
                assert_eq!(reply.status, 403, "{name}: {reply:?}");
                let error = reply.json()?["error"].clone();
                assert_eq!(error["kind"], "policy", "{error}");
                assert!(error["message"].to_string().contains("APPLICATION"), "{error}");
                assert!(error["help"].to_string().contains("sekisho key"), "{error}");
            }
        }

        // It is the copy that is judged, by whatever way it is asked for.
        let given = all.get(&all.solver, "/v1/data/b/solver-only")?;
        let content = given.header("content-location").to_owned();
        assert_eq!(all.get(&all.solver, &content)?.status, 200);
        assert_eq!(all.get(&all.viewer, &content)?.status, 403);
        let target = scene.file("by-hand");
        let customer = &all.pair.customer;
        let by_hand =
            customer.run(&["pull", "b", "solver-only", "-o", word(&target)?])?.expect(77)?;
        assert!(by_hand.text("/error/message")?.contains("APPLICATION eq"));
        assert!(!target.exists());

        // The refusals are in the journal, with the clause and who asked.
        let records = customer.records("site", "management-refused")?;
        let told = |who: &str| {
            let of = |record: &&Value| record.to_string().contains(who);
            records.iter().any(|record| of(&record) && record.to_string().contains("APPLICATION"))
        };
        assert!(told("key viewer") && told("key reports") && told("local"), "{records:?}");
        Ok(())
    })
}

#[test]
fn a_partner_whose_node_does_not_ask_gets_no_such_offer() -> Result<()> {
    Scene::play(|scene| {
        let all = Applications::new(scene)?;
        all.publish(scene, "solver-only", &permit(&format!("APPLICATION eq {SOLVER}")))?;
        let supplier = &all.pair.supplier;
        let permitted = |more: &[&str]| -> Result<bool> {
            let words = ["policy", "explain", "--partner", "a", "--dataset", "solver-only"];
            let words: Vec<&str> = words.into_iter().chain(more.iter().copied()).collect();
            Ok(supplier.run(&words)?.last()?["permitted"] == true)
        };
        assert!(permitted(&[])? && permitted(&["--application", SOLVER])?);
        assert!(!permitted(&["--application", VIEWER])?);
        let shown = supplier.ask(&["policy", "show", "solver-only"])?;
        assert!(shown.to_string().contains("enforced at the recipient"), "{shown}");

        let file = supplier.path("partners").join("a.toml");
        let before = std::fs::read_to_string(&file)?;
        let after = before.replace("\"hand-over/1\", ", "");
        assert_ne!(before, after, "{before}");
        let new = file.with_extension("new");
        std::fs::write(&new, after)?;
        std::fs::rename(&new, &file)?;
        wait::until("the partner's file is in force", PATIENCE, || {
            Ok((!permitted(&[])?).then_some(()))
        })?;
        assert!(!permitted(&["--application", SOLVER])?);
        let reply = all.get(&all.solver, "/v1/data/b/solver-only")?;
        assert_eq!(reply.status, 404, "{reply:?}");
        Ok(())
    })
}
