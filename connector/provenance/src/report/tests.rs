use serde_json::json;

use super::*;
use crate::testing::{DATA, Participant, digests, now};
use crate::{Expected, Trust, verify};

fn report(file: &[u8]) -> Report {
    let provider = Participant::new("did:web:b.example");
    let bundle = provider.bundle(&provider.issue(&provider.claims()));
    let trust = Trust { anchors: &provider.anchors, registered: None };
    verify(&bundle, trust, Some(&digests(file)), &Expected::default(), now())
}

#[test]
fn people_get_a_line_for_each_check_and_a_verdict_with_its_limits() {
    let text = report(DATA).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 13, "{text}");
    assert!(lines[1].starts_with("  ok      certificates  lead to a trust anchor"), "{text}");
    assert_eq!(lines[9], "  -       parents       the token names none");
    assert_eq!(lines[11], "VERIFIED.");
    let limits = "Unwitnessed: the time of the record is the provider's word. Certificates were \
                  judged as of 2026-07-01T12:00:00Z, without revocation lists.";
    assert_eq!(lines[12], limits);
    let text = report(b"other").to_string();
    let reason = "it has 5 bytes where the token names 28";
    assert!(text.contains(&format!("  FAILED  file          {reason}\n")), "{text}");
    assert!(text.contains(&format!("\nNOT VERIFIED. the file: {reason}\n")), "{text}");
}

#[test]
fn machines_get_names_and_outcomes() {
    let value = serde_json::to_value(report(b"other")).unwrap();
    assert_eq!(value["witness"], json!("unwitnessed"));
    assert_eq!(value["judgedAt"], json!("2026-07-01T12:00:00Z"));
    let last = json!({
        "check": "file",
        "part": "file",
        "outcome": "failed",
        "text": "it has 5 bytes where the token names 28",
    });
    assert_eq!(value["checks"][10], last);
    assert_eq!(value["claims"]["iss"], json!("did:web:b.example"));
}

#[test]
fn claims_are_handed_out_with_the_verdict() {
    let (right, wrong) = (report(DATA), report(b"other"));
    assert_eq!(Ok(right.claims.clone().unwrap()), right.verified());
    assert_eq!(wrong.clone().verified(), Err(Box::new(wrong)));
}

#[test]
fn a_check_that_is_missing_verifies_nothing() {
    let complete = report(DATA);
    assert!(complete.is_verified());
    for check in REQUIRED {
        let mut partial = complete.clone();
        partial.checks.retain(|finding| finding.check != check);
        assert!(!partial.is_verified(), "{check:?}");
        partial.skip(check, "for a reason");
        assert!(!partial.is_verified(), "{check:?}");
        assert!(partial.to_string().contains("NOT VERIFIED."));
    }
}
