use proptest::prelude::*;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;

use super::*;
use crate::testing::Authority;

const TYP: &str = "prov+jwt";

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with any header and payload, rightly signed by `key`: only the form can be wrong.
fn signed(header: &str, payload: &str, key: &SigningKey) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    let signature = encode(key.sign(input.as_bytes()));
    format!("{input}.{signature}")
}

#[test]
fn what_is_signed_verifies() {
    let key = key();
    let payload = br#"{"iss":"did:web:alpha.example"}"#;
    let token = sign_compact(TYP, HeaderExtras::default(), payload, &key).unwrap();
    let verified = verify_compact(&token, TYP, &key.verifying_key()).unwrap();
    assert_eq!(verified.payload, payload);
    assert_eq!(verified.header.key_id, Some(key.key_id()));
    assert_eq!(verified.json::<Value>().unwrap(), json!({"iss": "did:web:alpha.example"}));
    // josekit and aws-lc agree about the signature.
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verifying_key().verify(input.as_bytes(), &signature).unwrap();
    assert_eq!(encode(key.sign(input.as_bytes())), encode(signature));
}

#[test]
fn the_chain_travels_and_must_be_the_keys() {
    let (key, authority) = (key(), Authority::new("a"));
    let pair = || rcgen::KeyPair::try_from(key.pkcs8()).unwrap();
    let leaf = authority.leaf_for(pair(), &["urn:a"], |_| ()).certificate;
    let chain = [leaf.clone(), authority.certificate.clone()];
    let extras = HeaderExtras { chain: &chain, embed_chain: true };
    let token = sign_compact(TYP, extras, b"{}", &key).unwrap();
    let verified = verify_compact(&token, TYP, &key.verifying_key()).unwrap();
    assert_eq!(verified.header.chain, chain);
    assert_eq!(verified.header.leaf_sha256, Some(leaf.sha256()));
    let reference = HeaderExtras { chain: &chain, embed_chain: false };
    let short = sign_compact(TYP, reference, b"{}", &key).unwrap();
    let header = Unverified::parse(&short, TYP).unwrap().header;
    assert!(header.chain.is_empty() && header.leaf_sha256 == Some(leaf.sha256()));
    let other = SigningKey::generate().unwrap();
    assert!(matches!(
        sign_compact(TYP, extras, b"{}", &other),
        Err(JoseError::OtherKey { member: "x5c" })
    ));
    // A header that carries one chain and is signed with another key.
    let (header, _) = token.split_once('.').unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let header = header.replace(&key.key_id(), &other.key_id());
    let forged = signed(&header, "{}", &other);
    assert!(matches!(
        verify_compact(&forged, TYP, &other.verifying_key()),
        Err(JoseError::OtherKey { member: "x5c" })
    ));
    // A thumbprint of another certificate.
    let wrong = header
        .replace(&other.key_id(), &key.key_id())
        .replace(&encode(leaf.sha256()), &encode(authority.certificate.sha256()));
    assert!(matches!(
        verify_compact(&signed(&wrong, "{}", &key), TYP, &key.verifying_key()),
        Err(JoseError::OtherKey { member: "x5t#S256" })
    ));
}

/// The attack table: each token is signed with the right key, so only the check named can refuse it.
#[test]
fn every_header_but_ours_is_refused() {
    let key = key();
    let thumbprint = encode([7; 31]);
    let table = [
        (r#"{"alg":"none","typ":"prov+jwt"}"#, "`none` is not accepted"),
        (r#"{"alg":"NONE","typ":"prov+jwt"}"#, "`NONE` is not accepted"),
        (r#"{"alg":"HS256","typ":"prov+jwt"}"#, "`HS256` is not accepted"),
        (r#"{"alg":"RS256","typ":"prov+jwt"}"#, "`RS256` is not accepted"),
        (r#"{"alg":"ES256","typ":"prov+jwt"}"#, "says `ES256` and the key is for `EdDSA`"),
        (r#"{"alg":["EdDSA"],"typ":"prov+jwt"}"#, "header is refused"),
        (r#"{"typ":"prov+jwt"}"#, "missing field `alg`"),
        (r#"{"alg":"EdDSA"}"#, "missing field `typ`"),
        (r#"{"alg":"EdDSA","typ":"JWT"}"#, "type `JWT`"),
        (r#"{"alg":"EdDSA","typ":"PROV+JWT"}"#, "type `PROV+JWT`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","crit":["exp"],"exp":1}"#, "unknown field `crit`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","crit":[]}"#, "unknown field `crit`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","b64":false}"#, "unknown field `b64`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","zip":"DEF"}"#, "unknown field `zip`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","jwk":{"kty":"OKP"}}"#, "unknown field `jwk`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","jku":"https://evil"}"#, "unknown field `jku`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","x5u":"https://evil"}"#, "unknown field `x5u`"),
        (r#"{"alg":"EdDSA","alg":"none","typ":"prov+jwt"}"#, "duplicate field `alg`"),
        (r#"{"alg":"none","alg":"EdDSA","typ":"prov+jwt"}"#, "duplicate field `alg`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","\u0061lg":"EdDSA"}"#, "duplicate field `alg`"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","kid":"../../etc/passwd"}"#, "`kid` does not belong"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","kid":"' OR 1=1 --"}"#, "`kid` does not belong"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","x5c":[]}"#, "`x5c` has 0"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","x5c":["AA=="]}"#, "chain is refused"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","x5c":["A A="]}"#, "not canonical"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt","x5t#S256":"THUMBPRINT"}"#, "not a SHA-256"),
        (r#"{"alg":"EdDSA","typ":"prov+jwt"} "#, ""),
        (r#"{"alg":"EdDSA","typ":"prov+jwt"}{}"#, "trailing characters"),
        (r#"["EdDSA","prov+jwt",null,null,null]"#, "not a JSON object"),
        ("", "not a JSON object"),
    ];
    for (header, expected) in table {
        let token = signed(&header.replace("THUMBPRINT", &thumbprint), "{}", &key);
        match verify_compact(&token, TYP, &key.verifying_key()) {
            // White space around JSON changes nothing about its meaning.
            Ok(_) => assert_eq!(expected, "", "{header}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!expected.is_empty() && error.contains(expected), "{header}: {error}");
            }
        }
    }
}

#[test]
fn hmac_with_the_public_key_is_refused() {
    let key = key();
    let input = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"prov+jwt"}"#), encode("{}"));
    let secret = key.verifying_key().spki_der();
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let token = format!("{input}.{}", encode(aws_lc_rs::hmac::sign(&hmac, input.as_bytes())));
    assert!(matches!(
        verify_compact(&token, TYP, &key.verifying_key()),
        Err(JoseError::Algorithm(KeyError::UnknownAlgorithm { .. }))
    ));
}

#[test]
fn only_the_compact_form_is_read() {
    let key = key();
    let token = signed(r#"{"alg":"EdDSA","typ":"prov+jwt"}"#, "{}", &key);
    let parts: Vec<&str> = token.split('.').collect();
    let json = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]});
    let five = format!("{token}.AA.AA");
    let two = format!("{}.{}", parts[0], parts[1]);
    for (other, count) in [(json.to_string(), 1), (five, 5), (two, 2), (String::new(), 1)] {
        assert!(matches!(
            verify_compact(&other, TYP, &key.verifying_key()),
            Err(JoseError::NotCompact { parts }) if parts == count
        ));
    }
    let large = ".".repeat(MAX_TOKEN_BYTES + 1);
    assert!(matches!(Unverified::parse(&large, TYP), Err(JoseError::TooLarge { .. })));
    let payload = vec![b'x'; MAX_TOKEN_BYTES];
    assert!(matches!(
        sign_compact(TYP, HeaderExtras::default(), &payload, &key),
        Err(JoseError::TooLarge { .. })
    ));
}

#[test]
fn base64url_has_one_form() {
    let key = key();
    let token = signed(r#"{"alg":"EdDSA","typ":"prov+jwt"}"#, r#"{"a":1}"#, &key);
    let (input, signature) = token.rsplit_once('.').unwrap();
    // 64 bytes leave four unused bits in the last character: `A`, `Q`, `g`, `w` are its only values.
    let (head, last) = signature.split_at(signature.len() - 1);
    let tail: char = last.chars().next().unwrap();
    let dirty = char::from(u8::try_from(u32::from(tail) + 1).unwrap());
    for other in [
        format!("{input}.{head}{dirty}"),
        format!("{token}="),
        format!("{token}=="),
        format!("{token}\n"),
        format!(" {token}"),
        token.replacen('.', " .", 1),
        token.replacen('e', "+", 1),
        format!("{input}.{head}/"),
    ] {
        assert!(
            matches!(
                verify_compact(&other, TYP, &key.verifying_key()),
                Err(JoseError::NotCanonical { .. })
            ),
            "{other}"
        );
    }
}

/// ES256 with a partner's key, and the forms of ECDSA signature that must fail.
#[test]
fn es256_signatures_are_raw_and_not_zero() {
    let authority = Authority::new("a");
    let leaf = authority.leaf(&["urn:b"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 2, 3])];
    });
    let key = leaf.certificate.verifying_key().unwrap();
    let signer = EcdsaJwsAlgorithm::Es256.signer_from_der(leaf.key.serialize_der()).unwrap();
    let mut header = JwsHeader::new();
    header.set_token_type(TYP);
    let token = josekit::jws::serialize_compact(b"{}", &header, &signer).unwrap();
    verify_compact(&token, TYP, &key).unwrap();
    let (input, _) = token.rsplit_once('.').unwrap();
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        leaf.key.serialized_der(),
    )
    .unwrap();
    let der = pair.sign(&random, input.as_bytes()).unwrap();
    let half = [[0_u8; 32], [1; 32]].concat();
    let other_half = [[1_u8; 32], [0; 32]].concat();
    for signature in [der.as_ref(), &[0; 64], &half, &other_half, &[0xff; 64], &[]] {
        let forged = format!("{input}.{}", encode(signature));
        assert!(matches!(verify_compact(&forged, TYP, &key), Err(JoseError::BadSignature)));
    }
}

#[test]
fn another_key_or_a_malleable_signature_is_refused() {
    let (key, other) = (key(), key());
    let token = signed(r#"{"alg":"EdDSA","typ":"prov+jwt"}"#, "{}", &key);
    assert!(matches!(
        verify_compact(&token, TYP, &other.verifying_key()),
        Err(JoseError::BadSignature)
    ));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0_u16;
    for (byte, add) in raw[32..].iter_mut().zip(&order) {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let forged = format!("{input}.{}", encode(raw));
    assert!(matches!(
        verify_compact(&forged, TYP, &key.verifying_key()),
        Err(JoseError::BadSignature)
    ));
}

#[test]
fn payloads_say_everything_once() {
    let key = key();
    let read = |payload: &str| {
        let token = signed(r#"{"alg":"EdDSA","typ":"prov+jwt"}"#, payload, &key);
        verify_compact(&token, TYP, &key.verifying_key()).unwrap().json::<Value>()
    };
    assert!(read(r#"{"a":[{"b":1},{"b":2}],"c":{"b":null,"d":-1.5e3}}"#).is_ok());
    for bad in [
        r#"{"exp":1,"exp":2}"#,
        r#"{"a":[{"b":1,"b":1}]}"#,
        r#"{"a":{"b":{"c":0,"\u0063":0}}}"#,
        r#"{"a":1} {"a":1}"#,
        r#"{"a":1"#,
        "",
    ] {
        assert!(matches!(read(bad), Err(JoseError::Payload { .. })), "{bad}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(read(&deep).is_err());
}

proptest! {
    #[test]
    fn any_changed_byte_is_noticed(payload: Vec<u8>, at: usize, byte: u8) {
        let key = SigningKey::generate().unwrap();
        let token = sign_compact(TYP, HeaderExtras::default(), &payload, &key).unwrap();
        prop_assert_eq!(&verify_compact(&token, TYP, &key.verifying_key()).unwrap().payload, &payload);
        let mut changed = token.clone().into_bytes();
        let at = at % changed.len();
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assert!(verify_compact(&changed, TYP, &key.verifying_key()).is_err());
        }
    }

    #[test]
    fn any_text_never_panics(text: String) {
        prop_assert!(Unverified::parse(&text, TYP).is_err());
    }
}
