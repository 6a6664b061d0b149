//! Who gets in, as whom, and until when.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use http::Method;
use integration_tests::authority::{Authority, Credential};
use integration_tests::connector::Connector;
use integration_tests::files;
use integration_tests::peer::{Peer, Version};
use integration_tests::scene::Scene;
use integration_tests::villain::{Answer, Asked, Villain};
use integration_tests::wait::{self, PATIENCE};
use serde_json::json;

use crate::stage::{Pair, note, word};

const VERSION: &str = "/.well-known/dspace-version";

#[test]
fn strangers_do_not_get_in_and_learn_nothing() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        let stranger = scene.plan("c").make()?;
        assert_eq!(Peer::of(&customer, &supplier)?.get(VERSION, &[])?.status, 200);
        assert!(Peer::of(&stranger, &supplier)?.get(VERSION, &[]).is_err());
        assert!(Peer::new(None, supplier.address())?.get(VERSION, &[]).is_err());
        let named = Authority::unknown("evil")?.mint(customer.participant())?;
        assert!(Peer::new(Some(named), supplier.address())?.get(VERSION, &[]).is_err());
        Ok(())
    })
}

#[test]
fn a_partner_is_checked_and_tells_what_it_serves() -> Result<()> {
    Scene::play(|scene| {
        let Pair { mut supplier, customer } = Pair::new(scene)?;
        let checked = customer.ask(&["partner", "check", "b"])?;
        assert_eq!(checked["participant"], supplier.participant());
        assert_eq!(checked["versions"][0]["version"], "2025-1");
        assert_eq!(checked["versions"][0]["ours"], true);
        let text = customer.run(&["partner", "check", "b"])?.expect(0)?.stdout;
        assert!(text.contains(supplier.participant()) && text.contains("2025-1"), "{text}");
        customer.run(&["partner", "check", "nobody"])?.expect(66)?;

        supplier.stop()?;
        customer.run(&["partner", "check", "b"])?.expect(69)?;
        let foreign = Authority::of_trial(&customer)?.mint(supplier.participant())?;
        let imposter = Villain::serve(supplier.address(), &foreign, |_| Answer::closing(""))?;
        customer.run(&["partner", "check", "b"])?.expect(78)?;
        assert_eq!(imposter.requests(), 0, "nothing is asked of who is not the partner");
        drop(imposter);

        let versions = |path: &str, version: &str| {
            json!({ "protocolVersions": [{ "version": version, "path": path, "binding": "HTTPS" }] })
                .to_string()
        };
        // A connector whose root is not its origin, as EDC's is not.
        let below = |path: &str, body: String| {
            let path = format!("{path}{VERSION}");
            move |asked: &Asked| {
                let status = if asked.path == path { 200 } else { 404 };
                let fields = [("content-type", "application/json")];
                Answer::honest(status, &fields, body.as_bytes())
            }
        };
        let credential = Credential::of_server(&supplier)?;
        let villain = Villain::serve(
            supplier.address(),
            &credential,
            below("/dsp", versions("/2025-1", "2025-1")),
        )?;
        let checked = customer.ask(&["partner", "check", "b"])?;
        assert_eq!(checked["discovery"], format!("{}/dsp{VERSION}", supplier.origin()));
        for (name, path, body) in [
            ("at another address", "", versions("/api/dsp", "2025-1")),
            ("another version", "", versions("/dsp/2025-1", "2024/1")),
            ("no versions", "", json!({ "protocolVersions": [] }).to_string()),
            ("not JSON", "", "<html>".to_owned()),
            ("nothing there", "/elsewhere", versions("/dsp/2025-1", "2025-1")),
        ] {
            villain.answer(below(path, body));
            let refused = customer.run(&["partner", "check", "b"])?;
            assert_eq!(refused.code, Some(77), "{name}: {refused:?}");
        }
        Ok(())
    })
}

#[test]
fn one_partners_authority_cannot_speak_for_another() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        let third = scene.site("c")?;
        supplier.register(&third, &["partners"])?;
        customer.register(&third, &["partners"])?;
        let authority = Authority::of_trial(&third)?;

        // Inbound: the registered c mints a's name.
        let own = authority.mint(third.participant())?;
        assert_eq!(Peer::new(Some(own), supplier.address())?.get(VERSION, &[])?.status, 200);
        let minted = authority.mint(customer.participant())?;
        assert!(Peer::new(Some(minted), supplier.address())?.get(VERSION, &[]).is_err());

        // Outbound: c stands where a should be, and the supplier dials a.
        customer.stop()?;
        let minted = authority.mint(customer.participant())?;
        let imposter = Connector::serve(&customer, &supplier, &minted)?;
        let refused = supplier.run(&["catalog", "a"])?;
        assert_ne!(refused.code, Some(0));
        assert!(imposter.received().is_none());
        Ok(())
    })
}

#[test]
fn both_http_versions_and_the_hybrid_key_exchange_are_served() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        for version in [Version::Http1, Version::Http2] {
            let peer = Peer::of(&customer, &supplier)?.speaking(version);
            let reply = peer.get(VERSION, &[])?;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.json()?["protocolVersions"][0]["version"], "2025-1");
        }
        let presented = Peer::of(&customer, &supplier)?.presented()?;
        let own = Credential::of_server(&supplier)?;
        assert_eq!(presented.first(), own.chain.first());
        Ok(())
    })
}

#[test]
fn a_revoked_certificate_is_refused_as_soon_as_its_list_is_there() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        let authority = Authority::of_trial(&customer)?;
        let list = supplier.path("partners/a.crl");
        authority.revoke(&[vec![1]], 1, &list)?;
        let file = supplier.path("partners/a.toml");
        let text = std::fs::read_to_string(&file)?;
        let named = text.replacen("crls = []", "crls = [\"a.crl\"]", 1);
        assert_ne!(named, text, "{text}");
        let changes = |log: String| log.matches("partner.changed").count();
        let before = changes(supplier.log()?);
        std::fs::write(&file, named)?;
        let peer = Peer::of(&customer, &supplier)?;
        wait::until("the partner's file is read", PATIENCE, || {
            Ok((changes(supplier.log()?) > before).then_some(()))
        })?;
        assert_eq!(peer.get(VERSION, &[])?.status, 200);

        authority.revoke(&[Credential::of_client(&customer)?.serial()?], 2, &list)?;
        wait::until("the revoked certificate is refused", PATIENCE, || {
            Ok(peer.get(VERSION, &[]).is_err().then_some(()))
        })
    })
}

#[test]
fn a_key_that_others_can_read_is_refused_at_start() -> Result<()> {
    Scene::play(|scene| {
        let site = scene.plan("b").make()?;
        let key = site.path("pki/signing.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644))?;
        for command in ["check", "serve"] {
            let refused = site.run(&[command])?.expect(64)?;
            assert!(refused.stdout.contains("signing.key"), "{}", refused.stdout);
        }
        Ok(())
    })
}

#[test]
fn a_suspended_partner_is_cut_off_in_the_middle() -> Result<()> {
    const SIZE: u64 = 256 * 1024 * 1024;
    Scene::play(|scene| {
        let Pair { supplier, mut customer } = Pair::new(scene)?;
        let source = scene.file("large");
        files::write(&source, SIZE, "large")?;
        supplier.publish(&source, "large", "open")?;
        customer.stop()?;
        let connector = Connector::play(&customer, &supplier)?;
        let agreement = connector.negotiate("large", None)?;
        let transfer = connector.transfer(&agreement)?;
        let headers = [("authorization", transfer.address.authorization.as_str())];
        let path = &transfer.address.path;
        let mut opened = connector.peer.open(Method::GET, path, &headers, bytes::Bytes::new())?;
        assert_eq!(opened.status, 200);
        opened.chunk()?.context("the stream is empty")?;

        // When the command returns the cut is on record: what comes after it was on its way already.
        supplier.ask(&["partner", "suspend", "a", "--reason", "an incident"])?;
        let (after, whole) = opened.drain();
        assert!(!whole, "the body ended as if it were whole");
        assert!(after < 16 * 1024 * 1024, "{after} bytes came after the cut");
        assert_eq!(supplier.records("a", "transfer-cut")?.len(), 1);

        let refused = connector.peer.get(path, &headers)?;
        assert_eq!(refused.status, 403);
        supplier.ask(&["partner", "resume", "a"])?;
        let probe = connector.peer.send(Method::GET, VERSION, &[], bytes::Bytes::new())?;
        assert_eq!(probe.status, 200);
        Ok(())
    })
}

#[test]
fn a_newer_card_updates_a_partner_and_an_older_one_does_not() -> Result<()> {
    Scene::play(|scene| {
        let Pair { supplier, customer } = Pair::new(scene)?;
        let (old, new) = (scene.file("old.card"), scene.file("new.card"));
        customer.ask(&["partner", "card", "-o", word(&old)?])?;
        customer.ask(&["partner", "card", "-o", word(&new)?])?;
        supplier.ask(&["partner", "add", word(&new)?, "--yes"])?;
        assert_ne!(supplier.run(&["partner", "add", word(&old)?, "--yes"])?.code, Some(0));
        // A card that was changed on its way.
        let text = std::fs::read_to_string(&new)?;
        let middle = text.len() / 2;
        let other = if text.as_bytes()[middle] == b'A' { "B" } else { "A" };
        let mut changed = text;
        changed.replace_range(middle..=middle, other);
        let changed = note(scene, "changed.card", &changed)?;
        assert_ne!(supplier.run(&["partner", "add", word(&changed)?, "--yes"])?.code, Some(0));
        // A fingerprint that is not the one told by telephone.
        let stranger = scene.plan("c").make()?;
        let card = scene.file("c.card");
        stranger.ask(&["partner", "card", "-o", word(&card)?])?;
        let wrong = "00".repeat(32);
        let add = ["partner", "add", word(&card)?, "--fingerprint", &wrong, "--yes"];
        supplier.run(&add)?.expect(78)?;
        Ok(())
    })
}
