use proptest::prelude::*;

use super::*;
use crate::testing::{Authority, Leaf, days, dns, now};

const BETA: &str = "did:web:beta.example";
const GAMMA: &str = "did:web:gamma.example";
const SECOND: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

fn material(participant: &str, authority: &Authority) -> PartnerMaterial {
    PartnerMaterial {
        participant: participant.to_owned(),
        san_uris: vec![participant.to_owned()],
        server_anchors: vec![authority.pem()],
        client_anchors: vec![authority.pem()],
        ..PartnerMaterial::default()
    }
}

fn store(materials: &[PartnerMaterial]) -> TrustStore {
    let partners = materials.iter().map(|material| PartnerTrust::new(material).unwrap()).collect();
    TrustStore::new(7, partners).unwrap()
}

fn refused(material: &PartnerMaterial) -> PartnerTrustError {
    PartnerTrust::new(material).unwrap_err()
}

fn client(store: &TrustStore, leaf: &Leaf) -> Result<Checked, TrustError> {
    store.check_client(&[leaf.certificate.der().clone()], now())
}

#[test]
fn a_good_leaf_is_its_partner() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let store = store(&[material(BETA, &a), material(GAMMA, &b)]);
    let leaf = a.leaf(&[BETA], |_| ());
    let checked = client(&store, &leaf).unwrap();
    assert_eq!(&*checked.participant, BETA);
    assert_eq!(checked.generation, 7);
    assert_eq!(checked.leaf_sha256, leaf.certificate.sha256());
    assert_eq!(checked.valid_until, leaf.certificate.not_after());
    let chain = [leaf.certificate.der().clone()];
    assert_eq!(store.check_server(&chain, now(), BETA).unwrap().participant, checked.participant);
    assert!(matches!(
        store.check_server(&chain, now(), GAMMA),
        Err(TrustError::OtherPartner { expected, found }) if expected == GAMMA && found == BETA
    ));
}

#[test]
fn one_partners_authority_never_speaks_for_another() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let store = store(&[material(BETA, &a), material(GAMMA, &b)]);
    let minted = b.leaf(&[BETA], |_| ());
    let chain = [minted.certificate.der().clone(), b.certificate.der().clone()];
    for judged in [store.check_client(&chain, now()), store.check_server(&chain, now(), BETA)] {
        assert!(matches!(
            judged,
            Err(TrustError::Refused { participant, reason })
                if participant == BETA && matches!(*reason, PathError::UnknownIssuer { .. })
        ));
    }
    // An authority of the same name as the real one helps nobody.
    let namesake = Authority::new("a").leaf(&[BETA], |_| ());
    assert!(client(&store, &namesake).is_err());
}

#[test]
fn a_leaf_selects_exactly_one_partner() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let mut gamma = material(GAMMA, &b);
    gamma.san_dns = vec!["Node.Gamma.Example".to_owned()];
    let store = store(&[material(BETA, &a), gamma]);
    let both = a.leaf(&[BETA], |params| params.subject_alt_names.push(dns("node.gamma.example")));
    assert!(matches!(
        client(&store, &both),
        Err(TrustError::Ambiguous { participants, .. }) if participants == [BETA, GAMMA]
    ));
    let by_dns = b.leaf(&[], |params| params.subject_alt_names.push(dns("NODE.gamma.example")));
    assert_eq!(&*client(&store, &by_dns).unwrap().participant, GAMMA);
    for uris in [&["did:web:BETA.example"][..], &["did:web:beta.example/"], &[]] {
        let error = client(&store, &a.leaf(uris, |_| ())).unwrap_err();
        assert!(matches!(error, TrustError::Unregistered { .. }));
        assert!(error.to_string().contains("key pin"));
    }
    let wildcard = b.leaf(&[], |params| params.subject_alt_names.push(dns("*.gamma.example")));
    assert!(matches!(client(&store, &wildcard), Err(TrustError::Unregistered { .. })));
    // A name in the subject only is not a name.
    let common_name = a.leaf(&[], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, BETA);
    });
    assert!(matches!(client(&store, &common_name), Err(TrustError::Unregistered { .. })));
}

#[test]
fn another_certificate_of_the_chain_identifies_nobody() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let store = store(&[material(BETA, &a), material(GAMMA, &b)]);
    let (good, stranger) = (a.leaf(&[BETA], |_| ()), Authority::new("x").leaf(&["urn:x"], |_| ()));
    let chain = [stranger.certificate.der().clone(), good.certificate.der().clone()];
    assert!(matches!(store.check_client(&chain, now()), Err(TrustError::Unregistered { .. })));
}

#[test]
fn a_pin_replaces_anchors_and_nothing_else() {
    let a = Authority::new("a");
    let stranger = Authority::new("x");
    let leaf = stranger.leaf(&[], |_| ());
    let with_pin = |leaf: &Leaf| PartnerMaterial {
        participant: BETA.to_owned(),
        pins: vec![leaf.certificate.spki_sha256()],
        ..PartnerMaterial::default()
    };
    let good = store(&[with_pin(&leaf)]);
    assert_eq!(&*client(&good, &leaf).unwrap().participant, BETA);
    let chain = [leaf.certificate.der().clone()];
    let later = good.check_client(&chain, now() + days(91)).unwrap_err();
    assert!(
        matches!(later, TrustError::Refused { reason, .. } if matches!(*reason, PathError::Expired { .. }))
    );
    let purposeless = stranger.leaf(&[], |params| params.extended_key_usages.clear());
    let judged = client(&store(&[with_pin(&purposeless)]), &purposeless).unwrap_err();
    assert!(
        matches!(judged, TrustError::Refused { reason, .. } if matches!(*reason, PathError::WrongPurpose { .. }))
    );
    // A pinned key cannot take another partner's name along.
    let named = stranger.leaf(&[GAMMA], |_| ());
    let both = store(&[with_pin(&named), material(GAMMA, &a)]);
    assert!(matches!(client(&both, &named), Err(TrustError::Ambiguous { .. })));
    // A known revocation counts for a pinned key too.
    let own = a.leaf(&[], |_| ());
    let mut revoking = material(BETA, &a);
    revoking.pins = vec![own.certificate.spki_sha256()];
    revoking.crls = vec![a.list(&[own.serial()], now() + days(1))];
    let judged = client(&store(&[revoking]), &own).unwrap_err();
    assert!(
        matches!(judged, TrustError::Refused { reason, .. } if matches!(*reason, PathError::Revoked { .. }))
    );
}

#[test]
fn names_without_an_anchor_for_the_direction_are_refused() {
    let a = Authority::new("a");
    let mut server_only = material(BETA, &a);
    server_only.client_anchors.clear();
    let judged = client(&store(&[server_only]), &a.leaf(&[BETA], |_| ())).unwrap_err();
    assert!(matches!(judged, TrustError::NoAnchor { purpose: Purpose::Client, .. }));
}

#[test]
fn one_partners_lists_bind_only_itself() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let (revoked, current) = (a.leaf(&[BETA], |_| ()), a.leaf(&[BETA], |_| ()));
    let mut beta = material(BETA, &a);
    beta.crls = vec![a.list(&[revoked.serial()], now() + days(2))];
    let store = store(&[beta, material(GAMMA, &b)]);
    let judged = client(&store, &revoked).unwrap_err();
    assert!(
        matches!(judged, TrustError::Refused { reason, .. } if matches!(*reason, PathError::Revoked { .. }))
    );
    assert_eq!(client(&store, &current).unwrap().valid_until, now() + days(2) - SECOND);
    assert!(client(&store, &b.leaf(&[GAMMA], |_| ())).is_ok());
    let last = [current.certificate.der().clone()];
    assert!(store.check_client(&last, now() + days(2) - SECOND).is_ok());
    assert!(store.check_client(&last, now() + days(2)).is_err());
    let stale =
        store.check_client(&[current.certificate.der().clone()], now() + days(3)).unwrap_err();
    assert!(
        matches!(stale, TrustError::Refused { reason, .. } if matches!(*reason, PathError::ExpiredList { .. }))
    );
}

#[test]
fn lists_bind_only_the_direction_of_their_authority() {
    let (public, private) = (Authority::new("public"), Authority::new("private"));
    let mut beta = material(BETA, &private);
    beta.server_anchors = vec![public.pem()];
    beta.crls = vec![private.list(&[], now() + days(2))];
    let store = store(&[beta]);
    let chain = [public.leaf(&[BETA], |_| ()).certificate.der().clone()];
    assert!(store.check_server(&chain, now(), BETA).is_ok());
    assert!(client(&store, &private.leaf(&[BETA], |_| ())).is_ok());
}

#[test]
fn the_newest_list_of_an_authority_decides() {
    let a = Authority::new("a");
    let leaf = a.leaf(&[BETA], |_| ());
    let mut beta = material(BETA, &a);
    // Both were made yesterday; the order of files must not matter for the newer one.
    beta.crls = vec![a.list(&[], now() + days(9)), a.list(&[], now() + days(5))];
    assert!(client(&store(&[beta]), &leaf).is_ok());
}

#[test]
fn contradictory_stores_are_refused() {
    let a = Authority::new("a");
    let new = |materials: &[PartnerMaterial]| {
        let partners = materials.iter().map(|one| PartnerTrust::new(one).unwrap()).collect();
        TrustStore::new(1, partners).unwrap_err()
    };
    let twice = [material(BETA, &a), material(BETA, &a)];
    assert!(matches!(new(&twice), TrustStoreError::DuplicateParticipant { .. }));
    let mut thief = material(GAMMA, &a);
    thief.san_uris.push(BETA.to_owned());
    let error = new(&[material(BETA, &a), thief]).to_string();
    assert!(error.contains("URI `did:web:beta.example` is registered for both"), "{error}");
}

#[test]
fn material_is_verified_before_it_judges() {
    let a = Authority::new("a");
    let change = |change: &dyn Fn(&mut PartnerMaterial)| {
        let mut changed = material(BETA, &a);
        change(&mut changed);
        refused(&changed)
    };
    let silent = Authority::with("silent", |params| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    });
    let leaf = a.leaf(&[BETA], |_| ());
    let fixture = |name: &str| {
        std::fs::read(format!("{}/src/x509/fixtures/{name}.pem", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
    };
    let mut forged = a.list(&[], now() + days(1));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let foreign = Authority::new("b").list(&[], now() + days(1));
    let silent_list = unsigned_right_list(&silent);
    let table: Vec<(&str, PartnerTrustError)> = vec![
        ("no name and no pin", change(&|one| one.san_uris.clear())),
        (
            "neither an anchor nor a pin",
            change(&|one| {
                one.server_anchors.clear();
                one.client_anchors.clear();
            }),
        ),
        ("has no scheme", change(&|one| one.san_uris.push("beta".to_owned()))),
        ("could stand for anybody", change(&|one| one.san_dns.push("*.example".to_owned()))),
        ("not a DNS name", change(&|one| one.san_dns.push("a b".to_owned()))),
        ("server anchors of partner", change(&|one| one.server_anchors.push(b"x".to_vec()))),
        (
            "no authority's certificate",
            change(&|one| {
                one.client_anchors.push(leaf.certificate.to_pem().into_bytes());
            }),
        ),
        ("1024 bits", change(&|one| one.client_anchors.push(fixture("rsa-1024")))),
        ("elliptic curve", change(&|one| one.server_anchors.push(fixture("p192")))),
        ("by none of the authorities", change(&|one| one.crls.push(foreign.clone()))),
        ("changed or is by another key", change(&|one| one.crls.push(forged.clone()))),
        ("revocation lists of partner", change(&|one| one.crls.push(b"x".to_vec()))),
        (
            "cRLSign",
            change(&|one| {
                one.client_anchors.push(silent.pem());
                one.crls.push(silent_list.clone());
            }),
        ),
    ];
    for (expected, error) in table {
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

/// rcgen refuses to sign a list for an authority that may not, so a twin that may signs it.
fn unsigned_right_list(silent: &Authority) -> Vec<u8> {
    silent.with_right_to_sign_lists().list(&[], now() + days(1))
}

#[test]
fn shared_trust_is_replaced_as_a_whole() {
    let a = Authority::new("a");
    let shared = SharedTrust::new(TrustStore::empty());
    let other = shared.clone();
    let before = other.load();
    assert!(client(&before, &a.leaf(&[BETA], |_| ())).is_err());
    shared.replace(store(&[material(BETA, &a)]));
    assert_eq!((before.generation(), other.load().generation()), (0, 7));
    assert!(other.load().partner(BETA).is_some() && other.load().partner(GAMMA).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever names partners register and a leaf carries, it selects the one partner that registered
    /// any of them, and nobody when there are none or several.
    #[test]
    fn selection_is_by_exactly_one_owner(
        owners in proptest::collection::btree_map(0..12_u8, 0..3_usize, 3..12),
        carried in proptest::collection::btree_set(0..12_u8, 0..4),
    ) {
        let name = |number: &u8| format!("urn:name:{number}");
        let a = Authority::new("a");
        let materials: Vec<_> = (0..3_usize)
            .filter(|partner| owners.values().any(|owner| owner == partner))
            .map(|partner| PartnerMaterial {
                participant: partner.to_string(),
                san_uris: owners.iter().filter(|(_, owner)| **owner == partner).map(|(n, _)| name(n)).collect(),
                ..material("", &a)
            })
            .collect();
        let uris: Vec<_> = carried.iter().map(name).collect();
        let leaf = a.leaf(&uris.iter().map(String::as_str).collect::<Vec<_>>(), |_| ());
        let expected: BTreeSet<_> = carried.iter().filter_map(|number| owners.get(number)).collect();
        match client(&store(&materials), &leaf) {
            Ok(checked) => {
                prop_assert_eq!(expected.len(), 1);
                prop_assert_eq!(checked.participant.to_string(), expected.first().unwrap().to_string());
            }
            Err(TrustError::Unregistered { .. }) => prop_assert!(expected.is_empty()),
            Err(TrustError::Ambiguous { participants, .. }) => {
                prop_assert!(expected.len() > 1 && participants.len() == expected.len());
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn an_authority_that_ran_out_shuts_out_its_own_partner_only() {
    let expired = Authority::with("old", |params| {
        crate::testing::set_dates(params, now() - days(9), now() - days(1));
    });
    let other = Authority::new("b");
    let store = store(&[material(BETA, &expired), material(GAMMA, &other)]);
    assert!(client(&store, &expired.leaf(&[BETA], |_| ())).is_err());
    assert!(client(&store, &other.leaf(&[GAMMA], |_| ())).is_ok());
}
