use proptest::prelude::*;

use super::*;
use crate::testing::{Authority, days, dns, now};

fn fixture(name: &str) -> Certificate {
    let pem: &[u8] = match name {
        "rsa-1024" => include_bytes!("fixtures/rsa-1024.pem"),
        "rsa-2048" => include_bytes!("fixtures/rsa-2048.pem"),
        "p192" => include_bytes!("fixtures/p192.pem"),
        "secp256k1" => include_bytes!("fixtures/secp256k1.pem"),
        _ => include_bytes!("fixtures/ed448.pem"),
    };
    Certificate::bundle(pem).unwrap().remove(0)
}

#[test]
fn weak_keys_are_named() {
    assert_eq!(fixture("rsa-2048").weakness(), None);
    assert_eq!(Authority::new("good").certificate.weakness(), None);
    for (name, expected) in [
        ("rsa-1024", "RSA key has 1024 bits"),
        ("p192", "elliptic curve 1.2.840.10045.3.1.1"),
        ("secp256k1", "elliptic curve 1.3.132.0.10"),
        ("ed448", "key algorithm 1.3.101.113"),
    ] {
        let certificate = fixture(name);
        let weakness = certificate.weakness().unwrap();
        assert!(weakness.contains(expected), "{name}: {weakness}");
    }
}

#[test]
fn facts_are_those_of_the_certificate() {
    let authority = Authority::new("Authority");
    let leaf = authority.leaf(&["did:web:Beta.example"], |params| {
        params.subject_alt_names.push(dns("Node.Beta.Example"));
        params.subject_alt_names.push(rcgen::SanType::IpAddress("10.1.2.3".parse().unwrap()));
    });
    let leaf = leaf.certificate;
    assert_eq!(leaf.uris(), ["did:web:Beta.example"]);
    assert_eq!(leaf.dns_names(), ["node.beta.example"]);
    assert_eq!(leaf.addresses(), ["10.1.2.3".parse::<IpAddr>().unwrap()]);
    assert_eq!(leaf.not_after(), now() + days(90));
    assert!(leaf.names_issuer(&authority.certificate) && !leaf.is_ca());
    assert!(leaf.allows(Purpose::Server) && leaf.allows(Purpose::Client));
    assert!(!leaf.allows(Purpose::Signing));
    assert!(authority.certificate.is_ca() && authority.certificate.may_sign_lists());
    assert_eq!(Certificate::bundle(leaf.to_pem().as_bytes()).unwrap(), std::slice::from_ref(&leaf));
    assert_eq!(Certificate::bundle(leaf.der()).unwrap(), [leaf]);
}

#[test]
fn an_absent_extended_key_usage_allows_signing_only() {
    let leaf = Authority::new("a").leaf(&["urn:b"], |params| params.extended_key_usages.clear());
    assert!(!leaf.certificate.allows(Purpose::Server));
    assert!(!leaf.certificate.allows(Purpose::Client));
    assert!(leaf.certificate.allows(Purpose::Signing));
}

#[test]
fn a_key_usage_without_signatures_allows_nothing() {
    let leaf = Authority::new("a").leaf(&["urn:b"], |params| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyEncipherment];
    });
    assert!(!leaf.certificate.allows(Purpose::Server));
}

#[test]
fn bundles_say_what_is_wrong() {
    let authority = Authority::new("a");
    let key = authority.leaf(&[], |_| ()).key.serialize_pem();
    let with_key = [authority.pem(), key.into_bytes()].concat();
    assert_eq!(Certificate::bundle(&with_key), Err(X509Error::PrivateKey));
    assert_eq!(Certificate::bundle(b"hello"), Err(X509Error::NoCertificate { pkcs7: false }));
    let error = Certificate::bundle(b"-----BEGIN PKCS7-----\nAA==\n-----END PKCS7-----\n");
    assert!(error.unwrap_err().to_string().contains("openssl pkcs7"));
    let cut = &authority.pem()[..200];
    assert!(matches!(Certificate::bundle(cut), Err(X509Error::NotPem { .. })));
    let longer = [authority.certificate.der(), &[0][..]].concat();
    assert!(matches!(Certificate::from_der(&longer), Err(X509Error::NotACertificate { .. })));
    let huge = vec![0x30; MAX_CERTIFICATE_BYTES + 1];
    assert!(matches!(Certificate::from_der(&huge), Err(X509Error::TooLarge { .. })));
}

#[test]
fn revocation_lists_are_complete_and_dated() {
    let authority = Authority::new("a");
    let der = authority.list(&[], now() + days(7));
    let list = RevocationList::from_der(&der).unwrap();
    assert_eq!(list.next_update(), now() + days(7));
    assert!(list.is_signed_by(&authority.certificate));
    assert!(!list.is_signed_by(&Authority::new("a").certificate));
    assert!(RevocationList::bundle(b"nothing").is_err());
    assert!(RevocationList::bundle(&vec![0; MAX_REVOCATION_LIST_BYTES + 1]).is_err());
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(at in 0..400_usize, byte: u8, length in 0..400_usize) {
        let authority = Authority::new("a");
        let leaf = authority.leaf(&["urn:b"], |_| ()).certificate;
        let mut der = leaf.der().to_vec();
        let at = at % der.len();
        der[at] = byte;
        let _ = Certificate::from_der(&der);
        let _ = Certificate::from_der(&der[..length.min(der.len())]);
        let mut list = authority.list(&[authority.serial()], now());
        let at = at % list.len();
        list[at] = byte;
        let _ = RevocationList::from_der(&list);
        let _ = RevocationList::bundle(&list[..length.min(list.len())]);
    }

    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        let _ = Certificate::bundle(&bytes);
        let _ = RevocationList::bundle(&bytes);
    }
}
