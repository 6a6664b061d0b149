//! The management API as applications use it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use integration_tests::files;
use integration_tests::management::Management;
use integration_tests::peer::Peer;
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::stage::{OPEN, Pair, note, word};

/// A site without partners can have it.
const OPEN_TO_ALL: &str = "title = \"Open\"\ndescription = \"For all.\"\n[who]\nanyone-registered = true\n\
    [[permit]]\nactions = [\"use\"]\n";

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
        let of_kind = |kind: &str| -> Vec<Value> {
            before.iter().filter(|event| event["kind"] == kind).cloned().collect()
        };
        assert_eq!(of_kind("pull-delivered").len(), 1, "{before:?}");
        // Each message has its event, with the state that it led to, also where our own step went with it.
        for (site, kind, state) in [
            (&pair.supplier, "negotiation-requested", "REQUESTED"),
            (&pair.supplier, "negotiation-verified", "VERIFIED"),
            (&pair.supplier, "transfer-requested", "REQUESTED"),
            (&pair.supplier, "transfer-completed", "COMPLETED"),
            (&pair.customer, "negotiation-agreed", "AGREED"),
            (&pair.customer, "negotiation-finalized", "FINALIZED"),
            (&pair.customer, "transfer-started", "STARTED"),
        ] {
            let told = events(site, &["--kind", kind])?;
            let [event] = told.as_slice() else { panic!("{kind} at {}: {told:?}", site.name()) };
            assert_eq!((&event["state"], &event["dataset"]), (&json!(state), &json!("one")));
        }
        let text = serde_json::to_string(&before)?;
        assert!(!text.contains("sealed"), "no token is in an event, sealed or not: {text}");

        pair.customer.restart()?;
        let middle = &before[before.len() / 2]["position"];
        let middle = middle.as_str().context("an event has a position")?;
        let after = events(&pair.customer, &["--from", middle])?;
        // That the last message was taken may be told after the pull was.
        let known = &before[before.len() / 2 + 1..];
        assert_eq!(after.get(..known.len()), Some(known), "{after:?}");
        let kind = events(&pair.customer, &["--kind", "pull-delivered", "--partner", "b"])?;
        assert_eq!(kind, of_kind("pull-delivered"));

        // What follows comes in the order of the journal, while it happens.
        let last = before[before.len() - 1]["position"].as_str().context("a position")?;
        let following = pair.customer.begin(&["events", "--follow", "--from", last])?;
        let again = scene.file("again");
        pair.customer.ask(&["pull", "b", "one", "-o", word(&again)?])?;
        wait::until("the new pull is told to its end", PATIENCE, || {
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
const OTHERS: [(&str, &[&str]); 80] = [
    ("agreements.end", POLICY),
    ("agreements.import", POLICY),
    ("agreements.list", READERS_AND_APPLICATIONS),
    ("agreements.query", READERS_AND_APPLICATIONS),
    ("agreements.show", READERS_AND_APPLICATIONS),
    ("approvals.approve", POLICY),
    ("approvals.deny", POLICY),
    ("approvals.list", READERS),
    ("approvals.query", READERS),
    ("audit.newEpoch", NOBODY),
    ("audit.query", READERS),
    ("audit.records", READERS),
    ("audit.tail", READERS),
    ("audit.verify", READERS),
    ("catalog.ask", APPLICATIONS),
    ("clock.accept", NOBODY),
    ("data.get", APPLICATIONS),
    ("datasets.list", READERS),
    ("datasets.preview", POLICY),
    ("datasets.previewBatch", POLICY),
    ("datasets.publish", POLICY),
    ("datasets.publishBatch", POLICY),
    ("datasets.query", READERS),
    ("datasets.show", READERS),
    ("datasets.withdraw", POLICY),
    ("deadLetters.list", READERS),
    ("deadLetters.query", READERS),
    ("deadLetters.retry", POLICY),
    ("duties.fulfil", POLICY),
    ("duties.list", READERS_AND_APPLICATIONS),
    ("duties.query", READERS_AND_APPLICATIONS),
    ("events.follow", READERS_AND_APPLICATIONS),
    ("holdings.list", READERS),
    ("holdings.query", READERS),
    ("keys.create", NOBODY),
    ("keys.list", NOBODY),
    ("keys.query", NOBODY),
    ("keys.revoke", NOBODY),
    ("negotiations.accept", POLICY_AND_APPLICATIONS),
    ("negotiations.agree", POLICY_AND_APPLICATIONS),
    ("negotiations.begin", POLICY_AND_APPLICATIONS),
    ("negotiations.finalize", POLICY_AND_APPLICATIONS),
    ("negotiations.list", READERS_AND_APPLICATIONS),
    ("negotiations.offer", POLICY_AND_APPLICATIONS),
    ("negotiations.query", READERS_AND_APPLICATIONS),
    ("negotiations.request", POLICY_AND_APPLICATIONS),
    ("negotiations.show", READERS_AND_APPLICATIONS),
    ("negotiations.terminate", POLICY_AND_APPLICATIONS),
    ("negotiations.verify", POLICY_AND_APPLICATIONS),
    ("partners.add", NOBODY),
    ("partners.check", NOBODY),
    ("partners.list", READERS_AND_APPLICATIONS),
    ("partners.offboard", NOBODY),
    ("partners.preview", NOBODY),
    ("partners.query", READERS_AND_APPLICATIONS),
    ("partners.remove", NOBODY),
    ("partners.resume", NOBODY),
    ("partners.show", READERS),
    ("partners.suspend", NOBODY),
    ("policies.activate", POLICY),
    ("policies.history", READERS),
    ("policies.queryHistory", READERS),
    ("policies.rollback", POLICY),
    ("policies.show", READERS),
    ("policies.terms", READERS),
    ("prohibitions.infringed", POLICY),
    ("pulls.begin", APPLICATIONS),
    ("pulls.cancel", APPLICATIONS),
    ("pulls.content", APPLICATIONS),
    ("pulls.delivered", APPLICATIONS),
    ("pulls.list", READERS_AND_APPLICATIONS),
    ("pulls.provenance", APPLICATIONS),
    ("pulls.query", READERS_AND_APPLICATIONS),
    ("pulls.show", READERS_AND_APPLICATIONS),
    ("status.show", READERS),
    ("transfers.begin", POLICY_AND_APPLICATIONS),
    ("transfers.list", READERS_AND_APPLICATIONS),
    ("transfers.query", READERS_AND_APPLICATIONS),
    ("transfers.show", READERS_AND_APPLICATIONS),
    ("transfers.step", POLICY_AND_APPLICATIONS),
];
const NOBODY: &[&str] = &[];
const READERS: &[&str] = &["policy-administrator", "auditor"];
const READERS_AND_APPLICATIONS: &[&str] = &["policy-administrator", "auditor", "application"];
const POLICY_AND_APPLICATIONS: &[&str] = &["policy-administrator", "application"];
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

#[test]
fn one_call_gives_an_application_its_data_and_nothing_else() -> Result<()> {
    Scene::play(|scene| {
        let address = ports::free()?;
        let customer = scene.plan("a").setting("management", "bind", &address.to_string());
        let mut customer = customer.make()?;
        customer.start()?;
        let pair = Pair::of(scene.site("b")?, customer)?;
        let source = note(scene, "one.txt", "0123456789")?;
        pair.supplier.publish(&source, "one", "reporting")?;
        pair.supplier.publish(&source, "two", "open")?;
        pair.supplier.publish(&source, "three", "reporting")?;
        let limits =
            ["--role", "application", "--partner", "b", "--purpose", "audit", "--dataset", "one"];
        let bearer = format!("Bearer {}", key(&pair.customer, "reports", &limits)?);
        let peer = Peer::new(None, address)?;
        let get = |path: &str, more: &[(&str, &str)]| {
            let mut head = vec![("authorization", bearer.as_str())];
            head.extend(more);
            peer.get(path, &head)
        };
        let path = "/v1/data/b/one?purpose=audit";
        let first = get(path, &[])?;
        assert_eq!(
            (first.status, first.body.as_ref()),
            (200, b"0123456789".as_slice()),
            "{first:?}"
        );
        let digest = files::sha256(&source)?;
        let tag = format!("\"{digest}\"");
        assert_eq!(first.header("etag"), tag);
        assert!(first.header("repr-digest").starts_with("sha-256=:"));
        let range = get(path, &[("range", "bytes=4-5"), ("if-range", &tag)])?;
        assert_eq!((range.status, range.body.as_ref()), (206, b"45".as_slice()));
        let changed = get(path, &[("range", "bytes=4-5"), ("if-range", "\"other\"")])?;
        assert_eq!(changed.status, 200, "a range of other bytes is none");
        assert_eq!(get(path, &[("if-none-match", &tag)])?.status, 304);
        let link = first.header("link");
        let evidence = link.split(['<', '>']).nth(1).context("a link to the evidence")?;
        assert_eq!(get(evidence, &[])?.status, 200);
        // All that was one use, of one agreement.
        assert_eq!(pair.customer.ask(&["agreement", "list"])?["total"], 1);
        assert_eq!(pair.supplier.ask(&["transfer", "list"])?["total"], 1);

        for outside in [
            "/v1/data/b/one",
            "/v1/data/b/one?purpose=cfp-reporting",
            "/v1/data/b/three?purpose=audit",
        ] {
            assert_eq!(get(outside, &[])?.status, 403, "{outside}");
        }
        pair.customer.ask(&["pull", "b", "two", "-o", word(&scene.file("two"))?])?;
        let query = |name: &str, more: &Value| -> Result<Value> {
            let path = format!("/v1/{name}/query");
            let head = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let body = Bytes::from(more.to_string());
            peer.send(Method::POST, &path, &head, body)?.json()
        };
        for list in ["agreements", "transfers", "pulls"] {
            let seen = query(list, &json!({}))?;
            assert_eq!(
                seen["total"], 1,
                "{list}: what is outside of the scope is not seen: {seen}"
            );
            assert_eq!(seen["items"][0]["dataset"], "one");
        }
        let told = get("/v1/events?from=start&follow=false", &[])?;
        let told = String::from_utf8(told.body.to_vec())?;
        assert!(
            told.contains("\"dataset\":\"one\"") && !told.contains("\"dataset\":\"two\""),
            "{told}"
        );

        Ok(())
    })
}

#[test]
fn a_key_that_asks_too_often_is_refused_and_others_are_not() -> Result<()> {
    Scene::play(|scene| {
        let address = ports::free()?;
        let plan = scene.plan("a").setting("management", "bind", &address.to_string());
        let mut site =
            plan.setting("management", "max_requests_per_key_per_second_count", "1").make()?;
        site.start()?;
        let peer = Peer::new(None, address)?;
        let greedy = key(&site, "greedy", &["--role", "application"])?;
        let modest = key(&site, "modest", &["--role", "application"])?;
        let bearer = format!("Bearer {greedy}");
        let head = [("authorization", bearer.as_str())];
        // A key may use up three seconds at once.
        let mut answers = Vec::new();
        for _ in 0..40 {
            answers.push(peer.get("/v1/partners", &head)?);
        }
        assert_eq!(answers[0].status, 200);
        let refused = answers.iter().find(|answer| answer.status == 429);
        let refused = refused.context("the flood is refused")?;
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)));
        let error = refused.json()?["error"].clone();
        assert!(error["message"].as_str().context("why")?.contains("`greedy`"), "{error}");
        assert!(error["help"].as_str().context("what to do")?.contains("per_second"), "{error}");
        assert_eq!(status(&peer, "GET", "/v1/partners", &modest)?, 200);
        let records = wait::until("the refusals are recorded", PATIENCE, || {
            let records = site.records("site", "management-refused")?;
            Ok((!records.is_empty()).then_some(records))
        })?;
        assert_eq!(records[0]["account"]["node"], "key greedy");
        assert!(records.len() < 40, "a flood is summed up: {}", records.len());
        Ok(())
    })
}

#[test]
fn lists_take_criteria_and_follow_cursors() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let source = note(scene, "x", "x")?;
        for id in ["one", "two"] {
            pair.supplier.publish(&source, id, "open")?;
            pair.customer.ask(&["pull", "b", id, "-o", word(&scene.file(id))?])?;
        }
        let ask = |words: &[&str]| pair.customer.ask(words);
        for (kind, criterion) in [
            ("agreement", "state=in force"),
            ("transfer", "state=COMPLETED"),
            ("negotiation", "state=FINALIZED"),
        ] {
            let name = format!("{kind}s");
            let all = ask(&[kind, "list", "--where", criterion, "--where", "partner=b"])?;
            assert_eq!(all["total"], 2, "{kind}: {all}");
            let datasets = |list: &Value| -> Vec<String> {
                let items = list[&name].as_array().into_iter().flatten();
                items.filter_map(|item| Some(item["dataset"].as_str()?.to_owned())).collect()
            };
            assert_eq!(datasets(&all), ["one", "two"], "{kind}: the newest last");
            let one = ask(&[kind, "list", "--where", "dataset!=one"])?;
            assert_eq!(datasets(&one), ["two"], "{kind}");
            let newest = ask(&[kind, "list", "--limit", "1"])?;
            assert_eq!((datasets(&newest), &newest["total"]), (vec!["two".to_owned()], &json!(2)));
            let ordered = ask(&[kind, "list", "--order", "-dataset"])?;
            assert_eq!(datasets(&ordered), ["two", "one"], "{kind}");
            let none = ask(&[kind, "list", "--where", "partner=nobody"])?;
            assert_eq!(none["total"], 0, "{kind}");
        }
        pair.customer.run(&["transfer", "list", "--where", "state"])?.expect(64)?;
        pair.customer.run(&["transfer", "list", "--limit", "0"])?.expect(64)?;
        Ok(())
    })
}

#[test]
fn every_list_is_paged_in_its_own_order_and_knows_what_its_documents_have() -> Result<()> {
    Scene::play(|scene| {
        let pair = Pair::new(scene)?;
        let fleeting = format!("{}[[duty]]\naction = \"delete\"\nwithin = \"PT12H\"\n", OPEN);
        pair.supplier.activate(&[("fleeting", &fleeting)])?;
        let source = note(scene, "x", "x")?;
        for id in ["one", "two", "three"] {
            pair.supplier.publish(&source, id, "fleeting")?;
            pair.customer.ask(&["pull", "b", id, "-o", word(&scene.file(id))?])?;
        }
        for name in ["one", "two"] {
            key(&pair.supplier, name, &["--role", "auditor"])?;
        }
        let runtime = tokio::runtime::Runtime::new()?;
        let lists = [
            (&pair.customer, "negotiations", "state", 3),
            (&pair.customer, "agreements", "state", 3),
            (&pair.customer, "transfers", "state", 3),
            (&pair.customer, "pulls", "step", 3),
            (&pair.customer, "duties", "state", 3),
            (&pair.supplier, "datasets", "state", 3),
            (&pair.supplier, "partners", "state", 1),
            (&pair.supplier, "approvals", "kind", 0),
            (&pair.supplier, "dead-letters", "code", 0),
            (&pair.supplier, "keys", "role", 2),
        ];
        for (site, list, member, expected) in lists {
            let management = Management::of(site);
            let ask = |path: &str, body: Value| -> Result<(u16, Value)> {
                let path = format!("/v1/{list}{path}");
                let asked = management.post_bytes(&path, body.to_string().into());
                let (status, answer) = runtime.block_on(asked)?;
                Ok((status.as_u16(), answer))
            };
            let is = |value: Value| json!({ "field": member, "operator": "=", "value": value });
            // Whatever is listed has some state: one of the two holds of everything.
            let filter =
                json!({ "or": [is(json!("moon")), { "not": { "and": [is(json!("moon"))] } }] });
            let (status, whole) = ask("/query", json!({ "filter": filter }))?;
            assert_eq!((status, &whole["total"]), (200, &json!(expected)), "{list}: {whole}");
            let mut paged = Vec::new();
            let mut cursor = Value::Null;
            loop {
                let (status, page) =
                    ask("/query", json!({ "filter": filter, "limit": 1, "cursor": cursor }))?;
                assert_eq!((status, &page["total"]), (200, &json!(expected)), "{list}: {page}");
                paged.extend(page["items"].as_array().cloned().unwrap_or_default());
                cursor = page["next"].clone();
                if cursor.is_null() || paged.len() > expected {
                    break;
                }
            }
            assert_eq!(json!(paged), whole["items"], "{list}");
            let (_, none) =
                ask("/query", json!({ "filter": { "and": [filter, is(json!("moon"))] } }))?;
            assert_eq!(none["total"], 0, "{list}");
            for wrong in [
                json!({ "filter": { "field": "moon", "operator": "!=", "value": 1 } }),
                json!({ "filter": { "not": { "field": "moon", "operator": "=", "value": 1 } } }),
                json!({ "order": "-moon" }),
                json!({ "limit": 0 }),
            ] {
                let (status, refused) = ask("/query", wrong.clone())?;
                assert_eq!(status, 400, "{list} {wrong}: {refused}");
                let help = &refused["error"]["help"];
                let told = wrong["limit"] == 0 || help.to_string().contains(member);
                assert!(told, "{list} {wrong}: {refused}");
            }
        }
        Ok(())
    })
}

#[test]
fn pages_of_a_query_neither_lose_nor_repeat_what_stays() -> Result<()> {
    Scene::play(|scene| {
        let (site, address) = remote(scene)?;
        site.activate(&[("hidden", OPEN_TO_ALL)])?;
        let source = note(scene, "x", "x")?;
        for number in 0..7 {
            site.publish(&source, &format!("d{number}"), "hidden")?;
        }
        let peer = Peer::new(None, address)?;
        let bearer = format!("Bearer {}", key(&site, "auditor", &["--role", "auditor"])?);
        let query = |body: Value| -> Result<(u16, Value)> {
            let head = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let body = Bytes::from(body.to_string());
            let reply = peer.send(Method::POST, "/v1/datasets/query", &head, body)?;
            Ok((reply.status, reply.json()?))
        };
        let filter = json!({ "not": { "field": "id", "operator": "in", "value": ["d3", "d4"] } });
        let (_, page) = query(json!({ "filter": filter, "order": "-id", "limit": 2 }))?;
        assert_eq!(ids(&page), ["d6", "d5"]);
        assert_eq!(page["total"], 5);
        // What comes in between moves nothing that is still to be shown.
        site.publish(&source, "d9", "hidden")?;
        let (_, page) =
            query(json!({ "filter": filter, "order": "-id", "limit": 2, "cursor": page["next"] }))?;
        assert_eq!(ids(&page), ["d2", "d1"]);
        let (_, last) =
            query(json!({ "filter": filter, "order": "-id", "limit": 2, "cursor": page["next"] }))?;
        assert_eq!(ids(&last), ["d0"]);
        assert_eq!(last["next"], Value::Null);
        let (status, _) = query(json!({ "order": "id", "cursor": page["next"] }))?;
        assert_eq!(status, 400, "a cursor belongs to its order");
        let (status, refused) = query(json!({ "filter": { "xor": [] } }))?;
        assert_eq!(status, 400);
        assert!(refused["error"]["help"].as_str().context("help")?.contains("and"));
        Ok(())
    })
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().into_iter().flatten().filter_map(|item| item["id"].as_str()).collect()
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
