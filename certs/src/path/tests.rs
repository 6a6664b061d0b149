use rcgen::ExtendedKeyUsagePurpose;

use super::*;
use crate::testing::{Authority, days, now};

fn with_lists(certificates: &[&Authority], lists: &[Vec<u8>]) -> Authorities {
    let certificates = certificates.iter().map(|one| one.certificate.clone()).collect();
    let mut authorities = Authorities::new(certificates);
    for list in lists {
        authorities.add_list(RevocationList::from_der(list).unwrap());
    }
    authorities
}

#[test]
fn authorities_below_others_are_not_anchors() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let below = root.below("below");
    let authorities = with_lists(&[&below, &root, &other], &[]);
    assert_eq!(authorities.anchors, [root.certificate.clone(), other.certificate.clone()]);
    // Alone it is the anchor: the registrar may trust only a part of a large hierarchy.
    assert_eq!(with_lists(&[&below], &[]).anchors, std::slice::from_ref(&below.certificate));
}

#[test]
fn every_level_is_revocable() {
    let root = Authority::new("root");
    let below = root.below("below");
    let leaf = below.leaf(&["urn:b"], |_| ());
    let due = now() + days(7);
    let presented = [below.certificate.clone()];
    let judge = |lists: &[Vec<u8>]| {
        let authorities = with_lists(&[&root, &below], lists);
        authorities.verify(&leaf.certificate, &presented, Purpose::Client, now())
    };
    let (clean_root, clean_below) = (root.list(&[], due), below.list(&[], due));
    assert_eq!(judge(&[]).unwrap().valid_until, leaf.certificate.not_after());
    let path = judge(&[clean_root.clone(), clean_below.clone()]).unwrap();
    assert_eq!(path.valid_until, due - SECOND);
    assert_eq!(path.intermediates, std::slice::from_ref(&below.certificate));
    assert_eq!(path.anchor, root.certificate);
    // One list of two: the other level's status is unknown, which is not good.
    for lists in [[clean_root.clone()], [clean_below.clone()]] {
        assert!(matches!(judge(&lists), Err(PathError::UnknownStatus { .. })));
    }
    let revoked_leaf = below.list(&[leaf.serial()], due);
    let revoked_authority = root.list(&[below.serial()], due);
    for lists in [[clean_root.clone(), revoked_leaf], [revoked_authority, clean_below.clone()]] {
        assert!(matches!(judge(&lists), Err(PathError::Revoked { .. })));
    }
    let stale = below.list(&[], now());
    assert!(matches!(
        judge(&[clean_root, stale]),
        Err(PathError::ExpiredList { next_update, .. }) if next_update == now()
    ));
}

const SECOND: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

#[test]
fn a_restricted_authority_restricts_its_leaves() {
    let root = Authority::new("root");
    let leaf = root.leaf(&["urn:b"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let authorities = with_lists(&[&root], &[]);
    let judge = |purpose| authorities.verify(&leaf.certificate, &[], purpose, now());
    assert!(judge(Purpose::Server).is_ok());
    assert!(matches!(judge(Purpose::Client), Err(PathError::WrongPurpose { .. })));
}

#[test]
fn an_expired_anchor_ends_trust() {
    let root = Authority::with("root", |params| {
        crate::testing::set_dates(params, now() - days(30), now() + days(1));
    });
    let leaf = root.leaf(&["urn:b"], |_| ());
    let authorities = with_lists(&[&root], &[]);
    let judge = |at| authorities.verify(&leaf.certificate, &[], Purpose::Client, at);
    assert_eq!(judge(now()).unwrap().valid_until, now() + days(1));
    assert!(matches!(judge(now() + days(2)), Err(PathError::UnknownIssuer { .. })));
}

#[test]
fn any_extended_key_usage_is_not_enough() {
    let root = Authority::new("root");
    let leaf = root.leaf(&["urn:b"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    });
    for purpose in [Purpose::Server, Purpose::Client, Purpose::Signing] {
        let judged = with_lists(&[&root], &[]).verify(&leaf.certificate, &[], purpose, now());
        assert!(matches!(judged, Err(PathError::WrongPurpose { .. })), "{purpose}");
    }
}
