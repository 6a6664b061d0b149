//! Partner files and cards, with real keys and certificates.

use jiff::Timestamp;
use std::fs;

use certs::card::{CardDetails, OpenedCard};
use certs::pki::{self, Identity, SitePki};
use tempfile::TempDir;

use super::from_card::{CardRefusal, Declared, Plan, plan};
use super::*;

fn now() -> Timestamp {
    Timestamp::now()
}

struct Other {
    _directory: TempDir,
    pki: SitePki,
}

impl Other {
    fn new(participant: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pki");
        let identity = Identity::new(participant, "B社", &["b.example".to_owned()], &[]).unwrap();
        pki::create_with_trial_ca(&path, &identity, now()).unwrap();
        let pki = SitePki::load(&path, now()).unwrap();
        Self { _directory: directory, pki }
    }

    fn card(&self, number: u64, endpoint: &str) -> OpenedCard {
        let details = CardDetails {
            number,
            endpoint: endpoint.to_owned(),
            origins: vec!["https://b.example:8443".to_owned()],
            ods: None,
            extensions: vec!["checkpoint/1".to_owned()],
        };
        let text = certs::card::issue(&self.pki, details, now()).unwrap();
        certs::card::open(&text, now()).unwrap()
    }
}

const ENDPOINT: &str = "https://b.example:8443/dsp/2025-1";

fn own() -> ParticipantId {
    ParticipantId::new("did:web:a.example").unwrap()
}

fn planned(directory: &Path, card: &OpenedCard, declared: &Declared) -> Result<Plan, CardRefusal> {
    let registry = Registry::load(directory).unwrap();
    plan(directory, &registry, &own(), card, declared)
}

fn add(directory: &Path, card: &OpenedCard, name: &str) -> Plan {
    let declared = Declared { name: Some(name.to_owned()), ..Declared::default() };
    let plan = planned(directory, card, &declared).unwrap();
    plan.write().unwrap();
    plan
}

#[test]
fn a_card_becomes_a_file_that_is_read_as_planned() {
    let directory = tempfile::tempdir().unwrap();
    let other = Other::new("did:web:b.example");
    let card = other.card(1, ENDPOINT);
    let declared = Declared {
        name: None,
        groups: BTreeSet::from(["suppliers".to_owned()]),
        region: Some("JP".to_owned()),
        networks: vec!["10.0.0.0/8".parse().unwrap()],
    };
    let plan = planned(directory.path(), &card, &declared).unwrap();
    assert!(!plan.is_update);
    assert_eq!(plan.fingerprint, card.fingerprint());
    plan.write().unwrap();

    let registry = Registry::load(directory.path()).unwrap();
    let file = registry.by_name("b.example").unwrap();
    assert_eq!(file.partner, plan.partner.partner);
    assert_eq!(file.partner.title, "B社");
    assert_eq!(file.partner.dsp_endpoint, ENDPOINT);
    assert_eq!(file.partner.region.as_deref(), Some("JP"));
    assert_eq!(file.networks, declared.networks);
    assert!(file.partner.signing_key.is_some() && !file.signing_anchors.is_empty());
    assert!(file.is_active());
    let members = registry.groups().remove("suppliers").unwrap();
    assert!(members.contains("did:web:b.example"));
    let store = registry.trust_store(7).unwrap();
    assert_eq!(store.generation(), 7);
    let selected = store.select(other.pki.client.leaf()).unwrap();
    assert_eq!(&**selected.participant(), "did:web:b.example");
}

#[test]
fn a_newer_card_keeps_what_is_the_administrators() {
    let directory = tempfile::tempdir().unwrap();
    let other = Other::new("did:web:b.example");
    let path = add(directory.path(), &other.card(1, ENDPOINT), "b").partner.path;
    let edited = fs::read_to_string(&path)
        .unwrap()
        .replace("groups = []", "groups = [\"gold\"] # agreed in May")
        .replace("#region = \"\"", "region = \"DE\"")
        .replace("crls = []", "crls = [] # none yet\n[limits]\nmax_concurrent_transfers_count = 3");
    fs::write(&path, edited).unwrap();

    let moved = "https://b.example:8443/other";
    let plan = planned(directory.path(), &other.card(2, moved), &Declared::default()).unwrap();
    assert!(plan.is_update);
    assert!(plan.changes.iter().any(|change| change.contains(moved)), "{:?}", plan.changes);
    assert!(
        plan.changes.iter().any(|change| change.starts_with("card_number: 1")),
        "{:?}",
        plan.changes
    );
    plan.write().unwrap();

    let registry = Registry::load(directory.path()).unwrap();
    let file = registry.by_name("b").unwrap();
    assert_eq!(file.partner.dsp_endpoint, moved);
    assert_eq!(file.partner.card_number, Some(2));
    assert_eq!(file.partner.region.as_deref(), Some("DE"));
    assert_eq!(file.limits.max_concurrent_transfers_count, Some(3));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# agreed in May") && text.contains("# none yet"), "{text}");
}

#[test]
fn cards_that_prove_nothing_new_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = Other::new("did:web:b.example");
    add(directory.path(), &other.card(5, ENDPOINT), "b");
    let refused = |card: &OpenedCard, name: Option<&str>| {
        let declared = Declared { name: name.map(str::to_owned), ..Declared::default() };
        planned(directory.path(), card, &declared).unwrap_err()
    };
    for number in [4, 5] {
        let error = refused(&other.card(number, ENDPOINT), None);
        assert!(matches!(error, CardRefusal::NotNewer { registered: 5, .. }), "{error}");
    }
    let impostor = Other::new("did:web:b.example");
    let error = refused(&impostor.card(6, ENDPOINT), None);
    assert!(matches!(error, CardRefusal::ChangedKey { .. }), "{error}");
    let third = Other::new("did:web:c.example");
    let error = refused(&third.card(1, ENDPOINT), Some("b"));
    assert!(matches!(error, CardRefusal::NameTaken { .. }), "{error}");
    for name in ["../b", "B", "", ".b", "a b"] {
        let error = refused(&third.card(1, ENDPOINT), Some(name));
        assert!(matches!(error, CardRefusal::BadName(_)), "{name}: {error}");
    }
    let error = refused(&other.card(6, ENDPOINT), Some("bb"));
    assert!(matches!(error, CardRefusal::OtherName { .. }), "{error}");
    let ours = Other::new("did:web:a.example");
    assert!(matches!(refused(&ours.card(1, ENDPOINT), None), CardRefusal::Own));
    // Its certificates have a name that selects another partner.
    let error = refused(&third.card(1, ENDPOINT), Some("c"));
    assert!(error.to_string().contains("b.example"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn suspending_changes_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let other = Other::new("did:web:b.example");
    add(directory.path(), &other.card(1, ENDPOINT), "b");
    let load = || Registry::load(directory.path()).unwrap().by_name("b").unwrap().clone();
    let before = fs::read_to_string(load().path).unwrap();
    set_state(&load(), PartnerState::Suspended).unwrap();
    assert!(!load().is_active());
    let between = fs::read_to_string(load().path).unwrap();
    let changed = before.lines().zip(between.lines()).filter(|(old, new)| old != new).count();
    assert_eq!(changed, 1);
    set_state(&load(), PartnerState::Active).unwrap();
    assert!(load().is_active());
    assert_eq!(fs::read_to_string(load().path).unwrap(), before);
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let other = Other::new("did:web:b.example");
    let path = add(directory.path(), &other.card(1, ENDPOINT), "b").partner.path;
    let good = fs::read_to_string(&path).unwrap();
    let cases = [
        ("state = \"active\"", "state = \"asleep\"", ":4:9: ", "asleep"),
        ("groups = []", "grups = []", ":6:1: ", "unknown field `grups`"),
        ("#region = \"\"", "region = \"XX\"", ":8:10: `region`: ", "ISO 3166-1"),
        ("networks = []", "networks = [\"10.0.0.0/33\"]", ":10:13: ", "invalid IP address"),
        ("https://b.example:8443/dsp", "http://b.example:8443/dsp", "`dsp_endpoint`: ", "https"),
        (
            "origins = [\"https://b.example:8443\"]",
            "origins = [\"https://c.example\"]",
            "`dsp_endpoint`: ",
            "not among `origins`",
        ),
        ("pins = []", "pins = [\"12\"]", "`identity.pins`: ", "64 hexadecimal"),
        ("crls = []", "crls = [\"absent.crl\"]", "`identity.crls`: ", "absent.crl"),
        ("signing_key = \"EdDSA:", "signing_key = \"none:", ":", "a signing key is"),
        ("BEGIN CERTIFICATE", "BEGIN NOTHING", "`identity", ""),
    ];
    for (from, to, place, what) in cases {
        assert!(good.contains(from), "{from} in {good}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let problems = Registry::load(directory.path()).unwrap_err().to_string();
        assert!(
            problems.contains(&format!("b.toml{place}")) || problems.contains(place),
            "{to}: {problems}"
        );
        assert!(problems.contains(what), "{to}: {problems}");
    }
}

#[test]
fn a_credential_says_what_it_decides_and_until_when() {
    let directory = tempfile::tempdir().unwrap();
    let other = Other::new("did:web:b.example");
    let path = add(directory.path(), &other.card(1, ENDPOINT), "b").partner.path;
    let plain = fs::read_to_string(&path).unwrap();
    let entry = "\n[[credentials]]\ntype = \"MembershipCredential\"\nissuer = \"did:web:i.example\"\n\
                 verified_by = \"H. Tanaka\"\nvalid_from = 2026-01-01T00:00:00+09:00\n\
                 valid_until = \"2027-01-01T00:00:00Z\"\nsays = { \"cx-policy:Membership\" = [\"active\"] }\n";
    let good = format!("{plain}{entry}");
    fs::write(&path, &good).unwrap();
    let registry = Registry::load(directory.path()).unwrap();
    let read = registry.iter().next().unwrap().partner.credentials.clone();
    let [credential] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!(credential.says.keys().collect::<Vec<_>>(), ["Membership"]);
    assert_eq!(credential.valid_from, Some("2025-12-31T15:00:00Z".parse().unwrap()));
    let line = plain.lines().count() + 2;
    let cases = [
        ("\"MembershipCredential\"", "\"\"", "type", "is empty"),
        ("\"H. Tanaka\"", "\" \"", "verified_by", "is empty"),
        ("cx-policy:Membership", "Membreship", "says", "`Membreship` is no operand"),
        ("cx-policy:Membership", "purpose", "says", "`purpose` is no operand"),
        ("[\"active\"]", "[]", "says", "has no value"),
        ("{ \"cx-policy:Membership\" = [\"active\"] }", "{}", "says", "says nothing"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00", "valid_until", "is no instant"),
        ("2027-01-01T00:00:00Z", "2025-12-31T15:00:00Z", "valid_until", "is not after"),
    ];
    for (from, to, key, what) in cases {
        assert!(good.contains(from), "{from}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let problems = Registry::load(directory.path()).unwrap_err().to_string();
        assert!(problems.contains(&format!("b.toml:{line}:1: `credentials.{key}`")), "{problems}");
        assert!(problems.contains(what), "{to}: {problems}");
    }
    // An attribute never ends, so it may not stand beside what does.
    let both = format!("{good}\n[attributes]\nMembership = [\"active\"]\n");
    fs::write(&path, both).unwrap();
    let problems = Registry::load(directory.path()).unwrap_err().to_string();
    assert!(problems.contains("under [attributes] as well"), "{problems}");
    // One that is missing a part, or has one that is not known, is not half understood.
    for (from, to) in [("issuer = ", "isuer = "), ("verified_by = \"H. Tanaka\"\n", "")] {
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        assert!(Registry::load(directory.path()).is_err(), "{from}");
    }
}

#[test]
fn of_two_that_claim_the_same_neither_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let other = Other::new("did:web:b.example");
    let path = add(directory.path(), &other.card(1, ENDPOINT), "b").partner.path;
    let good = fs::read_to_string(&path).unwrap();
    fs::write(directory.path().join("copy.toml"), &good).unwrap();
    let (registry, problems) = Registry::load_usable(directory.path());
    assert_eq!(registry.iter().count(), 0);
    assert_eq!(problems.len(), 2, "{problems:?}");
    // Another id, the same certificate names.
    let twin = good.replace("id = \"did:web:b.example\"", "id = \"did:web:twin\"");
    fs::write(directory.path().join("copy.toml"), twin).unwrap();
    let (registry, problems) = Registry::load_usable(directory.path());
    assert_eq!(registry.iter().count(), 0);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn one_bad_file_does_not_hide_the_others() {
    let directory = tempfile::tempdir().unwrap();
    add(directory.path(), &Other::new("did:web:b.example").card(1, ENDPOINT), "b");
    fs::write(directory.path().join("broken.toml"), "id = ").unwrap();
    fs::write(directory.path().join("Upper.toml"), "").unwrap();
    fs::write(directory.path().join(".hidden.toml"), "").unwrap();
    fs::write(directory.path().join("notes.txt"), "").unwrap();
    let (registry, problems) = Registry::load_usable(directory.path());
    assert!(registry.by_name("b").is_some());
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(Registry::load(directory.path()).is_err());
    assert!(Registry::load(&directory.path().join("absent")).is_err());
}
