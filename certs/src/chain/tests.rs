use rcgen::ExtendedKeyUsagePurpose;

use super::*;
use crate::testing::{Authority, Leaf, days, now};

const DOCUMENT_SIGNING: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 36];

fn signing_leaf(authority: &Authority, uris: &[&str]) -> Leaf {
    authority.leaf(uris, |params| {
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::Other(DOCUMENT_SIGNING.to_vec())];
    })
}

fn der(chain: &[&Certificate]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|one| one.der().clone()).collect()
}

#[test]
fn a_chain_is_judged_at_the_instant_given() {
    let root = Authority::new("root");
    let below = root.below("below");
    let leaf = signing_leaf(&below, &["did:web:beta.example", "urn:beta"]);
    let chain = der(&[&leaf.certificate, &below.certificate]);
    let anchors = [root.certificate.clone()];
    let signer = verify(&chain, &anchors, now()).unwrap();
    assert_eq!(signer.participants, ["did:web:beta.example", "urn:beta"]);
    assert_eq!(signer.leaf_sha256, leaf.certificate.sha256());
    assert_eq!(signer.valid_until, leaf.certificate.not_after());
    assert!(verify(&chain, &anchors, now() + days(90)).is_ok());
    let refused = |at| verify(&chain, &anchors, at).unwrap_err();
    assert!(matches!(refused(now() + days(91)), ChainError::Path(PathError::Expired { .. })));
    assert!(matches!(refused(now() - days(11)), ChainError::Path(PathError::NotYetValid { .. })));
}

#[test]
fn a_tls_certificate_signs_nothing() {
    let root = Authority::new("root");
    let leaf = root.leaf(&["urn:beta"], |_| ());
    let error = verify(&der(&[&leaf.certificate]), std::slice::from_ref(&root.certificate), now())
        .unwrap_err();
    assert!(matches!(
        error,
        ChainError::Path(PathError::WrongPurpose { required: Purpose::Signing, .. })
    ));
}

#[test]
fn an_authority_for_tls_only_certifies_no_signer() {
    let root = Authority::with("root", |_| ());
    let below = Authority::with("tls", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let leaf = signing_leaf(&below, &["urn:beta"]);
    let anchors = [root.certificate.clone(), below.certificate.clone()];
    // As an anchor its own extensions do not count (RFC 5280 section 6.1.1 d): the registrar chose it.
    assert!(verify(&der(&[&leaf.certificate]), &anchors, now()).is_ok());
}

#[test]
fn strangers_and_the_nameless_are_refused() {
    let root = Authority::new("root");
    let leaf = signing_leaf(&root, &["urn:beta"]);
    let chain = der(&[&leaf.certificate]);
    // The same name, another key.
    let impostor = [Authority::new("root").certificate];
    assert!(verify(&chain, &impostor, now()).is_err());
    assert!(matches!(
        verify(&chain, &[], now()),
        Err(ChainError::Path(PathError::UnknownIssuer { .. }))
    ));
    let nameless = signing_leaf(&root, &[]);
    let anchors = [root.certificate.clone()];
    assert!(matches!(
        verify(&der(&[&nameless.certificate]), &anchors, now()),
        Err(ChainError::Nameless { .. })
    ));
    assert!(matches!(verify(&[], &anchors, now()), Err(ChainError::Path(PathError::Empty))));
    let long = vec![leaf.certificate.der().clone(); MAX_CHAIN + 1];
    assert!(matches!(
        verify(&long, &anchors, now()),
        Err(ChainError::Path(PathError::TooLong { .. }))
    ));
    assert!(matches!(
        verify(&der(&[&root.certificate]), &anchors, now()),
        Err(ChainError::Path(PathError::AuthorityAsLeaf { .. }))
    ));
}
