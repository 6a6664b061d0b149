use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::parents::Commitment;
use crate::testing::{Change, Participant, now};

fn payload(provider: &Participant, change: impl FnOnce(&mut Value)) -> Value {
    let mut payload = serde_json::to_value(provider.claims()).unwrap();
    change(&mut payload);
    payload
}

fn read(provider: &Participant, token: &str) -> Result<Claims, TokenError> {
    Token::parse(token)?.verify(&provider.key.verifying_key())
}

#[test]
fn what_is_issued_is_read() {
    let provider = Participant::new("did:web:b.example");
    let claims = provider.claims();
    let token = provider.issue(&claims);
    let parsed = Token::parse(&token).unwrap();
    assert_eq!(parsed.chain(), provider.chain);
    assert_eq!(parsed.sha256(), Digest::sha256(token.as_bytes()));
    assert_eq!(parsed.verify(&provider.key.verifying_key()).unwrap(), claims);
}

#[test]
fn the_payload_has_the_names_of_the_standards() {
    let provider = Participant::new("did:web:b.example");
    let payload = payload(&provider, |_| ());
    assert_eq!(payload["prov"], json!(1));
    assert_eq!(payload["iat"], json!(1_782_907_200));
    for name in ["iss", "sub", "aud", "jti", "agreement", "policy", "dataset", "activity", "log"] {
        assert!(payload.get(name).is_some(), "{name}");
    }
    assert!(payload.get("nbf").is_none());
    assert_eq!(payload["activity"]["type"], json!("release"));
    assert_eq!(payload["log"]["key"]["algorithm"], json!("Ed25519"));
}

#[test]
fn nothing_is_issued_that_would_not_verify() {
    let (provider, other) =
        (Participant::new("did:web:b.example"), Participant::new("did:web:c.example"));
    let claims = provider.claims();
    let refused =
        |claims: &Claims, chain: &[Certificate]| issue(claims, &provider.key, chain).unwrap_err();
    assert!(matches!(refused(&claims, &[]), TokenError::NoChain));
    assert!(matches!(refused(&claims, &other.chain), TokenError::OtherIssuer { .. }));
    assert!(matches!(refused(&other.claims(), &provider.chain), TokenError::OtherIssuer { .. }));
    let mut foreign = claims.clone();
    foreign.log = other.claims().log;
    assert!(matches!(refused(&foreign, &provider.chain), TokenError::OtherLogKey { .. }));
    let mut endless = claims;
    endless.purpose = Some("p".repeat(5000));
    assert!(matches!(refused(&endless, &provider.chain), TokenError::Claims(_)));
}

#[test]
fn claims_are_read_strictly() {
    let provider = Participant::new("did:web:b.example");
    let changes: [Change<Value>; 14] = [
        ("iat as a text", |claims| claims["iat"] = json!("1782907200")),
        ("iat as a fraction", |claims| claims["iat"] = json!(1_782_907_200.5)),
        ("iat beyond time", |claims| claims["iat"] = json!(i64::MAX)),
        ("nbf as a text", |claims| claims["nbf"] = json!("0")),
        ("aud as a list", |claims| claims["aud"] = json!(["did:web:a.example"])),
        ("exp", |claims| claims["exp"] = json!(4_000_000_000_u64)),
        ("another profile", |claims| claims["prov"] = json!(2)),
        ("no profile", |claims| {
            claims.as_object_mut().unwrap().remove("prov");
        }),
        ("no agreement", |claims| {
            claims.as_object_mut().unwrap().remove("agreement");
        }),
        ("an unknown activity", |claims| claims["activity"]["type"] = json!("sale")),
        ("an upper-case digest", |claims| {
            claims["policy"]["sha256"] = json!("A".repeat(64));
        }),
        ("a negative size", |claims| claims["dataset"]["size"] = json!(-1)),
        ("a short log key", |claims| claims["log"]["key"]["public"] = json!("AAAA")),
        ("an empty issuer", |claims| claims["iss"] = json!("")),
    ];
    assert!(read(&provider, &provider.sign(&payload(&provider, |_| ()))).is_ok());
    for (name, change) in changes {
        let token = provider.sign(&payload(&provider, change));
        assert!(read(&provider, &token).is_err(), "{name}");
    }
}

#[test]
fn claims_that_this_release_does_not_know_are_passed_over() {
    let provider = Participant::new("did:web:b.example");
    let token = provider.sign(&payload(&provider, |claims| claims["eccn"] = json!("3E001")));
    assert_eq!(read(&provider, &token).unwrap(), provider.claims());
}

#[test]
fn a_doubled_claim_is_refused() {
    let provider = Participant::new("did:web:b.example");
    for doubled in [r#""aud":"did:web:evil.example""#, r#""new":1,"new":2"#] {
        let text = payload(&provider, |_| ()).to_string();
        let text = format!("{},{doubled}}}", text.strip_suffix('}').unwrap());
        let extras = HeaderExtras { chain: &provider.chain, embed_chain: true };
        let token = jose::sign_compact(TYPE, extras, text.as_bytes(), &provider.key).unwrap();
        assert!(read(&provider, &token).is_err(), "{doubled}");
    }
}

#[test]
fn a_token_of_another_type_or_key_is_refused() {
    let (provider, other) =
        (Participant::new("did:web:b.example"), Participant::new("did:web:c.example"));
    let payload = payload(&provider, |_| ()).to_string();
    let extras = HeaderExtras { chain: &provider.chain, embed_chain: true };
    let card = jose::sign_compact("sekisho-card+jwt", extras, payload.as_bytes(), &provider.key);
    let error = Token::parse(&card.unwrap()).unwrap_err();
    assert!(matches!(error, TokenError::Jose(JoseError::WrongType { .. })));
    assert!(read(&other, &provider.issue(&provider.claims())).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_claims_within_the_limits_come_back(
        id in "[^\\p{C}]{1,200}", text in "\\PC{0,300}|[\\x00-\\x1f]{1,20}",
        size in any::<u64>(), parents in proptest::collection::vec(any::<[u8; 32]>(), 0..20),
        nbf in proptest::option::of(-100_000_i64..100_000),
    ) {
        let provider = Participant::new("did:web:b.example");
        let mut claims = provider.claims();
        claims.subject.clone_from(&id);
        claims.agreement.id = id;
        claims.dataset.file_name.clone_from(&text);
        claims.dataset.title = Some(text.clone());
        claims.purpose = Some(text);
        claims.dataset.size = size;
        claims.parents = parents.into_iter().map(|bytes| Commitment(Digest(bytes))).collect();
        claims.not_before = nbf.map(|seconds| now() + jiff::SignedDuration::from_secs(seconds));
        prop_assert_eq!(read(&provider, &provider.issue(&claims)).unwrap(), claims);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}|[A-Za-z0-9_.-]{0,400}") {
        prop_assert!(Token::parse(&text).is_err());
    }
}
