use serde_json::{Value, json};

use super::*;
use crate::key::SigningKey;
use crate::pki::{self, Identity};
use crate::testing::{days, now};

fn site(participant: &str) -> SitePki {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pki");
    let names = ["node.alpha.example".to_owned()];
    let identity = Identity::new(participant, "Alpha 株式会社", &names, &[]).unwrap();
    pki::create_with_trial_ca(&path, &identity, now()).unwrap();
    SitePki::load(&path, now()).unwrap()
}

fn details(number: u64) -> CardDetails {
    CardDetails {
        number,
        endpoint: "https://node.alpha.example:8443/dsp".to_owned(),
        origins: vec!["https://node.alpha.example:8443".to_owned()],
        ods: Some(OdsIdentifiers {
            operator_id: "1234567890123".to_owned(),
            open_operator_id: None,
            global_operator_id: None,
        }),
        extensions: vec!["checkpoint/1".to_owned(), "provenance/1".to_owned()],
    }
}

const ALPHA: &str = "did:web:alpha.example";

#[test]
fn a_card_says_what_a_partner_must_register() {
    let site = site(ALPHA);
    let text = issue(&site, details(1), now()).unwrap();
    let opened = open(&format!("\n{text}\n"), now()).unwrap();
    let card = &opened.card;
    assert_eq!((card.participant.as_str(), card.name.as_str()), (ALPHA, "Alpha 株式会社"));
    assert_eq!(card.san_uris, [ALPHA]);
    assert_eq!(card.san_dns, ["node.alpha.example"]);
    assert_eq!(card.issued, now());
    assert_eq!(card.extensions, details(1).extensions);
    assert_eq!(card.ods, details(1).ods);
    assert_eq!(opened.key, site.signing.key().verifying_key());
    // What the card says is enough to accept the site's certificates.
    let material = crate::trust::PartnerMaterial {
        participant: card.participant.clone(),
        san_uris: card.san_uris.clone(),
        server_anchors: vec![card.server_anchors.clone().into_bytes()],
        client_anchors: vec![card.client_anchors.clone().into_bytes()],
        ..crate::trust::PartnerMaterial::default()
    };
    let partner = crate::trust::PartnerTrust::new(&material).unwrap();
    let store = crate::trust::TrustStore::new(1, vec![partner]).unwrap();
    let chain = [site.client.leaf().der().clone()];
    assert_eq!(&*store.check_client(&chain, now()).unwrap().participant, ALPHA);
}

#[test]
fn only_a_newer_card_of_the_same_key_replaces() {
    let (site, other) = (site(ALPHA), site(ALPHA));
    let card = |site: &SitePki, number| {
        open(&issue(site, details(number), now()).unwrap(), now()).unwrap()
    };
    let present = card(&site, 2);
    assert!(card(&site, 3).replaces(&present));
    assert!(!card(&site, 2).replaces(&present) && !card(&site, 1).replaces(&present));
    assert!(!card(&other, 3).replaces(&present));
    assert_ne!(card(&other, 3).fingerprint(), present.fingerprint());
}

#[test]
fn the_fingerprint_can_be_read_out() {
    let site = site(ALPHA);
    let fingerprint = Fingerprint::of(&site.signing.key().verifying_key());
    let text = fingerprint.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        let groups: Vec<&str> = line.split(' ').collect();
        assert_eq!(groups.len(), 8);
        assert!(groups.iter().all(|group| group.len() == 4));
    }
    let digits: String = text.split_whitespace().collect();
    assert_eq!(digits.to_lowercase(), hex::encode(fingerprint.as_bytes()));
}

/// The card of `site` with its payload changed and signed again, by the same key and chain.
fn changed(site: &SitePki, change: impl FnOnce(&mut Value)) -> Result<OpenedCard, CardError> {
    let text = issue(site, details(1), now()).unwrap();
    let opened = open(&text, now()).unwrap();
    let mut payload = serde_json::to_value(&opened.card).unwrap();
    change(&mut payload);
    let chain = site.signing.chain();
    let extras = HeaderExtras { chain: &chain, embed_chain: true };
    let payload = serde_json::to_vec(&payload).unwrap();
    open(&sign_compact(CARD_TYPE, extras, &payload, site.signing.key()).unwrap(), now())
}

#[test]
fn contradictory_cards_are_refused() {
    let (alpha, other) = (site(ALPHA), site("did:web:other.example"));
    let set = |member: &'static str, value: Value| {
        changed(&alpha, |payload| payload[member] = value).unwrap_err().to_string()
    };
    let foreign = other.signing.anchor().to_pem();
    for (expected, error) in [
        ("does not name", set("participant", json!("did:web:other.example"))),
        ("version 2", set("version", json!(2))),
        ("numbered from 1", set("number", json!(0))),
        ("payload is refused", set("number", json!(-1))),
        ("payload is refused", set("number", json!("7"))),
        ("payload is refused", set("issued", json!("yesterday"))),
        ("`https://` URL", set("endpoint", json!("http://node.alpha.example"))),
        ("begin with `https://`", set("origins", json!(["file:///etc"]))),
        ("more than 64", set("extensions", json!(vec!["x"; 65]))),
        ("control characters", set("name", json!("a\u{1b}[31m"))),
        ("signing certificate is refused", set("signingAnchors", json!(foreign))),
        ("server anchors cannot be used", set("serverAnchors", json!("none"))),
        ("client anchors cannot be used", set("clientAnchors", json!(""))),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // A later release may say more.
    assert!(changed(&alpha, |payload| payload["later"] = json!(true)).is_ok());
}

#[test]
fn a_card_needs_its_own_key() {
    let site = site(ALPHA);
    let text = issue(&site, details(1), now()).unwrap();
    assert!(matches!(open(&text, now() + days(6 * 365)), Err(CardError::Signer { .. })));
    let without =
        sign_compact(CARD_TYPE, HeaderExtras::default(), b"{}", site.signing.key()).unwrap();
    assert!(matches!(open(&without, now()), Err(CardError::NoKey)));
    // Another key signs the same header and payload.
    let (input, _) = text.rsplit_once('.').unwrap();
    let thief = SigningKey::generate().unwrap();
    use base64::Engine as _;
    let signature =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(thief.sign(input.as_bytes()));
    assert!(matches!(
        open(&format!("{input}.{signature}"), now()),
        Err(CardError::Jose(JoseError::BadSignature))
    ));
}
