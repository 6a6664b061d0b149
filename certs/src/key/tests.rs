use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

/// RFC 8410 section 10.3.
const RFC_8410_KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const RFC_8410_SPKI: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

#[test]
fn reads_and_writes_the_key_of_rfc_8410() {
    let key = SigningKey::from_pem(RFC_8410_KEY).unwrap();
    assert_eq!(STANDARD.encode(key.verifying_key().spki_der()), RFC_8410_SPKI);
    assert_eq!(key.to_pem().as_bytes(), RFC_8410_KEY);
}

#[test]
fn key_id_is_the_thumbprint_of_rfc_8037() {
    let point = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let key = VerifyingKey::from_ed25519(&point).unwrap();
    assert_eq!(key.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn other_key_files_are_refused() {
    let ec = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ec = ec.serialize_pem();
    for (text, expected) in [
        ("", "no PKCS#8"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not an Ed25519 key"),
        (ec.as_str(), "not an Ed25519 key"),
    ] {
        let error = SigningKey::from_pem(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let key = SigningKey::from_pem(RFC_8410_KEY).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains(&key.key_id()) && !shown.contains("MC4C") && shown.len() < 120);
}

#[test]
fn accepts_only_the_two_algorithms() {
    assert_eq!(Algorithm::from_name("EdDSA").unwrap(), Algorithm::EdDsa);
    assert_eq!(Algorithm::from_name("ES256").unwrap(), Algorithm::Es256);
    for name in ["none", "NONE", "HS256", "RS256", "eddsa", "ES256 ", ""] {
        assert!(matches!(Algorithm::from_name(name), Err(KeyError::UnknownAlgorithm { .. })));
    }
}

/// Every y coordinate that `proves_nothing` must refuse, with both signs of x.
fn weak_points() -> Vec<[u8; 32]> {
    let mut ys: Vec<[u8; 32]> = Vec::new();
    for hex_text in [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        ys.push(hex::decode(hex_text).unwrap().try_into().unwrap());
    }
    for low in [0, 1] {
        let mut y = [0; 32];
        y[0] = low;
        ys.push(y);
    }
    for low in 0xec..=0xff {
        let mut y = [0xff; 32];
        (y[0], y[31]) = (low, 0x7f);
        ys.push(y);
    }
    let negated = ys.clone().into_iter().map(|mut y| {
        y[31] |= 0x80;
        y
    });
    ys.extend(negated);
    ys
}

#[test]
fn weak_points_are_no_keys() {
    for point in weak_points() {
        let refused = VerifyingKey::from_ed25519(&point);
        assert!(matches!(refused, Err(KeyError::WeakEd25519Point)), "{}", hex::encode(point));
        let spki = [ED25519_SPKI_PREFIX, &point].concat();
        assert!(matches!(VerifyingKey::from_spki_der(&spki), Err(KeyError::WeakEd25519Point)));
    }
}

/// Why the check is there: with a point of small order, a fixed "signature" verifies for one message in
/// eight, and the library accepts it.
#[test]
fn weak_points_would_verify_what_nobody_signed() {
    let mut forged = [0; 64];
    forged[0] = 1;
    for point in &weak_points()[..4] {
        let key = UnparsedPublicKey::new(&ED25519, point);
        assert!((0_u16..400).any(|n| key.verify(&n.to_be_bytes(), &forged).is_ok()));
    }
}

#[test]
fn spki_must_be_exact() {
    let good = STANDARD.decode(RFC_8410_SPKI).unwrap();
    assert!(VerifyingKey::from_spki_der(&good).is_ok());
    let longer = [good.as_slice(), &[0]].concat();
    for bad in [&good[..43], &longer[..], &[], ED25519_SPKI_PREFIX, P256_SPKI_PREFIX] {
        assert!(VerifyingKey::from_spki_der(bad).is_err());
    }
}

#[test]
fn malleable_and_zero_signatures_are_refused() {
    let key = SigningKey::from_pem(RFC_8410_KEY).unwrap();
    let good = key.sign(b"message");
    assert!(key.verifying_key().verify(b"message", &good).is_ok());
    // S + L, with L the order of the group: equal modulo L, so a lax verifier accepts it.
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut malleable = good;
    let mut carry = 0_u16;
    for (byte, add) in malleable[32..].iter_mut().zip(&order) {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    for bad in [malleable, [0; 64]] {
        assert!(matches!(
            key.verifying_key().verify(b"message", &bad),
            Err(KeyError::BadSignature { .. })
        ));
    }
}

proptest! {
    #[test]
    fn a_signature_is_for_one_message_and_key(message: Vec<u8>, flip in 0..512_usize) {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign(&message);
        prop_assert!(key.verifying_key().verify(&message, &signature).is_ok());
        let mut other = signature;
        other[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(key.verifying_key().verify(&message, &other).is_err());
        prop_assert!(SigningKey::generate().unwrap().verifying_key().verify(&message, &signature).is_err());
        prop_assert!(key.verifying_key().verify(&[message.as_slice(), b"x"].concat(), &signature).is_err());
    }

    #[test]
    fn any_bytes_as_spki_are_refused_or_come_back(bytes: Vec<u8>) {
        if let Ok(key) = VerifyingKey::from_spki_der(&bytes) {
            prop_assert_eq!(key.spki_der(), bytes);
        }
    }
}
