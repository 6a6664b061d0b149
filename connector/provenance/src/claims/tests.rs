use super::*;
use crate::testing::{Change, Participant};

fn claims() -> Claims {
    Participant::new("did:web:b.example").claims()
}

#[test]
fn people_are_told_who_released_what_to_whom() {
    let claims = claims();
    let Dataset { sha256, blake3, .. } = &claims.dataset;
    let policy = claims.policy.sha256;
    let expected = format!(
        "\
did:web:b.example released
  dataset     urn:dataset:cfp, version 3, `部品Bのカーボンフットプリント`
  file        `cfp.json`, 28 bytes, application/json
  sha-256     {sha256}
  blake3      {blake3}
  to          did:web:a.example
  on          2026-07-01T12:00:00Z
  agreement   urn:uuid:11111111-8a53-4d55-a3f5-33a1c8f3a0d1
  policy      sha-256 {policy}
  purpose     cfp-reporting (declared by the recipient)
  handling    restricted
  transfer    urn:uuid:22222222-8a53-4d55-a3f5-33a1c8f3a0d1
  log         did:web:b.example/relation/did:web:a.example/1
  signed      2026-07-01T12:00:00Z
"
    );
    assert_eq!(claims.to_string(), expected);
}

#[test]
fn a_hostile_title_stays_on_its_line() {
    let mut claims = claims();
    let rows = claims.to_string().lines().count();
    claims.dataset.title = Some("x\n  to          did:web:evil.example".to_owned());
    assert_eq!(claims.to_string().lines().count(), rows);
}

#[test]
fn limits_are_kept() {
    let changes: [Change<Claims>; 7] = [
        ("iss", |claims| claims.issuer.clear()),
        ("sub", |claims| claims.subject = "s".repeat(1025)),
        ("aud", |claims| claims.audience.push('\n')),
        ("consumerProcess", |claims| claims.activity.consumer_process = Some(String::new())),
        ("dataset.title", |claims| claims.dataset.title = Some("t".repeat(4097))),
        ("log.origin", |claims| claims.log.origin = "o".repeat(4097)),
        ("257 parents", |claims| {
            claims.parents = vec![Commitment(Digest::sha256(b"")); 257];
        }),
    ];
    assert_eq!(claims().check(), Ok(()));
    for (name, change) in changes {
        let mut changed = claims();
        change(&mut changed);
        let error = changed.check().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
