use proptest::prelude::*;

use super::*;

fn fixed_key() -> NodeKey {
    let text: String = (0..32).map(|byte: u8| format!("{byte:02x}")).collect();
    NodeKey::from_text(text.as_bytes()).unwrap()
}

#[test]
fn the_access_token_is_what_an_independent_hmac_says() {
    let token = fixed_key().access_token("urn:uuid:1", 3);
    assert_eq!(token.as_str(), "B8NMl1yr831jvfpC3McLOAQ5txH7_ciHe2B-n2ETRhM");
    assert_eq!(token_digest("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
}

#[test]
fn every_transfer_and_generation_has_its_token() {
    let (key, other) = (fixed_key(), NodeKey::generate().unwrap());
    let mut tokens = vec![
        key.access_token("a", 0),
        key.access_token("a", 1),
        key.access_token("b", 0),
        key.access_token("a\0", 0),
        other.access_token("a", 0),
    ];
    assert_eq!(tokens[0], key.access_token("a", 0));
    tokens.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    tokens.dedup();
    assert_eq!(tokens.len(), 5);
}

#[test]
fn a_key_is_64_digits() {
    let key = NodeKey::generate().unwrap();
    let again = NodeKey::from_text(key.to_text().as_bytes()).unwrap();
    assert_eq!(*key.0, *again.0);
    for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
        assert!(matches!(NodeKey::from_text(bad.as_bytes()), Err(SealError::NotAKey)));
    }
    assert_eq!(format!("{key:?}"), "NodeKey(redacted)");
}

#[test]
fn unknown_forms_are_named() {
    assert!(matches!(fixed_key().unseal(&[9, 1], b""), Err(SealError::UnknownForm { version: 9 })));
    assert!(matches!(fixed_key().unseal(&[], b""), Err(SealError::NotOpened)));
    assert!(matches!(fixed_key().unseal(&[1, 2, 3], b""), Err(SealError::NotOpened)));
}

proptest! {
    #[test]
    fn sealed_opens_only_whole_and_in_its_place(secret: Vec<u8>, place: Vec<u8>, at: usize, bit in 0..8_u32) {
        let key = fixed_key();
        let sealed = key.seal(&secret, &place).unwrap();
        let opened = key.unseal(&sealed, &place).unwrap();
        prop_assert_eq!(opened.as_slice(), secret.as_slice());
        let elsewhere = [place.as_slice(), b"x"].concat();
        prop_assert!(key.unseal(&sealed, &elsewhere).is_err());
        prop_assert!(NodeKey::generate().unwrap().unseal(&sealed, &place).is_err());
        let mut changed = sealed.clone();
        let at = at % changed.len();
        changed[at] ^= 1_u8 << bit;
        prop_assert!(key.unseal(&changed, &place).is_err());
        prop_assert!(key.unseal(&sealed[..sealed.len() - 1], &place).is_err());
        prop_assert_ne!(key.seal(&secret, &place).unwrap(), sealed);
    }
}
