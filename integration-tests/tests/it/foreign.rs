//! What other connectors send, and how they answer, where that differs from what our own node does.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::{Method, StatusCode};
use integration_tests::connector::{BASE, CONTEXT, Connector, Manner, encode, text, urn};
use integration_tests::management::Management;
use integration_tests::ports;
use integration_tests::scene::Scene;
use integration_tests::site::Site;
use integration_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::stage::{Pair, note};
use crate::transfer_steps::{agreement, import, in_state};

const SECRET: &str = "s3cret-of-the-application";

/// A supplier with one open dataset, and a customer that the test plays.
pub(crate) fn played(scene: &Scene) -> Result<(Site, Connector)> {
    let Pair { supplier, mut customer } = Pair::new(scene)?;
    supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
    customer.stop()?;
    let connector = Connector::play(&customer, &supplier)?;
    Ok((supplier, connector))
}

/// Whether a text is in a site's journal or log.
fn keeps(site: &Site, wanted: &str) -> Result<bool> {
    let mut read = 0;
    for file in std::fs::read_dir(site.path("data/journal"))? {
        let path = file?.path();
        if path.is_file() {
            let bytes = std::fs::read(&path)?;
            read += bytes.len();
            if bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
                return Ok(true);
            }
        }
    }
    ensure!(read > 0, "the journal was looked at");
    Ok(site.log()?.contains(wanted))
}

#[test]
fn a_pull_that_names_a_destination_is_granted_without_it() -> Result<()> {
    Scene::play(|scene| {
        let (supplier, connector) = played(scene)?;
        let mut request = connector.transfer_request(&connector.negotiate("one", None)?);
        request["dataAddress"] = json!({
            "@type": "DataAddress",
            "endpointType": "HttpProxy",
            "endpoint": "https://elsewhere.example/sink",
            "endpointProperties": [
                { "@type": "EndpointProperty", "name": "authorization", "value": SECRET },
            ],
        });
        let answer = connector.post("/transfers/request", &request)?;
        assert_eq!(answer.status, 201, "{answer:?}");
        let start = connector.expect("TransferStartMessage")?.body;
        let endpoint = text(&start, "/dataAddress/endpoint")?;
        assert!(endpoint.starts_with(&supplier.origin()), "{start}");
        // Nothing is pushed there, and its secret is not kept.
        in_state(&supplier, &text(&start, "/providerPid")?, "STARTED")?;
        assert!(!keeps(&supplier, SECRET)?);
        assert!(keeps(&supplier, "https://elsewhere.example/sink")?);
        Ok(())
    })
}

#[test]
fn json_ld_is_read_in_every_message_and_written_to_those_who_ask_for_it() -> Result<()> {
    const LD: &str = "application/ld+json";
    Scene::play(|scene| {
        let (_supplier, connector) = played(scene)?;
        let speak = |method: Method, path: &str, message: Option<&Value>, accept: &str| {
            let declared = "Application/LD+JSON; profile=\"https://w3id.org/dspace/2025/1\"";
            let headers = [("content-type", declared), ("accept", accept)];
            let body = message.map(Value::to_string).unwrap_or_default();
            connector.peer.send(method, &format!("{BASE}{path}"), &headers, body.into())
        };
        let asked = json!({ "@context": [CONTEXT], "@type": "CatalogRequestMessage" });
        let catalog = speak(Method::POST, "/catalog/request", Some(&asked), LD)?;
        assert_eq!((catalog.status, catalog.header("content-type")), (200, LD));
        for (accept, answered) in [
            (LD, LD),
            ("text/turtle, application/ld+json;q=0.9, */*;q=0.1", LD),
            ("application/ld+json, application/json", "application/json"),
            ("application/ld+json;q=0", "application/json"),
            ("*/*", "application/json"),
        ] {
            let dataset = speak(Method::GET, "/catalog/datasets/one", None, accept)?;
            assert_eq!(dataset.status, 200, "{accept}");
            assert_eq!(dataset.header("content-type"), answered, "{accept}");
        }

        let request = connector.contract_request(&connector.offer("one")?, None);
        let begun = speak(Method::POST, "/negotiations/request", Some(&request), LD)?;
        assert_eq!((begun.status, begun.header("content-type")), (201, LD), "{begun:?}");
        let agreed = connector.expect("ContractAgreementMessage")?.body;
        let pid = text(&agreed, "/providerPid")?;
        let verification = json!({
            "@context": [CONTEXT], "@type": "ContractAgreementVerificationMessage", "@id": urn(),
            "providerPid": pid, "consumerPid": text(&agreed, "/consumerPid")?,
        });
        let path = format!("/negotiations/{}", encode(&pid));
        let verify = format!("{path}/agreement/verification");
        assert_eq!(speak(Method::POST, &verify, Some(&verification), LD)?.status, 200);
        connector.expect("ContractNegotiationEventMessage")?;
        let shown = speak(Method::GET, &path, None, LD)?;
        assert_eq!((shown.status, shown.header("content-type")), (200, LD));

        let request = connector.transfer_request(&text(&agreed, "/agreement/@id")?);
        let begun = speak(Method::POST, "/transfers/request", Some(&request), LD)?;
        assert_eq!((begun.status, begun.header("content-type")), (201, LD), "{begun:?}");
        let start = connector.expect("TransferStartMessage")?.body;
        let path = format!("/transfers/{}", encode(&text(&start, "/providerPid")?));
        let done = json!({
            "@context": [CONTEXT], "@type": "TransferCompletionMessage", "@id": urn(),
            "providerPid": start["providerPid"], "consumerPid": start["consumerPid"],
        });
        let complete = format!("{path}/completion");
        assert_eq!(speak(Method::POST, &complete, Some(&done), LD)?.status, 200);
        assert_eq!(text(&speak(Method::GET, &path, None, LD)?.json()?, "/state")?, "COMPLETED");

        for path in ["/catalog/datasets/none", "/negotiations/none", "/transfers/none"] {
            let error = speak(Method::GET, path, None, LD)?;
            assert_eq!((error.status, error.header("content-type")), (404, LD), "{path}");
            assert!(text(&error.json()?, "/@type")?.ends_with("Error"), "{error:?}");
        }
        Ok(())
    })
}

#[test]
fn an_application_has_data_pushed_to_its_own_endpoint_and_its_secret_is_not_kept() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        let file = note(scene, "one.json", r#"{"@type":"Carbon"}"#)?;
        supplier.publish(&file, "one", "open")?;
        let agreed = agreement("ATPUSH", "one", &supplier, &customer);
        import(scene, &customer, "b", "consumer", &agreed, &[])?;
        import(scene, &supplier, "a", "provider", &agreed, &[])?;
        // The application's server takes nothing but PUT, and knows no other method there.
        let address = ports::free()?;
        let sink = Connector::beside(&customer, &supplier, address)?;
        sink.answer_in(Manner { head: Some(StatusCode::NOT_FOUND), ..Manner::default() });
        let origin = format!("https://{address}");
        partner_file(&supplier, "a", |text| {
            let own = format!("\"{}\"", customer.origin());
            text.replacen(
                &format!("origins = [{own}]"),
                &format!("origins = [{own}, \"{origin}\"]"),
                1,
            )
        })?;

        let runtime = tokio::runtime::Runtime::new()?;
        let begin = |properties: Value| {
            let wanted = json!({
                "partner": "b", "agreement": "ATPUSH", "format": "HttpData-PUSH",
                "data_address": {
                    "endpointType": "https://w3id.org/idsa/v4.1/HTTP",
                    "endpoint": format!("{origin}/sink"),
                    "endpointProperties": properties,
                },
            });
            let body = wanted.to_string().into_bytes();
            runtime.block_on(Management::of(&customer).post_bytes("/v1/transfers", body))
        };
        let (status, error) = begin(json!([{ "name": "password", "value": SECRET }]))?;
        assert_eq!(status, 400, "{error}");
        assert!(!error.to_string().contains(SECRET), "{error}");
        let (status, begun) = begin(json!([{ "name": "authorization", "value": SECRET }]))?;
        assert_eq!(status, 201, "{begun}");
        let pushed = sink.expect("Carbon")?;
        assert_eq!(pushed.path, "/sink");
        assert_eq!(pushed.headers["authorization"], format!("Bearer {SECRET}"));
        // It says nothing about the transfer, so the provider completes it.
        in_state(&customer, &text(&begun, "/id")?, "COMPLETED")?;
        for site in [&supplier, &customer] {
            assert!(!keeps(site, SECRET)?, "{}", site.name());
        }
        Ok(())
    })
}

/// Changes a partner's file and waits until it is in force.
pub(crate) fn partner_file(
    site: &Site,
    partner: &str,
    change: impl FnOnce(String) -> String,
) -> Result<()> {
    let file = site.path(&format!("partners/{partner}.toml"));
    let text = std::fs::read_to_string(&file)?;
    let changed = change(text.clone());
    ensure!(changed != text, "nothing to change: {text}");
    let changes = || anyhow::Ok(site.log()?.matches("partner.changed").count());
    let before = changes()?;
    std::fs::write(&file, changed)?;
    wait::until("the partner's file is read", PATIENCE, || Ok((changes()? > before).then_some(())))
}

#[test]
fn a_partner_that_asks_for_a_pause_is_left_alone_for_that_long() -> Result<()> {
    Scene::play(|scene| {
        let (_supplier, connector) = played(scene)?;
        let request = connector.contract_request(&connector.offer("one")?, None);
        let busy = Manner {
            status: StatusCode::SERVICE_UNAVAILABLE,
            header: Some(("retry-after", "3")),
            ..Manner::default()
        };
        connector.answer_in(busy);
        let before = Instant::now();
        assert_eq!(connector.post("/negotiations/request", &request)?.status, 201);
        let first = connector.expect("ContractAgreementMessage")?;
        connector.answer(StatusCode::OK);
        let second = connector.expect("ContractAgreementMessage")?;
        assert_eq!(first.body, second.body);
        // It may come later on a busy machine, never earlier.
        assert!(before.elapsed() >= Duration::from_secs(3), "{:?}", before.elapsed());
        Ok(())
    })
}
