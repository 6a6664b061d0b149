//! The catalog in pages: links, filters, compression, and what other partners' pages are good for.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use integration_tests::connector::{BASE, CONTEXT, Connector, text};
use integration_tests::peer::{Peer, Reply};
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};
use serde_json::{Value, json};

use crate::stage::{Pair, note};

/// Partners in the group see what has the tag.
const TAGGED: &str = "title = \"Tagged\"\ndescription = \"By tag.\"\n[what]\ntags = [\"cfp\"]\n[who]\ngroups = [\"partners\"]\n\
    [[permit]]\nactions = [\"use\"]\n";

fn question(filter: Value) -> Value {
    let mut message = json!({ "@context": [CONTEXT], "@type": "CatalogRequestMessage" });
    if !filter.is_null() {
        message["filter"] = filter;
    }
    message
}

/// The ids of a page, nested catalogs and all.
fn ids(catalog: &Value) -> Vec<String> {
    let of = |value: &Value, member: &str| value[member].as_array().cloned().unwrap_or_default();
    let datasets = of(catalog, "dataset");
    let own = datasets.iter().filter_map(|dataset| dataset["@id"].as_str().map(str::to_owned));
    own.chain(of(catalog, "catalog").iter().flat_map(ids)).collect()
}

/// The path and query of a link.
fn link(reply: &Reply, relation: &str) -> Option<String> {
    let links = reply.header("link").to_owned();
    let wanted = format!("rel=\"{relation}\"");
    let link = links.split(", ").find(|link| link.ends_with(&wanted))?.to_owned();
    let (_, rest) = link.split_once(BASE)?;
    Some(format!("{BASE}{}", rest.split_once('>')?.0))
}

/// Every page from the first on.
fn pages(peer: &Peer, filter: &Value) -> Result<Vec<(String, Reply)>> {
    let mut path = format!("{BASE}/catalog/request");
    let mut pages = Vec::new();
    loop {
        let reply = peer.post(&path, &question(filter.clone()))?;
        ensure!(reply.status == 200, "{path}: {reply:?}");
        ensure!(pages.len() < 50, "the pages do not end");
        let next = link(&reply, "next");
        pages.push((path, reply));
        match next {
            Some(next) => path = next,
            None => return Ok(pages),
        }
    }
}

fn all(peer: &Peer, filter: &Value) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (_, reply) in pages(peer, filter)? {
        found.extend(ids(&reply.json()?));
    }
    Ok(found)
}

/// A supplier with pages of three and nine datasets, `d-0` to `d-8`, of which the even ones are tagged.
fn stage(scene: &Scene) -> Result<(Site, Site)> {
    let mut supplier = scene
        .plan("b")
        .setting("catalog", "max_page_datasets_count", "3")
        .setting("partner_listener", "max_concurrent_catalog_requests_per_partner_count", "16")
        .make()?;
    supplier.start()?;
    let Pair { supplier, customer } = Pair::of(supplier, scene.site("a")?)?;
    supplier.activate(&[("tagged", TAGGED)])?;
    let file = note(scene, "one.txt", "one")?;
    for number in 0..9 {
        publish(&supplier, &file, &format!("d-{number}"), number % 2 == 0)?;
    }
    // Nobody in these tests may see them.
    for number in 0..5 {
        supplier.publish(&file, &format!("d-{number}-hidden"), "hidden")?;
    }
    Ok((supplier, customer))
}

fn publish(site: &Site, file: &std::path::Path, id: &str, tagged: bool) -> Result<()> {
    let file = file.to_str().context("a path is not UTF-8")?;
    let by: &[&str] = if tagged { &["--tag", "cfp"] } else { &["--policy", "open"] };
    let words = ["dataset", "publish", file, "--id", id, "--title", "Carbon", "--yes"];
    site.ask(&[&words, by].concat()).map(drop)
}

#[test]
fn pages_go_both_ways_and_stay_right_while_datasets_come_and_go() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, mut customer) = stage(scene)?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let whole: Vec<String> = (0..9).map(|number| format!("d-{number}")).collect();
        let shown = pages(&connector.peer, &Value::Null)?;
        let read: Vec<Vec<String>> =
            shown.iter().map(|(_, reply)| Ok(ids(&reply.json()?))).collect::<Result<_>>()?;
        assert_eq!(read, [&whole[..3], &whole[3..6], &whole[6..]]);
        // The official schema, where it is at hand, and a link that leads back to the same page.
        let (last, reply) = shown.last().context("no page")?;
        let back = link(reply, "previous").context("no link back")?;
        let middle = connector.peer.get(&back, &[])?;
        assert_eq!(ids(&middle.json()?), whole[3..6]);
        let again = connector.peer.get(&link(&middle, "next").context("no link on")?, &[])?;
        assert_eq!(ids(&again.json()?), whole[6..], "{last}");
        let first = connector.peer.get(&link(&middle, "previous").context("no link back")?, &[])?;
        assert_eq!(ids(&first.json()?), whole[..3]);
        assert_eq!(link(&first, "previous"), None);

        // Datasets before, in and behind the place come and go: nothing else is left out or shown twice.
        let next = link(&shown[0].1, "next").context("no link on")?;
        let file = note(scene, "two.txt", "two")?;
        publish(&supplier, &file, "d-0-new", true)?;
        publish(&supplier, &file, "d-3-new", false)?;
        supplier.ask(&["dataset", "withdraw", "d-4"])?;
        let second = connector.peer.post(&next, &question(Value::Null))?;
        assert_eq!(ids(&second.json()?), ["d-3", "d-3-new", "d-5"]);
        let rest = connector.peer.get(&link(&second, "next").context("no link on")?, &[])?;
        assert_eq!(ids(&rest.json()?), whole[6..]);
        assert_eq!(link(&rest, "next"), None);
        Ok(())
    })
}

#[test]
fn a_filter_finds_what_it_names_and_what_is_not_understood_is_refused() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, mut customer) = stage(scene)?;
        let even = ["d-0", "d-2", "d-4", "d-6", "d-8"];
        assert_eq!(shown(&customer, &["--tag", "cfp"])?, even);
        assert_eq!(shown(&customer, &["--filter", "CARBON d-7"])?, ["d-7"]);
        assert_eq!(shown(&customer, &["--media-type", "text/csv"])?, [""; 0]);
        assert_eq!(shown(&customer, &[])?.len(), 9);
        let some = customer.ask(&["catalog", "b", "--limit", "4"])?;
        assert_eq!(
            (some["datasets"].as_array().map(Vec::len), &some["more"]),
            (Some(4), &json!(true))
        );

        // What follows is reached wherever the limit fell, by the same question alone.
        let mut read = ids_of(&some);
        let mut cursor = text(&some, "/next")?;
        let other = customer.run(&["catalog", "b", "--tag", "cfp", "--cursor", &cursor])?;
        let refused = other.expect(64)?.text("/error/message")?;
        assert!(refused.contains("cursor"), "{refused}");
        while read.len() < 9 {
            let more = customer.ask(&["catalog", "b", "--limit", "2", "--cursor", &cursor])?;
            read.extend(ids_of(&more));
            match more["next"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(read, (0..9).map(|number| format!("d-{number}")).collect::<Vec<_>>());
        // A filter in the words of the partner's own connector.
        let theirs = json!({ "filterExpression":
            [{ "operandLeft": "id", "operator": "in", "operandRight": ["d-3", "d-8"] }] });
        let asked = customer.ask(&["catalog", "b", "--dsp-filter", &theirs.to_string()])?;
        assert_eq!(ids_of(&asked), ["d-3", "d-8"]);
        customer.run(&["catalog", "b", "--dsp-filter", "id = d-3"])?.expect(64)?;

        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let peer = &connector.peer;
        for (filter, found) in [
            (json!([{ "tag": "cfp" }]), even.to_vec()),
            (json!([{ "tag": "cfp", "id": ["d-2", "d-3", "d-2-hidden"] }]), vec!["d-2"]),
            (json!([{ "id": "d-1-hidden" }]), vec![]),
            (json!([{ "mediaType": "text/plain" }, { "text": "d-8" }]), vec!["d-8"]),
            (json!([{ "tag": "nobody has it" }]), vec![]),
        ] {
            assert_eq!(all(peer, &filter)?, found, "{filter}");
        }
        for filter in [
            json!([{ "operandLeft": "id", "operator": "=", "operandRight": "d-1" }]),
            json!({ "filterExpression": [{ "operandLeft": "name", "operator": "=", "operandRight": "d-1" }] }),
            json!(["d-1"]),
            json!([{ "tag": 1 }]),
            json!([{ "tag": vec!["x"; 1000] }]),
        ] {
            let reply = connector.post("/catalog/request", &question(filter.clone()))?;
            assert_eq!(reply.status, 400, "{filter}");
            assert_eq!(reply.json()?["@type"], "CatalogError");
        }
        Ok(())
    })
}

fn shown(customer: &Site, words: &[&str]) -> Result<Vec<String>> {
    Ok(ids_of(&customer.ask(&[&["catalog", "b"], words].concat())?))
}

/// The ids of what the management API shows.
fn ids_of(catalog: &Value) -> Vec<String> {
    let datasets = catalog["datasets"].as_array().cloned().unwrap_or_default();
    datasets.iter().filter_map(|dataset| dataset["id"].as_str().map(str::to_owned)).collect()
}

/// What an EDC consumer sends: its QuerySpec is there whether the caller of its management API gave one or not, and its names are
/// terms, prefixed, or absolute IRIs, as its JSON-LD contexts happen to compact them.
#[test]
fn an_edc_consumer_has_its_query_answered() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, mut customer) = stage(scene)?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let whole: Vec<String> = (0..9).map(|number| format!("d-{number}")).collect();
        let iri = |name: &str| format!("https://w3id.org/edc/v0.0.1/ns/{name}");
        let names: [&dyn Fn(&str) -> String; 3] =
            [&str::to_owned, &|name| format!("edc:{name}"), &iri];
        for name in names {
            let spec = |offset: usize, limit: usize, criteria: Value| {
                json!({
                    "@type": name("QuerySpec"),
                    name("limit"): limit,
                    name("offset"): offset,
                    name("sortOrder"): "ASC",
                    name("filterExpression"): criteria,
                })
            };
            let criterion = |operator: &str, right: Value| {
                json!({
                    "@type": name("Criterion"),
                    name("operandLeft"): iri("id"),
                    name("operator"): operator,
                    name("operandRight"): right,
                })
            };
            for (filter, found) in [
                (spec(0, 50, json!([])), &whole[..]),
                (json!([spec(0, 2, json!([]))]), &whole),
                (spec(4, 2, json!([])), &whole[4..]),
                (spec(9, 50, json!([])), &[]),
                (spec(0, 50, json!(criterion("=", json!("d-3")))), &whole[3..4]),
                (spec(1, 50, json!([criterion("in", json!(["d-3", "d-4", "x"]))])), &whole[4..5]),
            ] {
                assert_eq!(all(&connector.peer, &filter)?, found, "{filter}");
            }
            // Its first page alone has what it asked for, no more.
            let reply = connector.post("/catalog/request", &question(spec(3, 2, json!([]))))?;
            assert_eq!(ids(&reply.json()?), whole[3..5]);
            let refused = spec(0, 50, json!([criterion("like", json!("d-%"))]));
            let reply = connector.post("/catalog/request", &question(refused))?;
            let error = reply.json()?;
            assert_eq!((reply.status, &error["@type"]), (400, &json!("CatalogError")));
            assert!(
                error["reason"][0].as_str().is_some_and(|text| text.contains("`like`")),
                "{error}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_page_is_good_for_the_partner_and_the_filter_it_was_made_for() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, mut customer) = stage(scene)?;
        let mut other = scene.site("c")?;
        befriend(&supplier, &other)?;
        customer.stop()?;
        other.stop()?;
        let (customer, other) = (Peer::of(&customer, &supplier)?, Peer::of(&other, &supplier)?);
        let tagged = json!([{ "tag": "cfp" }]);
        let plain = pages(&customer, &Value::Null)?[1].0.clone();
        let filtered = pages(&customer, &tagged)?[1].0.clone();
        assert_eq!(customer.post(&filtered, &question(tagged.clone()))?.status, 200);
        for (who, path, filter) in [
            (&other, &plain, Value::Null),
            (&other, &filtered, tagged.clone()),
            (&customer, &filtered, json!([{ "tag": "other" }])),
            (&customer, &plain, tagged.clone()),
            (&customer, &format!("{plain}A"), Value::Null),
            (&customer, &format!("{BASE}/catalog/request?cursor="), Value::Null),
        ] {
            let reply = who.post(path, &question(filter.clone()))?;
            assert_eq!((reply.status, &reply.json()?["code"]), (400, &json!("invalid")), "{path}");
        }
        assert_eq!(other.get(&filtered, &[])?.status, 400);
        // The link alone is enough, whatever was looked for.
        let second = ids(&customer.post(&filtered, &question(tagged))?.json()?);
        assert_eq!(second, ["d-6", "d-8"]);
        assert_eq!(ids(&customer.get(&filtered, &[])?.json()?), second);
        assert_eq!(ids(&customer.post(&filtered, &question(Value::Null))?.json()?), second);
        assert_eq!(customer.get(&format!("{BASE}/catalog/request"), &[])?.status, 405);
        Ok(())
    })
}

#[test]
fn a_page_is_compressed_for_those_who_take_it_and_nested_by_tag_where_the_site_wants_it()
-> Result<()> {
    Scene::play(|scene| {
        let (mut supplier, mut customer) = stage(scene)?;
        supplier.set("catalog", "nested_by_tags", "cfp");
        supplier.restart()?;
        let catalog = customer.ask(&["catalog", "b"])?;
        let datasets = catalog["datasets"].as_array().cloned().unwrap_or_default();
        let nested = datasets.iter().filter(|dataset| dataset["catalog"] == "cfp");
        let nested: Vec<&str> = nested.filter_map(|dataset| dataset["id"].as_str()).collect();
        assert_eq!(nested, ["d-0", "d-2", "d-4", "d-6", "d-8"], "{catalog}");

        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let (path, body) = (format!("{BASE}/catalog/request"), question(Value::Null).to_string());
        let plain = connector.post("/catalog/request", &question(Value::Null))?;
        assert_eq!(plain.header("content-encoding"), "");
        assert_eq!(ids(&plain.json()?), ["d-1", "d-0", "d-2"]);
        let json = ("content-type", "application/json");
        let headers = [json, ("accept-encoding", "br, gzip")];
        let packed = connector.peer.send(Method::POST, &path, &headers, body.into())?;
        assert_eq!(packed.header("content-encoding"), "gzip");
        assert!(packed.body.len() < plain.body.len());
        let unpacked = daemon::net::gzip::decode(&packed.headers, packed.body, 1 << 20)?;
        assert_eq!(unpacked, plain.body);
        Ok(())
    })
}

#[test]
fn a_list_is_published_in_whole_groups_and_goes_on_where_it_was() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        note(scene, "one.txt", "one")?;
        note(scene, "two.txt", "two")?;
        let line = |number: usize, policy: &str| {
            let path = if number.is_multiple_of(2) { "one.txt" } else { "two.txt" };
            let title = format!("Part {number}");
            json!({ "path": path, "id": format!("p-{number:04}"), "title": title, "policies": [policy] })
                .to_string()
        };
        let mut lines: Vec<String> = (0..1_500).map(|number| line(number, "open")).collect();
        lines[1_200] = line(1_200, "no such policy");
        let list = note(scene, "list.jsonl", &lines.join("\n"))?;
        let publish = ["dataset", "publish-list", crate::stage::word(&list)?, "--yes"];

        // The first group is there whole, and nothing of the one that has the mistake.
        let failed = supplier.run(&publish)?.expect(64)?;
        assert!(failed.text("/error/message")?.contains("p-1200"), "{failed:?}");
        assert!(failed.text("/error/help")?.contains("--from 1001"), "{failed:?}");
        let listed = |wanted: usize| -> Result<()> {
            let shown = customer.ask(&["catalog", "b", "--limit", "10000"])?;
            ensure!(
                shown["datasets"].as_array().map(Vec::len) == Some(wanted),
                "{wanted}: {}",
                shown["more"]
            );
            Ok(())
        };
        listed(1_000)?;
        lines[1_200] = line(1_200, "open");
        note(scene, "list.jsonl", &lines.join("\n"))?;
        let done = supplier.ask(&publish)?;
        assert_eq!(done, json!({ "published": 500, "unchanged": 1_000 }));
        listed(1_500)?;
        let target = scene.file("got");
        customer.ask(&["pull", "b", "p-1201", "-o", crate::stage::word(&target)?])?;
        assert_eq!(std::fs::read_to_string(target)?, "two");
        Ok(())
    })
}
