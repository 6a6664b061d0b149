//! Datasets, over the socket.

use super::*;

const POLICY: &str = r#"
title = "For every partner"

[who]
anyone-registered = true

[[permit]]
actions = ["use"]
"#;

async fn publish(fixture: &Fixture, body: &Value) -> Value {
    let (events, refused) = fixture.events("/v1/datasets", body).await;
    assert_eq!(refused, None);
    events.last().unwrap()["dataset"].clone()
}

fn publication(fixture: &Fixture, content: &str) -> Value {
    let file = fixture.file("footprint.json");
    fs::write(&file, content).unwrap();
    json!({ "path": file, "id": "urn:part-b/cfp", "title": "Part B", "tags": ["cfp"] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_published_again_and_withdrawn() {
    let fixture = Fixture::new().await;
    let body = publication(&fixture, "{\"kg\": 1}");
    let preview = fixture.client.post("/v1/datasets/preview", &body).await.unwrap();
    assert_eq!(preview, json!({ "visible_to": [], "replaces_version": null }));
    let dataset = publish(&fixture, &body).await;
    assert_eq!(dataset["version"], "1");
    assert_eq!(dataset["size"], 9);
    assert_eq!(dataset["media_type"], "application/json");
    assert_eq!(dataset["blake3"], blake3::hash(b"{\"kg\": 1}").to_hex().to_string());

    let again = publication(&fixture, "{\"kg\": 2}");
    let preview = fixture.client.post("/v1/datasets/preview", &again).await.unwrap();
    assert_eq!(preview["replaces_version"], "1");
    assert_eq!(publish(&fixture, &again).await["version"], "2");
    let list = fixture.get("/v1/datasets").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["next"], Value::Null);

    let id = path(&["v1", "datasets", "urn:part-b/cfp"], &[]);
    assert_eq!(fixture.get(&id).await["state"], "offered");
    let reason = json!({ "reason": "wrong factor" });
    fixture.client.post(&format!("{id}/withdraw"), &reason).await.unwrap();
    assert_eq!(fixture.get(&id).await["state"], "withdrawn");
    let missing = refusal(fixture.client.get("/v1/datasets/preview").await.unwrap_err());
    assert_eq!(missing.exit, Exit::NotFound);
    assert!(missing.message.contains("`preview`"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_in_pages() {
    let fixture = Fixture::new().await;
    for id in ["a", "b", "c"] {
        let mut body = publication(&fixture, id);
        body["id"] = json!(id);
        publish(&fixture, &body).await;
    }
    let ids = |page: &Value| -> Vec<String> {
        let listed = page["items"].as_array().unwrap().iter();
        listed.map(|dataset| dataset["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = fixture.get("/v1/datasets?limit=2").await;
    assert_eq!(ids(&first), ["a", "b"]);
    assert_eq!(first["total"], 3);
    let next = first["next"].as_str().unwrap();
    let second = fixture.get(&format!("/v1/datasets?limit=2&cursor={next}")).await;
    assert_eq!(ids(&second), ["c"]);
    assert_eq!(second["next"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_names_who_will_see_it_and_why() {
    let fixture = Fixture::new().await.with_partner().await;
    let file = fixture.file("policies/open.toml");
    fs::write(&file, POLICY).unwrap();
    crate::reload::reload(fixture.node(), author()).await.unwrap();
    let mut body = publication(&fixture, "x");
    body["policies"] = json!(["opne"]);
    let unknown = fixture.refused("/v1/datasets/preview", &body).await;
    assert_eq!(unknown.help.as_deref(), Some("did you mean `open`?"));
    body["policies"] = json!(["open"]);
    let preview = fixture.client.post("/v1/datasets/preview", &body).await.unwrap();
    assert_eq!(preview["visible_to"][0]["partner"], "b", "{preview}");
    assert_eq!(preview["visible_to"][0]["via_policy"], "open");
    fixture.client.post("/v1/partners/b/suspend", &json!({})).await.unwrap();
    let preview = fixture.client.post("/v1/datasets/preview", &body).await.unwrap();
    assert_eq!(preview["visible_to"], json!([]));
}

fn author() -> engine::registry::Author {
    engine::registry::Author { place: "test".to_owned(), person: None, reason: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_is_refused_before_or_after_the_reading() {
    let fixture = Fixture::new().await;
    let body = publication(&fixture, "x");
    let with = |member: &str, value: Value| {
        let mut body = body.clone();
        body[member] = value;
        body
    };
    let cases = [
        (with("path", json!("footprint.json")), "not absolute"),
        (with("path", json!(fixture.file("pki/server.key"))), "own keys"),
        (with("path", json!(fixture.file("pki/../pki/signing.key"))), "own keys"),
        (with("title", json!(" ")), "title is empty"),
        (with("media_type", json!("json")), "no media type"),
        (with("id", json!("..")), "refused"),
    ];
    for (body, expected) in cases {
        let refused = fixture.refused("/v1/datasets", &body).await;
        assert_eq!(refused.exit, Exit::Misuse, "{refused}");
        assert!(refused.message.contains(expected), "{refused}");
    }
    let missing = with("path", json!(fixture.file("missing")));
    let (_, refused) = fixture.events("/v1/datasets", &missing).await;
    assert!(refused.unwrap().message.contains("cannot be opened"));
    publish(&fixture, &with("version", json!("7"))).await;
    fs::write(fixture.file("footprint.json"), "y").unwrap();
    let (_, refused) = fixture.events("/v1/datasets", &with("version", json!("7"))).await;
    assert!(refused.unwrap().message.contains("other content"));
}
