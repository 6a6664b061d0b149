//! Partners by their cards, over the socket.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_registered_only_with_its_fingerprint() {
    let fixture = Fixture::new().await;
    let card = card(&fixture, 1, &fixture.file("b-pki"));
    let mut request = json!({ "card": card, "name": "b", "groups": ["customers"], "region": "JP" });
    let preview = fixture.client.post("/v1/partners/preview", &request).await.unwrap();
    assert_eq!(preview["participant"], PARTNER);
    assert_eq!(preview["is_update"], false);
    assert!(!fixture.file("partners/b.toml").exists(), "a preview writes nothing");

    let unseen = fixture.refused("/v1/partners", &request).await;
    assert!(unseen.message.contains("no fingerprint"), "{unseen}");
    request["accept_fingerprint"] = json!("00".repeat(32));
    let wrong = fixture.refused("/v1/partners", &request).await;
    assert_eq!(wrong.exit, Exit::RefusedIdentity);
    assert!(!fixture.file("partners/b.toml").exists());

    request["accept_fingerprint"] = preview["fingerprint"].clone();
    let added = fixture.client.post("/v1/partners", &request).await.unwrap();
    assert_eq!(added["partner"]["name"], "b");
    let shown = fixture.get("/v1/partners/b").await;
    assert_eq!(shown["state"], "active");
    assert_eq!(shown["groups"], json!(["customers"]));
    assert_eq!(shown["trust"]["server_anchors"].as_array().unwrap().len(), 1);
    assert_eq!(
        shown["fingerprint"].as_str().unwrap().split_whitespace().collect::<String>(),
        preview["fingerprint"].as_str().unwrap().split_whitespace().collect::<String>()
    );
    assert_eq!(fixture.get("/v1/partners").await["items"].as_array().unwrap().len(), 1);
    let again = fixture.refused("/v1/partners/preview", &request).await;
    assert!(again.message.contains("number 1"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_is_suspended_resumed_and_removed_with_person_and_reason() {
    let fixture = Fixture::new().await.with_partner().await;
    let reason = json!({ "reason": "contract ended" });
    let suspended = fixture.client.post("/v1/partners/b/suspend", &reason).await.unwrap();
    assert_eq!(suspended["partner"]["state"], "suspended");
    assert_eq!(fixture.get("/v1/status").await["partners"]["suspended"], 1);
    let records = fixture.get("/v1/audit/records?log=b&kind=partner-suspended&full=1").await;
    let record = &records["items"][0];
    assert_eq!(record["account"]["reason"], "contract ended");
    assert_eq!(record["account"]["where"], "sekisho partner suspend");
    assert!(record["person"].as_str().unwrap().starts_with("uid "), "{record}");

    let resumed = fixture.client.post("/v1/partners/b/resume", &json!({})).await.unwrap();
    assert_eq!(resumed["partner"]["state"], "active");
    fixture.client.delete("/v1/partners/b").await.unwrap();
    assert!(!fixture.file("partners/b.toml").exists());
    let gone = refusal(fixture.client.get("/v1/partners/b").await.unwrap_err());
    assert_eq!(gone.exit, Exit::NotFound);
    // Its log stays, under its participant id.
    let log = path(&["v1", "audit", "records"], &[("log", Some(PARTNER.to_owned()))]);
    let records = fixture.get(&log).await["items"].as_array().unwrap().clone();
    assert_eq!(records[0]["kind"], "partner-removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_reload_refuses_is_taken_back() {
    let fixture = Fixture::new().await.with_partner().await;
    let file = fixture.file("partners/b.toml");
    fixture.client.post("/v1/partners/b/suspend", &json!({})).await.unwrap();
    let before = fs::read(&file).unwrap();
    fs::write(fixture.file("partners/broken.toml"), "id = 1").unwrap();

    let resume = fixture.refused("/v1/partners/b/resume", &json!({})).await;
    assert!(resume.message.contains("nothing was changed"), "{resume}");
    assert!(resume.message.contains("broken.toml"), "{resume}");
    assert_eq!(fs::read(&file).unwrap(), before);
    refusal(fixture.client.delete("/v1/partners/b").await.unwrap_err());
    assert_eq!(fs::read(&file).unwrap(), before, "a removed file is put back");
    assert_eq!(fixture.get("/v1/partners/b").await["state"], "suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_acts_even_when_another_file_is_broken_and_says_so() {
    let fixture = Fixture::new().await.with_partner().await;
    fs::write(fixture.file("partners/broken.toml"), "id = 1").unwrap();
    let refused = fixture.refused("/v1/partners/b/suspend", &json!({})).await;
    assert!(refused.message.contains("`b` is suspended"), "{refused}");
    let records = fixture.client.get("/v1/audit/records?log=b").await.unwrap().to_string();
    assert!(records.contains("partner-suspended"), "{records}");
    assert!(fs::read_to_string(fixture.file("partners/b.toml")).unwrap().contains("\"suspended\""));

    fs::remove_file(fixture.file("partners/broken.toml")).unwrap();
    let suspended = fixture.client.post("/v1/partners/b/suspend", &json!({})).await.unwrap();
    assert_eq!(suspended["partner"]["state"], "suspended");
}
