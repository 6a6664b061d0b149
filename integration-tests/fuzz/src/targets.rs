//! What is fuzzed: each function takes bytes as a peer, a partner or an administrator would give them, and panics when
//! what must hold of them does not. The fuzzer runs them on bytes of its own, the suites on the committed corpus.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use certs::x509::{Certificate, RevocationList};
use jiff::Timestamp;
use journal::tlog::{Checkpoint, Hash, verify_checkpoint, verify_consistency, verify_inclusion};
use policy::file::Words;
use policy::odrl::Policy;
use policy::set::Purposes;
use protocol::error::{CatalogError, ContractNegotiationError, PeerRefusal, TransferError};
use protocol::id::{MAX_ID_BYTES, ParticipantId};
use protocol::json::{self, Limits};
use protocol::message::{
    self, Catalog, CatalogRequestMessage, ContractAgreementMessage,
    ContractAgreementVerificationMessage, ContractNegotiation, ContractNegotiationEventMessage,
    ContractNegotiationTerminationMessage, ContractOfferMessage, ContractRequestMessage, Dataset,
    DatasetRequestMessage, Message, TransferCompletionMessage, TransferProcess,
    TransferRequestMessage, TransferStartMessage, TransferSuspensionMessage,
    TransferTerminationMessage, VersionResponse,
};
use protocol::path::BaseUrl;
use provenance::{Bundle, Leaf, Token};
use serde_json::Value;

/// A target's name, which is that of its corpus, and what it does with bytes.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: [Target; 16] = [
    ("json", bounded_json),
    ("catalog", catalog),
    ("negotiation", negotiation),
    ("transfer", transfer),
    ("refusal", refusal),
    ("version", version),
    ("identifier", identifier),
    ("base_url", base_url),
    ("odrl", odrl),
    ("policy_file", policy_file),
    ("note", note),
    ("proof", proof),
    ("token", token),
    ("bundle", bundle),
    ("card", card),
    ("certificate", certificate),
];

/// Limits that what was read once, and is written again with its context and type, stays within.
const AMPLE: Limits = Limits { max_bytes: 1 << 24, max_depth: 120, max_nodes: 1 << 20 };

/// What is read has a canonical form, and that is read as the same.
fn bounded_json(bytes: &[u8]) {
    let limits = Limits { max_bytes: 1 << 16, max_depth: 16, max_nodes: 500 };
    let Ok(value) = json::read(bytes, &limits) else { return };
    assert!(bytes.len() <= limits.max_bytes);
    assert!(depth(&value) <= limits.max_depth, "deeper than the limit");
    assert!(count(&value) <= limits.max_nodes, "more values than the limit");
    let canonical = json::canonical(&value);
    assert!(canonical.is_ok(), "{value} has no canonical form");
    let canonical = canonical.unwrap_or_default();
    let again = json::read(&canonical, &AMPLE);
    assert!(again.is_ok(), "the canonical form is not read: {again:?}");
    assert_eq!(again.ok().and_then(|again| json::canonical(&again).ok()), Some(canonical));
}

fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// A message that was read is written so that it is read as the same.
fn returns<T: Message + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(read) = message::parse::<T>(bytes, &Limits::default()) else { return };
    let written = message::to_bytes(&read.message, read.message_id.as_ref());
    let again = message::parse::<T>(&written, &AMPLE);
    assert!(again.is_ok(), "{}: {again:?}", String::from_utf8_lossy(&written));
    if let Ok(again) = again {
        assert_eq!(again.message_id, read.message_id);
        assert_eq!(again.message, read.message);
    }
}

fn catalog(bytes: &[u8]) {
    returns::<CatalogRequestMessage>(bytes);
    returns::<DatasetRequestMessage>(bytes);
    returns::<Catalog>(bytes);
    returns::<Dataset>(bytes);
}

fn negotiation(bytes: &[u8]) {
    returns::<ContractRequestMessage>(bytes);
    returns::<ContractOfferMessage>(bytes);
    returns::<ContractAgreementMessage>(bytes);
    returns::<ContractAgreementVerificationMessage>(bytes);
    returns::<ContractNegotiationEventMessage>(bytes);
    returns::<ContractNegotiationTerminationMessage>(bytes);
    returns::<ContractNegotiation>(bytes);
}

/// Besides: the token of a data address is in nothing that is kept of the message.
fn transfer(bytes: &[u8]) {
    returns::<TransferRequestMessage>(bytes);
    returns::<TransferStartMessage>(bytes);
    returns::<TransferSuspensionMessage>(bytes);
    returns::<TransferCompletionMessage>(bytes);
    returns::<TransferTerminationMessage>(bytes);
    returns::<TransferProcess>(bytes);
    let Ok(start) = message::parse::<TransferStartMessage>(bytes, &Limits::default()) else {
        return;
    };
    let address = start.message.data_address.as_ref();
    let Some(token) = address.and_then(|address| address.authorization()) else { return };
    let text = String::from_utf8_lossy(bytes);
    // One that stands elsewhere in the message too is no secret of the address.
    if token.len() >= 12 && !text.contains('\\') && text.matches(token).count() == 1 {
        assert!(!start.document.to_string().contains(token), "the token is kept");
        assert!(!format!("{start:?}").contains(token), "the token is shown");
    }
}

fn refusal(bytes: &[u8]) {
    returns::<CatalogError>(bytes);
    returns::<ContractNegotiationError>(bytes);
    returns::<TransferError>(bytes);
    let _ = PeerRefusal::read(bytes, &Limits::default()).explanation.texts();
}

fn version(bytes: &[u8]) {
    let Ok(read) = VersionResponse::parse(bytes, &Limits::default()) else { return };
    let _ = read.dsp_2025_1();
    let written = read.to_json().to_string();
    assert_eq!(VersionResponse::parse(written.as_bytes(), &AMPLE).ok(), Some(read));
}

fn identifier(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(id) = ParticipantId::new(text) else { return };
    assert_eq!(id.as_str(), text);
    assert!((1..=MAX_ID_BYTES).contains(&text.len()));
    assert!(!text.chars().any(char::is_control));
}

/// A base URL keeps what it leads to within its origin, whatever stands in the path.
fn base_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(base) = BaseUrl::new(text) else { return };
    assert_eq!(BaseUrl::new(base.as_str()).as_ref(), Ok(&base));
    if let Ok(joined) = base.join("/transfers/x") {
        assert_eq!(joined.url().origin(), base.url().origin());
    }
    assert_eq!(base.version().origin(), base.url().origin());
}

/// A policy that was read means the same when it was written and read again.
fn odrl(bytes: &[u8]) {
    let Ok(value) = json::read(bytes, &Limits::default()) else { return };
    let Ok(policy) = Policy::from_json(&value) else { return };
    let _ = policy::classify::classify(&policy);
    for language in [policy::explain::Language::English, policy::explain::Language::Japanese] {
        let _ = policy::explain::plain(&policy, language);
    }
    let written = policy.to_json();
    let again = Policy::from_json(&written);
    assert!(again.is_ok(), "{written}: {again:?}");
    assert_eq!(again.map(|again| again.to_json()).ok(), Some(written));
}

/// Whoever is refused a file is told why, at a place in it.
fn policy_file(bytes: &[u8]) {
    let groups = BTreeMap::from([("partners".to_owned(), BTreeSet::new())]);
    let (purposes, parents) = (Purposes::default(), BTreeMap::new());
    let words = Words { groups: &groups, purposes: &purposes, parents: &parents };
    for name in ["fuzzed.toml", "fuzzed.jsonld"] {
        if let Err(findings) = policy::file::read(name, bytes, &words) {
            assert!(!findings.is_empty(), "refused without a reason");
            for finding in findings {
                assert!(finding.line >= 1 && finding.column >= 1 && finding.length >= 1);
                let _ = finding.to_string();
            }
        }
    }
    if let Err(findings) = policy::file::read_restrictions(bytes, &words) {
        assert!(!findings.is_empty(), "refused without a reason");
    }
}

/// No bytes verify under a key that signed nothing, and a checkpoint's body is written as it was read.
fn note(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert!(verify_checkpoint(&text, "fuzz.example/log", &[9; 32]).is_err());
    let Ok(checkpoint) = Checkpoint::from_body(&text) else { return };
    let written = checkpoint.to_body();
    assert!(written.is_ok(), "{checkpoint:?} is not written: {written:?}");
    if let Ok(written) = written {
        assert_eq!(Checkpoint::from_body(&written).ok(), Some(checkpoint));
    }
}

/// Two sizes and hashes: one proof never leads to two different roots.
fn proof(bytes: &[u8]) {
    let Some((numbers, hashes)) = bytes.split_at_checked(16) else { return };
    let (first, second) = numbers.split_at(8);
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let (first, second) = (number(first), number(second));
    let mut hashes = hashes.chunks_exact(32).map(|hash| Hash(hash.try_into().unwrap_or_default()));
    let (Some(one), Some(other)) = (hashes.next(), hashes.next()) else { return };
    let path = hashes.collect::<Vec<_>>();
    let changed = Hash(other.0.map(|byte| !byte));
    if verify_inclusion(&one, first, second, &other, &path).is_ok() {
        assert!(first < second);
        assert!(verify_inclusion(&one, first, second, &changed, &path).is_err());
    }
    if verify_consistency(first, &one, second, &other, &path).is_ok() && first > 0 {
        assert!(first <= second);
        assert!(verify_consistency(first, &one, second, &changed, &path).is_err());
    }
}

fn token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(token) = Token::parse(&text) else { return };
    // Signed by whoever it brings along, as a verifier would try it.
    let Some(key) = token.chain().first().and_then(|leaf| leaf.verifying_key().ok()) else {
        return;
    };
    let _ = token.verify(&key);
}

fn bundle(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).map(Leaf::parse);
    let Ok(bundle) = Bundle::parse(bytes) else { return };
    let _ = (Token::parse(bundle.token()).is_ok(), Leaf::parse(bundle.leaf()).is_ok());
    let written = bundle.to_json();
    assert!(written.is_ok(), "{bundle:?} is not written: {written:?}");
    let again = written.ok().and_then(|written| Bundle::parse(written.as_bytes()).ok());
    assert_eq!(again, Some(bundle));
}

fn card(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // While the certificates of the corpus are valid.
    let now = Timestamp::from_second(1_795_341_600).unwrap_or(Timestamp::UNIX_EPOCH);
    if let Ok(opened) = certs::card::open(&text, now) {
        let leaf = opened.chain.first();
        assert!(leaf.is_some_and(|leaf| leaf.uris().contains(&opened.card.participant)));
    }
}

/// A certificate read as DER is read as the same from its PEM.
fn certificate(bytes: &[u8]) {
    let _ = RevocationList::from_der(bytes);
    let _ = RevocationList::bundle(bytes);
    let mut found = Certificate::bundle(bytes).unwrap_or_default();
    found.extend(Certificate::from_der(bytes));
    for certificate in found {
        let _ = (certificate.verifying_key().is_ok(), certificate.weakness());
        let again = Certificate::bundle(certificate.to_pem().as_bytes()).unwrap_or_default();
        let again = again.first().map(|again| (again.uris(), again.dns_names(), again.sha256()));
        let own = (certificate.uris(), certificate.dns_names(), certificate.sha256());
        assert_eq!(again, Some(own));
    }
}
