//! Pulls and catalogs of a partner that is not there, over the socket.

use super::*;

fn wanted(partner: &str) -> Value {
    json!({ "partner": partner, "dataset": "urn:part-b", "purpose": null, "wait_seconds": 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_is_away_is_waited_for_and_then_named() {
    let fixture = Fixture::new().await.with_partner().await;
    let (events, refused) = fixture.events("/v1/pulls", &wanted("b")).await;
    let refused = refused.unwrap();
    assert_eq!(refused.exit, Exit::NotReachable, "{refused}");
    assert!(refused.help.unwrap().contains("nothing was begun"));
    assert_eq!(events[0]["pull"]["step"], "waiting for b");
    assert!(!events[0]["pull"]["reason"].as_str().unwrap().is_empty());
    let catalog = fixture.refused("/v1/catalog", &json!({ "partner": "b" })).await;
    assert_eq!(catalog.exit, Exit::NotReachable, "{catalog}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_be_asked_is_refused_at_once() {
    let fixture = Fixture::new().await.with_partner().await;
    let unknown = fixture.refused("/v1/pulls", &wanted("c")).await;
    assert_eq!(unknown.exit, Exit::NotFound);
    fixture.client.post("/v1/partners/b/suspend", &json!({})).await.unwrap();
    let (_, refused) = fixture.events("/v1/pulls", &wanted("b")).await;
    assert_eq!(refused.unwrap().exit, Exit::RefusedIdentity);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_not_there_has_no_content() {
    let fixture = Fixture::new().await;
    for id in ["none", "../../sekisho.toml"] {
        for what in ["content", "provenance"] {
            let path = path(&["v1", "pulls", id, what], &[]);
            let error = fixture.client.bytes(&path, 0).await.unwrap_err();
            assert_eq!(refusal(error).exit, Exit::NotFound, "{id} {what}");
        }
    }
}
