use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use super::*;
use crate::parents::{Opening, Parent};
use crate::report::{Outcome, Witness};
use crate::testing::{
    Authority, Change, DATA, ORIGIN, PROVIDER, Participant, RECIPIENT, digests, leaf, leaf_with,
    now, pkcs8,
};
use crate::{Check, digest_reader};

/// A provider, a release of it, and the bundle that its recipient got.
struct Release {
    provider: Participant,
    token: String,
    bundle: Bundle,
}

impl Release {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Claims)) -> Self {
        let provider = Participant::new(PROVIDER);
        let mut claims = provider.claims();
        change(&mut claims);
        let token = provider.issue(&claims);
        let bundle = provider.bundle(&token);
        Self { provider, token, bundle }
    }

    fn verify(&self, bundle: &Bundle) -> Report {
        verify_with(&self.provider, bundle)
    }
}

fn by_anchors(provider: &Participant) -> Trust<'_> {
    Trust { anchors: &provider.anchors, registered: None }
}

fn verify_with(provider: &Participant, bundle: &Bundle) -> Report {
    verify(bundle, by_anchors(provider), Some(&digests(DATA)), &Expected::default(), now())
}

fn registered(participant: &Participant) -> Registered {
    Registered { participant: participant.id.clone(), key: participant.key.verifying_key() }
}

/// The check and the part that are to blame.
fn blame(report: &Report) -> (Check, Part) {
    assert!(!report.is_verified(), "{report}");
    let finding = report.failure().unwrap();
    (finding.check, finding.part)
}

/// The bundle with other content, past the limits that a document is held to.
fn rebuilt(bundle: &Bundle, token: &str, leaf: &str, checkpoint: &str) -> Bundle {
    Bundle::new(token, leaf.as_bytes(), bundle.index(), bundle.proof().to_vec(), checkpoint)
        .unwrap()
}

/// The text with the lowest bit of one byte turned over; only for ASCII.
fn flipped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] ^= 1;
    String::from_utf8(bytes).unwrap()
}

#[test]
fn evidence_is_verified_by_anchors_or_by_a_registered_key() {
    let release = Release::new();
    let known = registered(&release.provider);
    let anchors = &release.provider.anchors[..];
    for trust in [
        Trust { anchors, registered: None },
        Trust { anchors: &[], registered: Some(&known) },
        Trust { anchors, registered: Some(&known) },
    ] {
        let file = digests(DATA);
        let report = verify(&release.bundle, trust, Some(&file), &Expected::default(), now());
        assert!(report.is_verified(), "{report}");
        assert_eq!(report.witness, Witness::Unwitnessed);
        assert_eq!(report.claims, Some(release.provider.claims()));
        assert!(matches!(report.outcome(Check::File), Some(Outcome::Passed(_))));
    }
}

#[test]
fn without_anything_to_trust_nothing_is_verified() {
    let release = Release::new();
    let report = verify(&release.bundle, Trust::default(), None, &Expected::default(), now());
    assert_eq!(blame(&report), (Check::Chain, Part::Chain));
    assert!(matches!(report.outcome(Check::Issuer), Some(Outcome::NotChecked(_))));
}

#[test]
fn evidence_can_be_verified_without_the_file_and_says_so() {
    let release = Release::new();
    let trust = by_anchors(&release.provider);
    let report = verify(&release.bundle, trust, None, &Expected::default(), now());
    assert!(report.is_verified());
    assert!(matches!(report.outcome(Check::File), Some(Outcome::NotChecked(_))));
    assert!(report.to_string().contains("VERIFIED, but no file was compared"));
}

#[test]
fn a_changed_byte_of_the_token_is_blamed_on_it() {
    let release = Release::new();
    let header = release.token.find('.').unwrap();
    for at in 0..release.token.len() {
        let token = flipped(&release.token, at);
        let bundle =
            rebuilt(&release.bundle, &token, release.bundle.leaf(), release.bundle.checkpoint());
        let (check, part) = blame(&release.verify(&bundle));
        match at < header {
            // The certificates are in the header.
            true => assert!(matches!(part, Part::Token | Part::Chain), "byte {at}: {check:?}"),
            false => assert_eq!(part, Part::Token, "byte {at}: {check:?}"),
        }
    }
}

#[test]
fn a_changed_certificate_is_blamed_on_the_chain() {
    let release = Release::new();
    let parts: Vec<&str> = release.token.split('.').collect();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
    for number in 0..2 {
        let mut der = release.provider.chain[number].der().to_vec();
        // Every byte of the signature that ends a certificate, and a place inside it.
        for at in (der.len() - 60..der.len()).chain([der.len() / 2]) {
            der[at] ^= 1;
            let mut header = header.clone();
            header["x5c"][number] = json!(STANDARD.encode(&der));
            der[at] ^= 1;
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            let token = format!("{header}.{}.{}", parts[1], parts[2]);
            let (leaf, note) = (release.bundle.leaf(), release.bundle.checkpoint());
            let report = release.verify(&rebuilt(&release.bundle, &token, leaf, note));
            assert_eq!(blame(&report).1, Part::Chain, "{number}, byte {at}\n{report}");
        }
    }
}

#[test]
fn a_changed_byte_of_the_leaf_is_blamed_on_entry_or_proof() {
    let release = Release::new();
    for at in 0..release.bundle.leaf().len() {
        let leaf = flipped(release.bundle.leaf(), at);
        let bundle = rebuilt(&release.bundle, &release.token, &leaf, release.bundle.checkpoint());
        let (_, part) = blame(&release.verify(&bundle));
        assert!(matches!(part, Part::LogEntry | Part::LogProof), "byte {at}: {part}");
    }
}

#[test]
fn a_changed_byte_of_the_checkpoint_is_blamed_on_it() {
    let release = Release::new();
    for at in 0..release.bundle.checkpoint().len() {
        let mut bytes = release.bundle.checkpoint().as_bytes().to_vec();
        bytes[at] ^= 1;
        let note = String::from_utf8_lossy(&bytes).into_owned();
        let bundle = rebuilt(&release.bundle, &release.token, release.bundle.leaf(), &note);
        let report = release.verify(&bundle);
        assert_eq!(blame(&report), (Check::Checkpoint, Part::Checkpoint), "byte {at}");
        assert_eq!(report.failures().count(), 1);
    }
}

#[test]
fn a_changed_proof_is_blamed_on_it() {
    let release = Release::new();
    let (bundle, proof) = (&release.bundle, release.bundle.proof());
    let mut wrong = vec![
        (4, proof[1..].to_vec()),
        (4, proof[..proof.len() - 1].to_vec()),
        (4, Vec::new()),
        (4, [proof, &proof[..1]].concat()),
        (4, proof.iter().rev().copied().collect()),
    ];
    wrong.extend([0, 3, 5, 6, 7, u64::MAX].map(|index| (index, proof.to_vec())));
    for hash in 0..proof.len() {
        for byte in 0..32 {
            let mut proof = proof.to_vec();
            proof[hash].0[byte] ^= 1;
            wrong.push((4, proof));
        }
    }
    for (index, proof) in wrong {
        let leaf = bundle.leaf().as_bytes();
        let changed = Bundle::new(bundle.token(), leaf, index, proof, bundle.checkpoint()).unwrap();
        let report = release.verify(&changed);
        assert_eq!(blame(&report), (Check::Inclusion, Part::LogProof), "{index}");
        assert_eq!(report.failures().count(), 1);
    }
}

#[test]
fn a_changed_file_is_blamed_on_it() {
    let release = Release::new();
    let verify_file = |file: &mut File| {
        file.seek(SeekFrom::Start(0)).unwrap();
        let digests = digest_reader(&mut *file, |_| ()).unwrap();
        let trust = by_anchors(&release.provider);
        verify(&release.bundle, trust, Some(&digests), &Expected::default(), now())
    };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(DATA).unwrap();
    assert!(verify_file(&mut file).is_verified());
    for at in 0..DATA.len() {
        let mut put = |byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        put(DATA[at] ^ 1);
        let report = verify_file(&mut file);
        assert_eq!(blame(&report), (Check::File, Part::File), "byte {at}");
        assert_eq!(report.failures().count(), 1);
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&DATA[at..=at]).unwrap();
    }
    file.set_len(DATA.len() as u64 - 1).unwrap();
    assert_eq!(blame(&verify_file(&mut file)), (Check::File, Part::File));
    let halves = [
        Digests { sha256: digests(b"x").sha256, ..digests(DATA) },
        Digests { blake3: digests(b"x").blake3, ..digests(DATA) },
    ];
    for half in halves {
        let trust = by_anchors(&release.provider);
        let report = verify(&release.bundle, trust, Some(&half), &Expected::default(), now());
        assert_eq!(blame(&report), (Check::File, Part::File));
    }
}

#[test]
fn a_changed_byte_of_the_document_is_found() {
    let release = Release::new();
    let document = release.bundle.to_json().unwrap().into_bytes();
    for at in 0..document.len() {
        let mut changed = document.clone();
        changed[at] ^= 1;
        if let Ok(bundle) = Bundle::parse(&changed) {
            assert!(!release.verify(&bundle).is_verified(), "byte {at}");
        }
    }
}

#[test]
fn an_impostor_under_another_authority_is_not_believed() {
    let release = Release::new();
    let impostor = Participant::new(PROVIDER);
    let bundle = impostor.bundle(&impostor.issue(&impostor.claims()));
    assert!(verify_with(&impostor, &bundle).is_verified());
    assert_eq!(blame(&release.verify(&bundle)), (Check::Chain, Part::Chain));
    let known = registered(&release.provider);
    for anchors in [&[][..], &impostor.anchors] {
        let trust = Trust { anchors, registered: Some(&known) };
        let report = verify(&bundle, trust, None, &Expected::default(), now());
        assert_eq!(blame(&report), (Check::Signature, Part::Token));
    }
}

#[test]
fn nobody_speaks_for_another_of_the_same_authority() {
    let authority = Authority::new("shared");
    let (provider, other) =
        (authority.participant(PROVIDER), authority.participant("did:web:c.example"));
    let mut forged = serde_json::to_value(other.claims()).unwrap();
    forged["iss"] = json!(provider.id);
    let bundle = other.bundle(&other.sign(&forged));
    assert_eq!(blame(&verify_with(&provider, &bundle)), (Check::Issuer, Part::Token));
    let known = registered(&other);
    let trust = Trust { anchors: &[], registered: Some(&known) };
    let report = verify(&bundle, trust, None, &Expected::default(), now());
    assert_eq!(blame(&report), (Check::Issuer, Part::Token));
    // Under its own name it is believed, unless somebody else was expected.
    let bundle = other.bundle(&other.issue(&other.claims()));
    assert!(verify_with(&provider, &bundle).is_verified());
    let expected = Expected { provider: Some(PROVIDER), ..Expected::default() };
    let report = verify(&bundle, by_anchors(&provider), None, &expected, now());
    assert_eq!(blame(&report), (Check::Expected, Part::Token));
}

#[test]
fn evidence_of_another_exchange_is_refused() {
    let release = Release::new();
    let claims = release.provider.claims();
    let right = Expected {
        provider: Some(PROVIDER),
        recipient: Some(RECIPIENT),
        dataset: Some(&claims.subject),
        agreement: Some(&claims.agreement.id),
        transfer: Some(&claims.activity.transfer),
        consumer_process: claims.activity.consumer_process.as_deref(),
    };
    let check = |expected: &Expected<'_>| {
        verify(&release.bundle, by_anchors(&release.provider), None, expected, now())
    };
    assert!(check(&right).is_verified());
    let other = Some("urn:other");
    for expected in [
        Expected { provider: other, ..right },
        Expected { recipient: other, ..right },
        Expected { dataset: other, ..right },
        Expected { agreement: other, ..right },
        Expected { transfer: other, ..right },
        Expected { consumer_process: other, ..right },
    ] {
        let report = check(&expected);
        assert_eq!(blame(&report), (Check::Expected, Part::Token));
        assert_eq!(report.failures().count(), 1);
    }
    let silent = Release::with(|claims| claims.activity.consumer_process = None);
    let trust = by_anchors(&silent.provider);
    let report = verify(&silent.bundle, trust, None, &right, now());
    assert_eq!(blame(&report), (Check::Expected, Part::Token));
}

#[test]
fn parts_of_two_releases_do_not_mix() {
    let release = Release::new();
    let provider = &release.provider;
    let mut claims = provider.claims();
    claims.dataset.sha256 = Digest::sha256(b"another dataset");
    let token = provider.issue(&claims);
    // Another token over this leaf, and its own leaf with the digest of this dataset.
    let (note, own) = (release.bundle.checkpoint(), leaf(&token, &Digest::sha256(DATA)));
    let mixed = rebuilt(&release.bundle, &token, release.bundle.leaf(), note);
    assert_eq!(blame(&release.verify(&mixed)), (Check::LogEntry, Part::LogEntry));
    let report = release.verify(&provider.bundle_of(&token, &own, ORIGIN));
    assert_eq!(blame(&report), (Check::LogEntry, Part::LogEntry));
    // A right token and leaf with the checkpoint of another tree of the same log.
    let other = provider.bundle(&provider.issue(&claims));
    let mixed = rebuilt(&release.bundle, &release.token, release.bundle.leaf(), other.checkpoint());
    assert_eq!(blame(&release.verify(&mixed)), (Check::Inclusion, Part::LogProof));
}

#[test]
fn a_leaf_is_read_strictly() {
    let release = Release::new();
    let holding = json!({
        "token": Digest::sha256(release.token.as_bytes()),
        "dataset": Digest::sha256(DATA),
    });
    let changes: [Change<Value>; 7] = [
        ("another version", |leaf| leaf["v"] = json!(2)),
        ("a record that grants nothing", |leaf| leaf["kind"] = json!("request-refused")),
        ("an unknown member", |leaf| leaf["more"] = json!(1)),
        ("no digest of the dataset", |leaf| {
            leaf["digests"].as_object_mut().unwrap().remove("dataset");
        }),
        ("a digest that is none", |leaf| leaf["digests"]["token"] = json!("00")),
        ("of before the token", |leaf| leaf["time"] = json!("2026-07-01T11:54:59Z")),
        ("another spelling of the time", |leaf| leaf["time"] = json!("2026-07-01T12:00:00+00:00")),
    ];
    let bundle = |leaf: &str| release.provider.bundle_of(&release.token, leaf, ORIGIN);
    let right = leaf_with(|leaf| leaf["digests"] = holding.clone());
    assert!(release.verify(&bundle(&right)).is_verified());
    for (name, change) in changes {
        let text = leaf_with(|leaf| {
            leaf["digests"] = holding.clone();
            change(leaf);
        });
        let report = release.verify(&bundle(&text));
        assert_eq!(blame(&report), (Check::LogEntry, Part::LogEntry), "{name}");
        assert_eq!(report.failures().count(), 1, "{name}");
    }
    let spaced = right.replace(":{", ": {");
    assert_eq!(blame(&release.verify(&bundle(&spaced))).0, Check::LogEntry);
}

#[test]
fn a_checkpoint_is_of_the_named_log_and_key() {
    let release = Release::new();
    let (provider, entry) = (&release.provider, release.bundle.leaf());
    // The provider's own log with somebody else.
    let elsewhere = provider.bundle_of(&release.token, entry, "did:web:b.example/relation/x/1");
    assert_eq!(blame(&release.verify(&elsewhere)), (Check::Checkpoint, Part::Checkpoint));
    // Another key under the same name.
    let impostor = Participant::new(PROVIDER);
    let forged = impostor.bundle_of(&release.token, entry, ORIGIN);
    assert_eq!(blame(&release.verify(&forged)), (Check::Checkpoint, Part::Checkpoint));
    // A token that names a log key other than the one that signs it.
    let mut claims = serde_json::to_value(provider.claims()).unwrap();
    claims["log"] = serde_json::to_value(impostor.claims().log).unwrap();
    let token = provider.sign(&claims);
    let bundle = impostor.bundle(&token);
    assert_eq!(blame(&release.verify(&bundle)), (Check::Checkpoint, Part::Token));
}

#[test]
fn time_counts() {
    let release = Release::new();
    let at = |now: Timestamp| {
        let trust = by_anchors(&release.provider);
        verify(&release.bundle, trust, None, &Expected::default(), now)
    };
    let (second, skew) = (SignedDuration::from_secs(1), CLOCK_SKEW);
    assert!(at(now() - skew).is_verified());
    assert_eq!(blame(&at(now() - skew - second)), (Check::Claims, Part::Token));
    let report = at(now() + SignedDuration::from_hours(2401));
    assert_eq!(blame(&report), (Check::Chain, Part::Chain));
    assert!(report.to_string().contains("expired"), "{report}");
    let later = Release::with(|claims| claims.not_before = Some(now() + CLOCK_SKEW));
    assert!(later.verify(&later.bundle).is_verified());
    let later = Release::with(|claims| {
        claims.not_before = Some(now() + CLOCK_SKEW + SignedDuration::from_secs(1));
    });
    assert_eq!(blame(&later.verify(&later.bundle)), (Check::Claims, Part::Token));
}

#[test]
fn shown_parents_must_be_the_committed_ones() {
    let opening = |role: &str| Opening {
        salt: Digest::sha256(role.as_bytes()).0,
        parent: Parent {
            token: Digest::sha256(b"parent"),
            role: role.to_owned(),
            digest: Digest::sha256(b"parent's data"),
        },
    };
    let (one, two) = (opening("one"), opening("two"));
    let release = Release::with(|claims| {
        claims.parents = vec![one.commitment().unwrap(), two.commitment().unwrap()];
    });
    assert!(release.verify(&release.bundle).is_verified());
    let shown = |openings: Vec<Opening>| release.bundle.clone().with_openings(openings).unwrap();
    let report = release.verify(&shown(vec![two.clone()]));
    assert!(report.is_verified());
    assert!(matches!(report.outcome(Check::Parents), Some(Outcome::Passed(_))));
    for wrong in [vec![opening("three")], vec![one.clone(), one]] {
        assert_eq!(blame(&release.verify(&shown(wrong))), (Check::Parents, Part::Parents));
    }
}

/// Signs as a participant whose authority certifies only P-256 keys.
fn es256(payload: &Value, chain: &[Certificate], pair: &KeyPair) -> String {
    let x5c: Vec<String> = chain.iter().map(|one| STANDARD.encode(one.der())).collect();
    let header = json!({ "alg": "ES256", "typ": crate::token::TYPE, "x5c": x5c });
    let [header, payload] = [&header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let input = format!("{header}.{payload}");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8(pair)).unwrap();
    let signature = key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_participant_with_a_p256_certificate_names_the_key_of_its_log() {
    let authority = Authority::new("p256");
    let (log, pair) = (authority.participant(PROVIDER), KeyPair::generate().unwrap());
    let chain = authority.chain(&pair.subject_public_key_info(), PROVIDER);
    let token = es256(&serde_json::to_value(log.claims()).unwrap(), &chain, &pair);
    let report = verify_with(&log, &log.bundle(&token));
    assert!(report.is_verified(), "{report}");
    let other = authority.participant(PROVIDER);
    let report = verify_with(&log, &other.bundle(&token));
    assert_eq!(blame(&report), (Check::Checkpoint, Part::Checkpoint));
}

#[test]
fn a_token_without_certificates_needs_a_registered_key() {
    let provider = Participant::new(PROVIDER);
    let payload = serde_json::to_vec(&provider.claims()).unwrap();
    let extras = certs::jose::HeaderExtras::default();
    let token =
        certs::jose::sign_compact(crate::token::TYPE, extras, &payload, &provider.key).unwrap();
    let bundle = provider.bundle(&token);
    assert_eq!(blame(&verify_with(&provider, &bundle)), (Check::Chain, Part::Chain));
    let known = registered(&provider);
    let trust = Trust { anchors: &[], registered: Some(&known) };
    assert!(verify(&bundle, trust, None, &Expected::default(), now()).is_verified());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is put in place of one part, nothing panics and nothing is verified.
    #[test]
    fn no_garbage_is_verified(
        part in 0..4_usize, text in "\\PC{0,100}|[A-Za-z0-9_.-]{0,200}|\\{\"[a-z\":{},0-9]{0,60}\\}",
        index in any::<u64>(), hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..8),
    ) {
        let release = Release::new();
        let bundle = &release.bundle;
        let (token, entry, note) = (bundle.token(), bundle.leaf(), bundle.checkpoint());
        let garbage = match part {
            0 => rebuilt(bundle, &text, entry, note),
            1 => rebuilt(bundle, token, &text, note),
            2 => rebuilt(bundle, token, entry, &text),
            _ => {
                let proof = hashes.into_iter().map(journal::tlog::Hash).collect();
                Bundle::new(token, entry.as_bytes(), index, proof, note).unwrap()
            }
        };
        let parts = [Part::Token, Part::LogEntry, Part::Checkpoint, Part::LogProof];
        prop_assert_eq!(blame(&release.verify(&garbage)).1, parts[part]);
    }
}
