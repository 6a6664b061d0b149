use proptest::prelude::*;

use super::*;

#[test]
fn accepts_whatever_peers_call_things() {
    for text in [
        "offer1",
        "CD123:ACN0101:456",
        "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "https://provider.example/datasets/1?x=y#z",
        " leading and trailing space ",
        "関所",
        "...",
        "a/../b",
    ] {
        assert_eq!(Pid::new(text).unwrap().as_str(), text);
    }
}

#[test]
fn refuses_what_cannot_be_an_identifier() {
    let long = "x".repeat(MAX_ID_BYTES + 1);
    let table = [
        ("", IdError::Empty),
        (".", IdError::DotSegment),
        ("..", IdError::DotSegment),
        ("a\0b", IdError::Control { code: 0, at: 1 }),
        ("関\n", IdError::Control { code: 10, at: 3 }),
        ("\u{85}", IdError::Control { code: 0x85, at: 0 }),
        (&long, IdError::TooLong { bytes: MAX_ID_BYTES + 1 }),
    ];
    for (text, error) in table {
        assert_eq!(DatasetId::new(text), Err(error), "{text:?}");
        let json = serde_json::to_string(text).unwrap();
        assert!(serde_json::from_str::<DatasetId>(&json).is_err(), "serde must check {text:?}");
    }
    assert!(DatasetId::new(&"x".repeat(MAX_ID_BYTES)).is_ok());
}

#[test]
fn fresh_ids_are_urns() {
    let uuid = Uuid::from_u128(0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8);
    assert_eq!(
        MessageId::from_uuid(uuid).as_str(),
        "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    );
}

proptest! {
    #[test]
    fn an_identifier_is_echoed_byte_for_byte(text in any::<String>()) {
        if let Ok(id) = Pid::new(&text) {
            prop_assert_eq!(id.as_str(), &text);
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pid>(&json).unwrap(), id);
        }
    }
}
