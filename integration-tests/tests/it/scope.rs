//! What an application with a limited key can see and do: its own partners, purposes and datasets, and not even whether
//! there is anything else.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Method;
use integration_tests::connector::{encode, urn};
use integration_tests::peer::{Peer, Reply};
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use serde_json::{Value, json};

use crate::stage::{OPEN, note, word};

/// For two purposes, and to be erased some time.
const FOR_PURPOSES: &str = r#"
title = "For purposes"
description = "Partners may use the data for their reports, for half a day."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
when = ["purpose isAnyOf [cfp-reporting, audit]"]
[[duty]]
action = "delete"
within = "PT12H"
"#;

/// What the key is for: the partner, the dataset and the purpose.
const OWN: (&str, &str, &str) = ("b", "one", "audit");
/// What else there is, one thing different in each: the partner, the dataset, the purpose.
const OTHERS: [(&str, &str, &str); 3] =
    [("c", "one", "audit"), ("b", "two", "audit"), ("b", "one", "cfp-reporting")];
/// The lists that applications have, but for that of partners.
const LISTS: [&str; 5] = ["negotiations", "agreements", "transfers", "pulls", "duties"];

/// A request: its method, path and body.
type Asked = (Method, String, Value);

/// A customer with one exchange that a key is for and three that it is not for.
struct Scoped {
    customer: Site,
    peer: Peer,
    bearer: String,
    /// The ids of what is in each list, of what the key is for and of the rest.
    own: BTreeMap<&'static str, BTreeSet<String>>,
    others: BTreeMap<&'static str, BTreeSet<String>>,
    _suppliers: [Site; 2],
}

impl Scoped {
    fn new(scene: &Scene) -> Result<Self> {
        let address = ports::free()?;
        let mut customer = scene
            .plan("a")
            .setting("management", "bind", &address.to_string())
            .setting("management", "max_requests_per_key_per_second_count", "10000")
            .make()?;
        customer.start()?;
        let suppliers = [scene.site("b")?, scene.site("c")?];
        let source = note(scene, "one.txt", "one")?;
        for supplier in &suppliers {
            befriend(supplier, &customer)?;
            supplier.activate(&[("purposes", FOR_PURPOSES), ("open", OPEN)])?;
            supplier.publish(&source, "one", "purposes")?;
            supplier.publish(&source, "two", "purposes")?;
        }
        let ids = |list: &str| -> Result<BTreeSet<String>> {
            let command = [list.trim_end_matches('s').replace("dutie", "duty"), "list".to_owned()];
            let command =
                if list == "pulls" { ["pulls".to_owned(), "list".to_owned()] } else { command };
            let listed = customer.ask(&command)?;
            let items = listed[list].as_array().with_context(|| format!("no {list}: {listed}"))?;
            items.iter().map(|item| Ok(item["id"].as_str().context("an id")?.to_owned())).collect()
        };
        let mut own = BTreeMap::new();
        for (number, (partner, dataset, purpose)) in [OWN].iter().chain(&OTHERS).enumerate() {
            let target = scene.file(&format!("got-{number}"));
            let pull = ["pull", partner, dataset, "--purpose", purpose, "-o", word(&target)?];
            customer.ask(&pull)?;
            if number == 0 {
                own =
                    LISTS.into_iter().map(|list| Ok((list, ids(list)?))).collect::<Result<_>>()?;
            }
        }
        let rest = |list| Ok((list, ids(list)?.difference(&own[list]).cloned().collect()));
        let others: BTreeMap<_, BTreeSet<_>> =
            LISTS.into_iter().map(rest).collect::<Result<_>>()?;
        for list in LISTS {
            ensure!(own[list].len() == 1 && others[list].len() == 3, "{list}: {own:?} {others:?}");
        }
        let (partner, dataset, purpose) = OWN;
        let made = customer.ask(&[
            "key",
            "create",
            "reports",
            "--role",
            "application",
            "--partner",
            partner,
            "--dataset",
            dataset,
            "--purpose",
            purpose,
        ])?;
        let bearer = format!("Bearer {}", made["text"].as_str().context("the key")?);
        let peer = Peer::new(None, address)?;
        Ok(Self { customer, peer, bearer, own, others, _suppliers: suppliers })
    }

    /// A request with the key.
    fn send(&self, method: &Method, path: &str, body: &Value) -> Result<Reply> {
        let head = [("authorization", self.bearer.as_str()), ("content-type", "application/json")];
        let body = if *method == Method::GET { String::new() } else { body.to_string() };
        self.peer.send(method.clone(), path, &head, Bytes::from(body))
    }

    /// The same, as status and text.
    fn raw(&self, method: &Method, path: &str, body: &Value) -> Result<(u16, String)> {
        let reply = self.send(method, path, body)?;
        Ok((reply.status, String::from_utf8(reply.body.to_vec())?))
    }

    /// A request that names nothing that the key is not for: no more does the answer.
    fn ask(&self, method: &Method, path: &str, body: &Value) -> Result<Reply> {
        let reply = self.send(method, path, body)?;
        let text = String::from_utf8_lossy(&reply.body);
        let others = self.others.values().flatten().map(String::as_str);
        for name in others.chain(["did:web:c.example"]).filter(|name| !path.contains(&encode(name)))
        {
            ensure!(!text.contains(name), "{path} names `{name}`: {text}");
        }
        Ok(reply)
    }
}

fn ids(page: &Value) -> BTreeSet<String> {
    let items = page["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["id"].as_str()).map(str::to_owned).collect()
}

#[test]
fn lists_counts_and_events_hold_what_a_key_is_for_and_nothing_else() -> Result<()> {
    Scene::play(|scene| {
        let scoped = Scoped::new(scene)?;
        for list in LISTS {
            let (own, others) = (&scoped.own[list], &scoped.others[list]);
            let page = scoped.ask(&Method::GET, &format!("/v1/{list}"), &Value::Null)?.json()?;
            assert_eq!((ids(&page), &page["total"]), (own.clone(), &json!(1)), "{list}");
            let query = format!("/v1/{list}/query");
            for more in [
                json!({}),
                json!({ "order": "id", "count": false }),
                json!({ "order": "-dataset" }),
            ] {
                let page = scoped.ask(&Method::POST, &query, &more)?.json()?;
                assert_eq!(ids(&page), *own, "{list} {more}");
                assert_eq!(page["next"], Value::Null, "{list} {more}");
            }
            // Who guesses an id, or what is said of one, is told of none.
            for id in others {
                for filter in [
                    json!({ "field": "id", "operator": "=", "value": id }),
                    json!({ "field": "id", "operator": "in", "value": [id] }),
                    json!({ "not": { "field": "partner", "operator": "=", "value": "b" } }),
                ] {
                    let page =
                        scoped.ask(&Method::POST, &query, &json!({ "filter": filter }))?.json()?;
                    assert_eq!(
                        (ids(&page).len(), &page["total"]),
                        (0, &json!(0)),
                        "{list} {filter}"
                    );
                }
            }
        }
        let partners = scoped.ask(&Method::GET, "/v1/partners", &Value::Null)?.json()?;
        assert_eq!((&partners["total"], &partners["items"][0]["name"]), (&json!(1), &json!("b")));
        let told = scoped.ask(&Method::GET, "/v1/events?from=start&follow=false", &Value::Null)?;
        let told = String::from_utf8(told.body.to_vec())?;
        let told: Vec<Value> = told
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        assert!(told.iter().any(|event| event["kind"] == "pull-delivered"), "{told:?}");
        for event in &told {
            assert_eq!(
                (&event["partner"], &event["dataset"]),
                (&json!("b"), &json!("one")),
                "{event}"
            );
            assert_eq!(event["purpose"], "audit", "{event}");
        }
        Ok(())
    })
}

/// What each route that names one thing is sent, so that nothing but the thing is wrong with it.
fn body(route: &str) -> Value {
    match route {
        "negotiations.request" => json!({ "terms": { "permission": [{ "action": "use" }] } }),
        _ => json!({}),
    }
}

#[test]
fn what_a_key_is_not_for_is_answered_as_what_does_not_exist() -> Result<()> {
    Scene::play(|scene| {
        let scoped = Scoped::new(scene)?;
        let document: Value = scoped.customer.ask(&["openapi"])?;
        let before = scoped.customer.ask(&["events"])?;
        let mut tried = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().context("paths")? {
            let Some(list) =
                LISTS.into_iter().find(|list| path.starts_with(&format!("/v1/{list}/{{")))
            else {
                continue;
            };
            for (method, operation) in methods.as_object().context("methods")? {
                let name = operation["operationId"].as_str().context("a name")?;
                let roles = operation["security"][0]["key"].as_array().context("roles")?;
                if !roles.contains(&json!("application")) {
                    continue;
                }
                tried.insert(name.to_owned());
                let method: Method = method.to_uppercase().parse()?;
                let path = path.replace("{step}", "terminate");
                let ask = |id: &str| {
                    let path = path.replace("{pid}", &encode(id)).replace("{id}", &encode(id));
                    let (status, text) = scoped.raw(&method, &path, &body(name))?;
                    Ok::<_, anyhow::Error>((status, text.replace(id, "ID")))
                };
                // Of the same form as the ids of what there is.
                let unknown = if list == "pulls" { urn().replace("urn:uuid:", "") } else { urn() };
                let expected = ask(&unknown)?;
                assert_eq!(expected.0, 404, "{name}: {expected:?}");
                for id in &scoped.others[list] {
                    assert_eq!(ask(id)?, expected, "{name} {id}");
                }
            }
        }
        assert_eq!(tried.len(), 16, "a route for applications that is not in this test: {tried:?}");

        // Partners: who is registered and who is not is one.
        let begin = |path: &'static str, more: Value| {
            move |partner: &str| {
                let mut body = more.clone();
                body["partner"] = json!(partner);
                (Method::POST, path.to_owned(), body)
            }
        };
        let agreement = scoped.own["agreements"].first().context("an agreement")?.clone();
        let named: [&dyn Fn(&str) -> Asked; 6] = [
            &begin("/v1/catalog", json!({})),
            &begin("/v1/pulls", json!({ "dataset": "one", "purpose": "audit", "wait_seconds": 1 })),
            &begin(
                "/v1/negotiations",
                json!({ "role": "consumer", "dataset": "one", "purpose": "audit" }),
            ),
            &begin("/v1/transfers", json!({ "agreement": agreement })),
            &|partner| (Method::GET, format!("/v1/data/{partner}/one?purpose=audit"), Value::Null),
            &|partner| {
                (Method::GET, format!("/v1/events?follow=false&partner={partner}"), Value::Null)
            },
        ];
        for asked in named {
            let answered = |partner: &str| {
                let (method, path, body) = asked(partner);
                let (status, text) = scoped.raw(&method, &path, &body)?;
                Ok::<_, anyhow::Error>((status, text.replace(&format!("`{partner}`"), "`NAME`")))
            };
            let expected = answered("nobody")?;
            assert_eq!(expected.0, 404, "{expected:?}");
            for partner in ["c", "did:web:c.example"] {
                assert_eq!(answered(partner)?, expected);
            }
        }

        // Datasets and purposes: refused alike, whether the partner offers them or not.
        let data = |dataset: &str, purpose: &str| {
            let path = format!("/v1/data/b/{dataset}?purpose={purpose}");
            Ok::<_, anyhow::Error>(scoped.ask(&Method::GET, &path, &Value::Null)?.status)
        };
        assert_eq!((data("two", "audit")?, data("never", "audit")?), (403, 403));
        assert_eq!((data("one", "cfp-reporting")?, data("one", "never")?), (403, 403));
        // An agreement of another purpose is none, for a transfer as well.
        let begun = |agreement: &str| {
            let body = json!({ "partner": "b", "agreement": agreement });
            let (status, text) = scoped.raw(&Method::POST, "/v1/transfers", &body)?;
            Ok::<_, anyhow::Error>((status, text.replace(agreement, "ID")))
        };
        let expected = begun(&urn())?;
        assert_eq!(expected.0, 404, "{expected:?}");
        for id in &scoped.others["agreements"] {
            assert_eq!(begun(id)?, expected);
        }
        // Nothing of all that did anything.
        assert_eq!(scoped.customer.ask(&["events"])?, before);
        Ok(())
    })
}

#[test]
fn an_application_offers_and_agrees_to_what_policies_publish_alone() -> Result<()> {
    Scene::play(|scene| {
        let scoped = Scoped::new(scene)?;
        scoped.customer.activate(&[("open", OPEN)])?;
        scoped.customer.publish(&note(scene, "ours.txt", "ours")?, "one", "open")?;
        let terms = json!({ "permission": [{ "action": "distribute" }] });
        let offer = json!({ "partner": "b", "role": "provider", "dataset": "one", "purpose": "audit", "terms": terms });
        let refused = scoped.ask(&Method::POST, "/v1/negotiations", &offer)?;
        assert_eq!(refused.status, 403, "{refused:?}");
        let why = refused.json()?["error"]["help"].as_str().context("help")?.to_owned();
        assert!(why.contains("policy-administrator"), "{why}");
        // As a consumer it may ask for other terms, within its purposes.
        let other = json!({ "permission": [{ "action": "use", "constraint": [
            { "leftOperand": "purpose", "operator": "eq", "rightOperand": "cfp-reporting" },
        ]}]});
        let request = json!({
            "partner": "b", "role": "consumer", "dataset": "one", "purpose": "audit", "terms": other, "offer": urn(),
        });
        let refused = scoped.ask(&Method::POST, "/v1/negotiations", &request)?;
        assert_eq!(refused.status, 403, "{refused:?}");
        Ok(())
    })
}
