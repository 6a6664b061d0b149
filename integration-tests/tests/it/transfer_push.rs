//! Pushes: the provider sends the bytes to the consumer's endpoint.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, StatusCode};
use integration_tests::connector::{CONTEXT, Connector, array, encode, text, urn};
use integration_tests::files;
use integration_tests::peer::Peer;
use integration_tests::proxy::{Faults, Proxy};
use integration_tests::scene::Scene;
use integration_tests::site::{COMMAND_LIMIT, Site, befriend};
use integration_tests::wait::{self, PATIENCE};
use serde_json::json;

use crate::stage::{Pair, word};
use crate::transfer_steps::{agreement, import, in_state, transfer_of};

const SIZE: u64 = 24 * 1024 * 1024;
const SLOW: u64 = 4 * 1024 * 1024;

/// A customer behind a line that the test controls, and a supplier with one large file.
struct Behind {
    supplier: Site,
    customer: Site,
    proxy: Proxy,
}

impl Behind {
    fn new(scene: &Scene) -> Result<Self> {
        let (customer, proxy) = scene.site_behind_a_line("a")?;
        let Pair { supplier, customer } = Pair::of(scene.site("b")?, customer)?;
        let source = scene.file("source.bin");
        files::write(&source, SIZE, "source")?;
        supplier.publish(&source, "one", "open")?;
        proxy.set(Faults { bytes_per_second: Some(SLOW), ..Faults::default() });
        Ok(Self { supplier, customer, proxy })
    }

    /// Bytes that the customer has in files.
    fn here(&self) -> Result<u64> {
        let mut here = 0;
        for file in std::fs::read_dir(self.customer.path("data/incoming"))? {
            here += file?.metadata().map_or(0, |file| file.len());
        }
        Ok(here)
    }

    /// Waits until another part of the file is here.
    fn underway(&self) -> Result<()> {
        let enough = self.here()? + SIZE / 6;
        wait::until("a part of the file is here", PATIENCE, || {
            Ok((self.here()? >= enough).then_some(()))
        })
    }

    /// Bytes that the supplier has recorded as sent.
    fn sent(&self) -> Result<u64> {
        let list = self.supplier.ask(&["transfer", "list"])?;
        Ok(array(&list, "/transfers").iter().filter_map(|own| own["served_bytes"].as_u64()).sum())
    }
}

#[test]
fn a_push_goes_on_after_each_side_was_killed_and_is_verified_and_proven() -> Result<()> {
    Scene::play(|scene| {
        let mut behind = Behind::new(scene)?;
        let target = scene.file("got.bin");
        let pull = ["pull", "b", "one", "--push", "-o", word(&target)?, "--wait", "120"];
        let running = behind.customer.begin(&pull)?;
        behind.underway()?;
        behind.supplier.kill()?;
        behind.supplier.start()?;
        behind.underway()?;
        behind.customer.kill()?;
        assert!(!target.exists());
        behind.customer.start()?;
        behind.underway()?;
        behind.proxy.set(Faults::default());
        running.wait(COMMAND_LIMIT)?.expect(0)?;
        assert_eq!(files::sha256(&target)?, files::sha256(&scene.file("source.bin"))?);
        let shown = behind.customer.ask(&["transfer", "list"])?;
        assert_eq!(shown["transfers"][0]["format"], "HttpData-PUSH", "{shown}");
        // The evidence came with it, and one use was counted however often it was interrupted.
        assert!(scene.file("got.bin.prov").exists());
        assert_eq!(behind.supplier.records("a", "transfer-granted")?.len(), 1);
        assert_eq!(behind.customer.records("b", "pull-received")?.len(), 1);
        in_state(&behind.supplier, &transfer_of(&behind.supplier)?, "COMPLETED")?;
        let sent = behind.sent()?;
        assert!(sent < SIZE + SIZE / 4, "it began from the start again: {sent} bytes were sent");
        Ok(())
    })
}

#[test]
fn a_suspension_cuts_a_push_and_a_resumption_goes_on_where_it_was() -> Result<()> {
    Scene::play(|scene| {
        let behind = Behind::new(scene)?;
        let target = scene.file("got.bin");
        let pull = ["pull", "b", "one", "--push", "-o", word(&target)?, "--wait", "120"];
        let running = behind.customer.begin(&pull)?;
        behind.underway()?;
        let (own, theirs) = (transfer_of(&behind.customer)?, transfer_of(&behind.supplier)?);
        for (site, id) in [(&behind.supplier, &theirs), (&behind.customer, &own)] {
            site.ask(&["transfer", "suspend", id, "--reason", "a pause"])?;
            in_state(&behind.customer, &own, "SUSPENDED")?;
            in_state(&behind.supplier, &theirs, "SUSPENDED")?;
            let held = behind.here()?;
            for other in [&behind.supplier, &behind.customer] {
                // Time passes, and no data.
                other.ask(&["transfer", "list"])?;
            }
            let flowed = behind.here()? - held;
            assert!(flowed < 512 * 1024, "{flowed} bytes came while it was suspended");
            site.ask(&["transfer", "resume", id])?;
            in_state(&behind.customer, &own, "STARTED")?;
            behind.underway()?;
        }
        let cut = behind.supplier.records("a", "transfer-cut")?;
        assert!(!cut.is_empty(), "what was cut is on record");
        behind.proxy.set(Faults::default());
        running.wait(COMMAND_LIMIT)?.expect(0)?;
        assert_eq!(files::sha256(&target)?, files::sha256(&scene.file("source.bin"))?);
        let sent = behind.sent()?;
        assert!(sent < SIZE + SIZE / 4, "it began from the start again: {sent} bytes were sent");
        Ok(())
    })
}

#[test]
fn an_agreement_that_ends_cuts_a_push_for_good() -> Result<()> {
    Scene::play(|scene| {
        let behind = Behind::new(scene)?;
        let target = scene.file("got.bin");
        let pull = ["pull", "b", "one", "--push", "-o", word(&target)?, "--wait", "60"];
        let running = behind.customer.begin(&pull)?;
        behind.underway()?;
        let list = behind.supplier.ask(&["transfer", "list"])?;
        let agreement = text(&list, "/transfers/0/agreement")?;
        behind.supplier.ask(&["agreement", "end", &agreement, "--reason", "it is over"])?;
        behind.proxy.set(Faults::default());
        let ended = running.wait(COMMAND_LIMIT)?;
        assert_ne!(ended.code, Some(0), "{}", ended.stdout);
        assert!(!target.exists());
        assert!(behind.sent()? < SIZE);
        Ok(())
    })
}

#[test]
fn more_than_is_taken_here_is_refused_before_it_is_sent() -> Result<()> {
    Scene::play(|scene| {
        let mut customer =
            scene.plan("a").setting("data", "max_incoming_bytes", "1048576").make()?;
        customer.start()?;
        let pair = Pair::of(scene.site("b")?, customer)?;
        let source = scene.file("source.bin");
        files::write(&source, 2 * 1024 * 1024, "source")?;
        pair.supplier.publish(&source, "one", "open")?;
        let target = scene.file("got.bin");
        let pull = ["pull", "b", "one", "--push", "-o", word(&target)?, "--wait", "30"];
        let refused = pair.customer.run(&pull)?;
        assert_ne!(refused.code, Some(0), "{}", refused.stdout);
        assert!(refused.stdout.contains("max_incoming_bytes"), "{}", refused.stdout);
        assert!(!target.exists());
        in_state(&pair.supplier, &transfer_of(&pair.supplier)?, "TERMINATED")
    })
}

#[test]
fn an_upload_needs_its_partner_its_token_and_its_evidence() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        let stranger = scene.site("c")?;
        befriend(&stranger, &customer)?;
        let agreed = agreement("ATPUSH", "one", &supplier, &customer);
        import(scene, &customer, "b", "consumer", &agreed, &[])?;
        supplier.stop()?;
        let connector = Connector::play(&supplier, &customer)?;
        let target = scene.file("got.bin");
        let pull = ["pull", "b", "one", "--push", "-o", word(&target)?, "--wait", "60"];
        let running = customer.begin(&pull)?;
        let request = connector.expect("TransferRequestMessage")?.body;
        assert_eq!(request["format"], "HttpData-PUSH", "{request}");
        let token = array(&request, "/dataAddress/endpointProperties")
            .iter()
            .find(|property| property["name"] == "authorization")
            .and_then(|property| property["value"].as_str().map(str::to_owned))
            .context("the request has no token")?;
        let endpoint = text(&request, "/dataAddress/endpoint")?;
        let path = format!("/{}", endpoint.splitn(4, '/').nth(3).context("no path")?);
        let own = text(&request, "/consumerPid")?;
        let start = json!({
            "@context": [CONTEXT], "@type": "TransferStartMessage", "@id": urn(),
            "consumerPid": own, "providerPid": urn(),
        });
        let posted = connector.post(&format!("/transfers/{}/start", encode(&own)), &start)?;
        assert_eq!(posted.status, 200, "{posted:?}");

        let put = |peer: &Peer, token: Option<&str>, path: &str, bytes: &'static str| {
            let authorization = token.map(|token| format!("Bearer {token}"));
            let headers: Vec<_> =
                authorization.iter().map(|value| ("authorization", value.as_str())).collect();
            let body = Bytes::from_static(bytes.as_bytes());
            anyhow::Ok(peer.send(Method::PUT, path, &headers, body)?.status)
        };
        let peer = &connector.peer;
        assert_eq!(put(peer, None, &path, "x")?, 401);
        let wrong = files::with_other_letter(&token);
        assert_eq!(put(peer, Some(&wrong), &path, "x")?, 404);
        let other = Peer::of(&stranger, &customer)?;
        assert_eq!(put(&other, Some(&token), &path, "x")?, 404, "it is another partner's");
        for log in ["b", "c"] {
            wait::until("the refusal is on record", PATIENCE, || {
                let refused = customer.records(log, "request-refused")?;
                Ok((!refused.is_empty()).then_some(()))
            })?;
        }
        assert_eq!(put(peer, Some(&token), &path, "x")?, 400, "bytes before their evidence");
        let get = peer.get(&path, &[("authorization", &format!("Bearer {token}"))])?;
        assert_eq!(get.status, 405, "nothing is read there");

        // No secret is kept.
        let mut read = 0;
        for file in std::fs::read_dir(customer.path("data/journal"))? {
            let path = file?.path();
            if path.is_file() {
                let bytes = std::fs::read(&path)?;
                assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
                read += bytes.len();
            }
        }
        assert!(read > 0, "the journal was looked at");
        // Evidence that is none ends it.
        connector.answer(StatusCode::OK);
        assert_eq!(put(peer, Some(&token), &format!("{path}/provenance"), "{}")?, 400);
        let failed = running.wait(COMMAND_LIMIT)?;
        assert_ne!(failed.code, Some(0), "{}", failed.stdout);
        connector.expect("TransferTerminationMessage")?;
        assert_eq!(put(peer, Some(&token), &path, "x")?, 403);
        assert!(!target.exists());
        Ok(())
    })
}
