//! What is fuzzed: each function takes bytes as a peer, a partner or an administrator would give them, and panics when
//! what must hold of them does not. The fuzzer runs them on bytes of its own, the suites on the committed corpus.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use certs::seal::NodeKey;
use certs::x509::{Certificate, RevocationList};
use daemon::config::Config;
use daemon::management::list::criteria::{self, Selection};
use daemon::net::{gzip as coding, link as links};
use daemon::partner::cursor::{Cursor, Sought};
use daemon::partners::PartnerFile;
use daemon::witness::Exchange;
use engine::catalog::{Query, Start};
use http::{HeaderMap, HeaderValue, Uri, header};
use jiff::Timestamp;
use journal::log::{Body, Frame, LABEL_BYTES_MAX, Mark, Record};
use journal::tlog::{Checkpoint, Hash, verify_checkpoint, verify_consistency, verify_inclusion};
use policy::file::{Unhonoured, Words};
use policy::odrl::Policy;
use policy::set::Purposes;
use protocol::error::{CatalogError, ContractNegotiationError, PeerRefusal, TransferError};
use protocol::id::{DatasetId, MAX_ID_BYTES, ParticipantId};
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
use serde_json::{Value, json};
use store::StoredRecord;

/// A target's name, which is that of its corpus, and what it does with bytes.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const TARGETS: [Target; 26] = [
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
    ("cases", cases),
    ("note", note),
    ("proof", proof),
    ("token", token),
    ("bundle", bundle),
    ("card", card),
    ("certificate", certificate),
    ("exchange", exchange),
    ("frame", frame),
    ("record", record),
    ("query", query),
    ("catalog_query", catalog_query),
    ("link", link),
    ("gzip", gzip),
    ("settings", settings),
    ("partner_file", partner_file),
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
    let _ = read.protocol_versions.iter().any(|entry| entry.is_dsp_2025_1());
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

/// Whoever is refused a file is told why, at a place in it. What is read is written as ODRL that is read as the same.
fn policy_file(bytes: &[u8]) {
    let groups = BTreeMap::from([("partners".to_owned(), BTreeSet::new())]);
    let (purposes, parents) = (Purposes::default(), BTreeMap::new());
    let words = Words {
        groups: &groups,
        purposes: &purposes,
        parents: &parents,
        unhonoured: Unhonoured::Refused,
    };
    for name in ["fuzzed.toml", "fuzzed.jsonld"] {
        match policy::file::read(name, bytes, &words) {
            Ok(file) => returns_as_odrl(&file.terms),
            Err(findings) => placed(&findings),
        }
    }
    match policy::file::read_restrictions(bytes, &words) {
        Ok(read) => read.list.iter().for_each(|restriction| returns_as_odrl(&restriction.terms)),
        Err(findings) => placed(&findings),
    }
}

fn returns_as_odrl(terms: &Policy) {
    assert_eq!(Policy::from_json(&terms.to_json()).as_ref(), Ok(terms));
}

fn placed(findings: &[policy::diagnostic::Diagnostic]) {
    assert!(!findings.is_empty(), "refused without a reason");
    for finding in findings {
        assert!(finding.line >= 1 && finding.column >= 1 && finding.length >= 1);
        let _ = finding.to_string();
    }
}

/// Cases are answered or refused at a place, for a site without policies.
fn cases(bytes: &[u8]) {
    let rules = policy::set::RuleSet::empty();
    let site = policy::inquiry::Site { rules, partners: Vec::new(), datasets: Vec::new() };
    match policy::cases::Cases::read("fuzzed.test.toml", bytes) {
        Ok(cases) => {
            for outcome in cases.run(&site) {
                outcome.failure.into_iter().for_each(|failure| placed(&[failure]));
            }
        }
        Err(finding) => placed(&[finding]),
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

/// What a partner sends of its checkpoints is written so that it is read as the same, and nothing in it verifies by itself.
fn exchange(bytes: &[u8]) {
    let Ok(read) = Exchange::read(bytes) else { return };
    assert_eq!(bytes.trim_ascii_start().first(), Some(&b'{'), "no object");
    let written = serde_json::to_vec(&read).unwrap_or_default();
    for note in [&read.checkpoint, &read.held].into_iter().flatten() {
        assert!(verify_checkpoint(note, "fuzz.example/log", &[9; 32]).is_err());
    }
    if let Some(opening) = &read.opening {
        let _ = Leaf::parse(&opening.leaf);
    }
    if let Ok(again) = Exchange::read(&written) {
        assert_eq!(again, read);
    }
}

/// The journal whose frames are fuzzed.
const JOURNAL: [u8; 16] = [7; 16];

/// A frame that is read has one form only. Its hash is put right first, or no change would come any further.
fn frame(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let records = bytes.get(48..52).and_then(|length| <[u8; 4]>::try_from(length).ok());
    let end = records.map_or(0, |length| 120 + u32::from_be_bytes(length) as usize);
    let hashed =
        bytes.get(..88).zip(bytes.get(120..end)).map(|(header, rest)| [header, rest].concat());
    if let (Some(hashed), Some(place)) = (hashed, bytes.get_mut(88..120)) {
        place.copy_from_slice(&Hash::of(&hashed).0);
    }
    let Ok(read) = Frame::decode(&bytes, &Mark::START, &JOURNAL) else { return };
    let records = read.records.iter().map(|stored| {
        let body = match &stored.body {
            Body::Absent => None,
            Body::Present(body) => Some(body.clone()),
            Body::Erased { .. } => return None,
        };
        let (log, leaf, effect) = (stored.log.clone(), stored.leaf.clone(), stored.effect.clone());
        ((1..=LABEL_BYTES_MAX).contains(&log.len())).then_some(Record { log, leaf, effect, body })
    });
    let Some(records) = records.collect::<Option<Vec<_>>>() else { return };
    if let Ok((written, mark)) = Frame::encode(&records, &Mark::START, &JOURNAL) {
        assert_eq!(bytes.get(..written.len()), Some(&written[..]));
        assert_eq!(mark, read.mark);
    }
}

/// A record's effect that is read is written so that it is read as the same. The leaf is made to fit, or no change would come
/// any further.
fn record(bytes: &[u8]) {
    let kind =
        serde_json::from_slice::<Value>(bytes).ok().and_then(|value| value.get("kind").cloned());
    let Some(kind) = kind else { return };
    let effect = [&[0; 32], bytes].concat();
    let leaf = json!({
        "v": 1,
        "kind": kind,
        "time": "2026-01-01T00:00:00Z",
        "effect": Hash::of(&effect).to_string(),
        "digests": {},
    });
    let leaf = json::canonical(&leaf).unwrap_or_default();
    let position = engine::Position { frame: 512, record: 0 };
    let Ok(read) = StoredRecord::decode(position, "site/1", &leaf, &effect, None) else { return };
    let written = serde_json::to_vec(&read.writes);
    assert!(written.is_ok(), "{:?} is not written: {written:?}", read.writes);
    let again = serde_json::from_slice::<Vec<engine::Write>>(&written.unwrap_or_default());
    assert!(again.is_ok(), "not read again: {again:?}");
    assert_eq!(again.ok(), Some(read.writes));
}

/// Every document that a filter admits is on one page, whatever it is ordered by.
fn query(bytes: &[u8]) {
    let Ok(asked) = json::read(bytes, &Limits::default()) else { return };
    let text = |name: &str| asked.get(name).and_then(Value::as_str);
    let filter = match asked.get("filter").cloned().map(criteria::Filter::read).transpose() {
        Ok(filter) => filter,
        Err(_) => return,
    };
    let order = text("order").unwrap_or("id");
    let limit = asked.get("limit").and_then(Value::as_u64).unwrap_or(3);
    let limit = usize::try_from(limit).unwrap_or(3).clamp(1, 100);
    let page = |cursor: Option<&str>| {
        let mut selection = Selection::new(filter.clone(), order, "id", cursor, limit)?;
        documents().for_each(|document| selection.see(document));
        Ok::<_, daemon::management::list::criteria::QueryError>(selection.into_page())
    };
    if let Some(cursor) = text("cursor") {
        assert!(
            page(Some(cursor)).is_ok_and(|page| page.items.len() <= limit)
                || page(Some(cursor)).is_err()
        );
        return;
    }
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let Ok(page) = page(cursor.as_deref()) else {
            assert!(cursor.is_none(), "a cursor of ours is refused");
            return;
        };
        assert!(page.items.len() <= limit);
        seen.extend(page.items.iter().map(|item| item.get("id").map(Value::to_string)));
        assert!(seen.len() <= documents().count(), "a document is shown twice");
        cursor = page.next;
        if cursor.is_none() {
            assert_eq!(u64::try_from(seen.len()).ok(), Some(page.total));
            break;
        }
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "a document is shown twice");
}

/// Documents with members of every type, and without.
fn documents() -> impl Iterator<Item = Value> {
    let values = [
        json!(null),
        json!(true),
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992.0),
        json!(u64::MAX),
        json!(-1.5),
        json!("STARTED"),
        json!(["a", "b"]),
        json!({ "a": 1 }),
    ];
    (0..23_usize).map(move |n| {
        let value = values.get(n % values.len()).cloned().unwrap_or_default();
        match n % 5 {
            0 => json!({ "id": format!("urn:{n:02}") }),
            _ => json!({ "id": format!("urn:{n:02}"), "state": value, "created": n / 4 }),
        }
    })
}

static KEY: LazyLock<Option<NodeKey>> = LazyLock::new(|| NodeKey::generate().ok());

/// The query of a catalog request's address in the first line, its filter after it. No place is taken that was not sealed,
/// and one that was sealed is.
fn catalog_query(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (address, filter) = text.split_once('\n').unwrap_or((&text, "[]"));
    let query = match json::read(filter.as_bytes(), &Limits::default()) {
        Ok(Value::Array(entries)) => Query::read(&entries).unwrap_or_default(),
        _ => Query::default(),
    };
    let (Some(key), Ok(partner)) = (KEY.as_ref(), ParticipantId::new("did:web:a.example")) else {
        return;
    };
    let uri = format!("/dsp/2025-1/catalog/request?{address}").parse::<Uri>().ok();
    if let Some(cursor) = uri.as_ref().and_then(Cursor::of) {
        assert!(cursor.open(key, &partner).is_err(), "a place that was not sealed");
    }
    let Ok(id) = DatasetId::new(address) else { return };
    for start in [Start::First, Start::After(id.clone()), Start::Before(id.clone())] {
        let sought = Sought { query: query.clone(), start };
        let sealed = Cursor::seal(key, &partner, &sought);
        let uri = format!("/?x=1&{}", sealed.query()).parse::<Uri>().ok();
        let found = uri.as_ref().and_then(Cursor::of);
        assert_eq!(found.and_then(|found| found.open(key, &partner).ok()), Some(sought));
    }
}

/// The next page's address is a part of the field, between its brackets.
fn link(bytes: &[u8]) {
    let Ok(field) = HeaderValue::from_bytes(bytes) else { return };
    let headers = HeaderMap::from_iter([(header::LINK, field)]);
    if let Some(target) = links::next(&headers) {
        assert!(!target.contains('>'));
        assert!(String::from_utf8_lossy(bytes).contains(&target));
    }
}

/// What is unpacked stays within its limit, and what was packed comes back.
fn gzip(bytes: &[u8]) {
    const LIMIT: usize = 64 * 1024;
    let headers =
        HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(coding::NAME))]);
    if let Ok(read) = coding::decode(&headers, Bytes::copy_from_slice(bytes), LIMIT) {
        assert!(read.len() <= LIMIT);
    }
    let again = coding::decode(&headers, coding::compress(bytes).into(), bytes.len());
    assert_eq!(again.ok().as_deref(), Some(bytes));
    if let Ok(field) = HeaderValue::from_bytes(bytes) {
        let _ = coding::is_taken(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, field)]));
    }
}

/// Whoever is refused settings is told why. Behind a line `#env` there are variables of the environment.
fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, variables) = text.split_once("\n#env\n").unwrap_or((&text, ""));
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    if let Err(problems) = Config::parse(Path::new("sekisho.toml"), file, variables) {
        assert!(!problems.to_string().is_empty(), "refused without a reason");
    }
}

/// Whoever is refused a partner's file is told why, and nothing of a file that is taken leads elsewhere than its origins.
fn partner_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match PartnerFile::parse(Path::new("/nonexistent/partners/b.toml"), &text) {
        Err(problem) => assert!(!problem.to_string().is_empty(), "refused without a reason"),
        Ok(read) => {
            let base = BaseUrl::new(&read.partner.dsp_endpoint);
            let origin = base.map(|base| base.url().origin().ascii_serialization());
            let is_listed = |origin: &String| {
                let known = read.partner.origins.iter().map(|one| one.trim_end_matches('/'));
                known.into_iter().any(|one| one == origin)
            };
            assert!(origin.as_ref().is_ok_and(is_listed), "{origin:?} is not among the origins");
        }
    }
}
