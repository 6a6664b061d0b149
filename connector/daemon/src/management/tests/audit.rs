//! The journal, over the socket.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use super::*;

fn kinds(page: &Value) -> Vec<&str> {
    let records = page["items"].as_array().unwrap().iter();
    records.map(|record| record["kind"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_the_newest_or_from_a_number() {
    let fixture = Fixture::new().await.with_partner().await;
    let all = fixture.get("/v1/audit/records").await;
    assert_eq!(
        (&all["next"], all["total"].as_u64()),
        (&Value::Null, Some(kinds(&all).len() as u64))
    );
    assert_eq!(kinds(&all).last(), Some(&"site-started"));
    assert!(kinds(&all).contains(&"partner-registered"));

    let site = fixture.get("/v1/audit/records?log=site&from=1&limit=1").await;
    assert_eq!(site["items"][0]["index"], 1);
    let newest = fixture.get("/v1/audit/records?log=b&limit=1").await;
    assert_eq!(kinds(&newest), ["partner-registered"]);
    assert_eq!(newest["items"][0]["log"], "b");
    assert_eq!(newest["items"][0]["writes"], json!([format!("Partner {PARTNER}")]));
    assert_eq!(newest["items"][0].get("person"), None, "persons only where they are asked for");
    let past = fixture.get("/v1/audit/records?log=site&from=1000").await;
    assert_eq!(past["items"], json!([]));

    for (query, expected) in [
        ("from=3", "within one log"),
        ("log=nobody", "`nobody`"),
        ("kind=stolen", "no kind of record"),
        ("limit=many", "`many`"),
        ("limit=0", "from 1"),
        ("order=time", "order of `time`"),
        ("cursor=x", "cursor"),
    ] {
        let path = format!("/v1/audit/records?{query}");
        let refused = refusal(fixture.client.get(&path).await.unwrap_err());
        assert!(refused.message.contains(expected), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_records_go_both_ways_and_meet_each_one_once_while_more_are_written() {
    const QUERY: &str = "/v1/audit/records/query";
    let fixture = Fixture::new().await.with_partner().await;
    let whole = fixture.get("/v1/audit/records?order=position").await;
    let whole = whole["items"].as_array().unwrap().clone();
    for order in ["position", "-position"] {
        let (mut seen, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let query = json!({ "order": order, "limit": 2, "cursor": cursor, "count": false });
            let page = fixture.client.post(QUERY, &query).await.unwrap();
            assert_eq!(page["total"], Value::Null);
            seen.extend(page["items"].as_array().unwrap().iter().cloned());
            cursor = page["next"].clone();
            if cursor.is_null() || (order == "position" && seen.len() >= whole.len()) {
                break;
            }
            // What comes in between moves nothing.
            let reason = json!({ "reason": "in between" });
            fixture.client.post("/v1/partners/b/suspend", &reason).await.unwrap();
            fixture.client.post("/v1/partners/b/resume", &reason).await.unwrap();
        }
        if order == "-position" {
            // What was written during the first round comes before.
            seen.drain(..seen.len() - whole.len());
            seen.reverse();
        }
        assert_eq!(seen[..whole.len()], whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_filtered_by_what_they_show_and_counted() {
    const QUERY: &str = "/v1/audit/records/query";
    let fixture = Fixture::new().await.with_partner().await;
    let is = |field: &str, operator: &str, value: Value| json!({ "field": field, "operator": operator, "value": value });
    let of_partner = is("account.participant", "=", json!(PARTNER));
    let registered = is("kind", "=", json!("partner-registered"));
    for (filter, expected) in [
        (json!({ "and": [of_partner.clone(), registered.clone()] }), 1),
        (
            json!({ "and": [of_partner, { "not": { "or": [registered.clone(), is("log", "=", json!("b"))] } }] }),
            0,
        ),
        (is("time", "<", json!("2000-01-01T00:00:00Z")), 0),
        (json!({ "and": [registered, { "not": is("person", "=", Value::Null) }] }), 1),
    ] {
        let query = json!({ "filter": filter, "limit": 1 });
        let page = fixture.client.post(QUERY, &query).await.unwrap();
        assert_eq!(page["total"], json!(expected), "{filter}: {page}");
        assert_eq!(page["items"].as_array().unwrap().len(), expected.min(1));
    }
    for (filter, words) in [
        (is("colour", "=", json!("red")), "no member `colour`"),
        (is("account.colour", "=", json!("red")), "no member `account.colour`"),
    ] {
        let refused = fixture.client.post(QUERY, &json!({ "filter": filter })).await.unwrap_err();
        let refused = refusal(refused);
        assert!(refused.message.contains(words), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_found_by_its_reference() {
    let fixture = Fixture::new().await.with_partner().await;
    let peer = engine::Peer {
        participant: PARTNER.parse().unwrap(),
        proof: "00".to_owned(),
        node: Default::default(),
        place: "partner test".to_owned(),
    };
    let node = fixture.node();
    let reference = node.fresh().reference;
    let refusal = engine::Refusal::new(engine::RefusalKind::Policy, "no", "not for c", reference);
    let refusal = node.refusals.record(&peer, refusal, "test").await;
    let query = [("reference", Some(refusal.reference.clone()))];
    let found = fixture.get(&path(&["v1", "audit", "records"], &query)).await;
    assert_eq!(kinds(&found), ["request-refused"]);
    assert_eq!(found["items"][0]["account"]["reason"], "not for c");
    let none = fixture.get("/v1/audit/records?reference=urn:uuid:none").await;
    assert_eq!(none["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_records_are_followed_until_the_daemon_drains() {
    let fixture = Fixture::new().await.with_partner().await;
    let (client, shutdown) = (fixture.client.clone(), fixture.node().shutdown.clone());
    let (seen, mut records) = tokio::sync::mpsc::unbounded_channel();
    let following = tokio::spawn(async move {
        let take = |record: Value| {
            let _ = seen.send(record);
            Ok(())
        };
        client.events(Method::GET, "/v1/audit/tail?log=b", None, take).await
    });
    // Whether it follows already is seen by a record that arrives: changes are made until one does.
    let record = loop {
        for verb in ["suspend", "resume"] {
            let path = format!("/v1/partners/b/{verb}");
            fixture.client.post(&path, &json!({})).await.unwrap();
        }
        if let Ok(record) = records.try_recv() {
            break record;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(record["log"], "b");
    assert!(record["index"].as_u64().unwrap() > 0);
    shutdown.drain();
    following.await.unwrap().unwrap();
}

async fn report(fixture: &Fixture) -> Value {
    let mut last = None;
    let take = |event| {
        last = Some(event);
        Ok(())
    };
    fixture.client.events(Method::POST, "/v1/audit/verify", None, take).await.unwrap();
    last.unwrap()["report"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_journal_verifies_with_its_checkpoints() {
    let fixture = Fixture::new().await.with_partner().await;
    let log = engine::LogId::Relation(PARTNER.parse().unwrap()).in_epoch(1);
    for verb in ["suspend", "resume"] {
        let path = format!("/v1/partners/b/{verb}");
        fixture.client.post(&path, &json!({})).await.unwrap();
        let (size, _) = engine::Store::tree_head(&fixture.node().store, log.clone()).await.unwrap();
        crate::witness::covering(fixture.node(), &log, size).await.unwrap();
    }
    let report = report(&fixture).await;
    assert_eq!(report["verified"], true, "{report}");
    assert_eq!(report["problems"], json!([]));
    assert!(report["checkpoints"].as_u64().unwrap() >= 4, "{report}");
    assert_eq!(report["logs"].as_array().unwrap().len(), 2);
    let status = fixture.get("/v1/status").await;
    assert_eq!(report["logs"][0]["size"], status["logs"][0]["size"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_begins_all_logs_anew_and_both_verify() {
    let fixture = Fixture::new().await.with_partner().await;
    let log = engine::LogId::Relation(PARTNER.parse().unwrap());
    crate::witness::covering(fixture.node(), &log.clone().in_epoch(1), 1).await.unwrap();
    let refused =
        fixture.client.post("/v1/audit/new-epoch", &json!({ "reason": "a restore" })).await;
    let refused = refusal(refused.unwrap_err());
    assert!(refused.message.contains("no new epoch is needed"), "{refused}");
    let empty = json!({ "reason": " ", "anyway": true });
    assert!(fixture.client.post("/v1/audit/new-epoch", &empty).await.is_err());

    let request = json!({ "reason": "a restore", "anyway": true });
    let opened = fixture.client.post("/v1/audit/new-epoch", &request).await.unwrap();
    assert_eq!(opened["epoch"], 2);
    assert_eq!(opened["relations"], json!([{ "partner": "b", "was_behind": false }]));
    let first = fixture.get("/v1/audit/records?log=b&from=0&full=1").await;
    let first = &first["items"][0];
    assert_eq!((&first["kind"], &first["epoch"]), (&json!("epoch-opened"), &json!(2)));
    assert_eq!(first["account"]["reason"], "a restore");
    let note = first["account"]["facts"]["previousCheckpoint"].as_str().unwrap();
    assert!(note.starts_with("did:web:a.example/relation/did:web:b.example/1\n"), "{note}");
    assert_eq!(first["digests"]["previousCheckpoint"], engine::epoch::sha256(note));
    // Without a number both epochs are one history; with one, an older epoch can be named.
    let all = fixture.get("/v1/audit/records?log=b").await;
    assert_eq!(kinds(&all).last(), Some(&"partner-registered"));
    assert!(kinds(&all).contains(&"epoch-opened"));
    let old = fixture.get("/v1/audit/records?log=b&epoch=1&from=0&limit=1").await;
    assert_eq!(kinds(&old), ["partner-registered"]);

    crate::witness::covering(fixture.node(), &log.in_epoch(2), 1).await.unwrap();
    let report = report(&fixture).await;
    assert_eq!(report["verified"], true, "{report}");
    let logs = report["logs"].as_array().unwrap();
    let logs: Vec<_> = logs.iter().map(|log| (log["log"].as_str(), &log["epoch"])).collect();
    let (one, two) = (json!(1), json!(2));
    assert_eq!(
        logs,
        [(Some("site"), &one), (Some("site"), &two), (Some("b"), &one), (Some("b"), &two)]
    );
    assert_eq!(fixture.get("/v1/status").await["epoch"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_of_the_journal_is_found_and_named() {
    let fixture = Fixture::new().await.with_partner().await;
    let journal = fixture.file("data/journal");
    let mut segments: Vec<PathBuf> = fs::read_dir(journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    segments.sort();
    let changed = segments.iter().find_map(|path| {
        let content = fs::read(path).unwrap();
        let needle = b"site-started";
        let at = content.windows(needle.len()).position(|window| window == needle)?;
        Some((path.clone(), at))
    });
    let (path, at) = changed.expect("the first record is in a segment");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();

    let report = report(&fixture).await;
    assert_eq!(report["verified"], false, "{report}");
    assert_eq!(report["problem_count"], 1, "{report}");
    let problem = &report["problems"][0];
    assert!(problem["place"].as_str().unwrap().starts_with("journal byte"), "{problem}");
    assert!(problem["help"].as_str().unwrap().contains("backup"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_at_once_share_a_reference_only_where_they_share_the_reason() {
    let fixture = Fixture::new().await.with_partner().await;
    let peer = engine::Peer {
        participant: PARTNER.parse().unwrap(),
        proof: "00".to_owned(),
        node: Default::default(),
        place: "partner test".to_owned(),
    };
    let node = fixture.node();
    let most = node.config.partner_listener.max_refusals_per_partner_per_second_count;
    let refused = |number: usize| {
        let reference = node.fresh().reference;
        let reason = format!("for reason {number}");
        let refusal = engine::Refusal::new(engine::RefusalKind::NotFound, "no", reason, reference);
        node.refusals.record(&peer, refusal, "test")
    };
    // All of them within the second: each is gathered before any is stored.
    let numbers = (0..most + 3).chain([0, 0]);
    let told = futures_util::future::join_all(numbers.map(refused)).await;
    let (unlike, rest) = told.split_at(most);
    let (beyond, again) = rest.split_at(3);
    for (number, refusal) in unlike.iter().enumerate() {
        let query = [("reference", Some(refusal.reference.clone()))];
        let found = fixture.get(&path(&["v1", "audit", "records"], &query)).await;
        assert_eq!(kinds(&found), ["request-refused"], "{number}");
        assert_eq!(found["items"][0]["account"]["reason"], format!("for reason {number}"));
    }
    for refusal in again {
        assert_eq!(refusal, &unlike[0]);
    }
    for refusal in beyond {
        assert_eq!(refusal.kind, engine::RefusalKind::TooMany);
        assert_eq!(refusal, &beyond[0]);
    }
    // How often each came is on record when the second has passed.
    let mut durable = node.store.durable();
    let counted = loop {
        let counted = fixture.get("/v1/audit/records?log=b&kind=requests-refused").await;
        if kinds(&counted).len() == 2 {
            break counted;
        }
        durable.changed().await.unwrap();
    };
    for record in counted["items"].as_array().unwrap() {
        assert_eq!(record["account"]["facts"]["count"], 2, "{record}");
    }
}
