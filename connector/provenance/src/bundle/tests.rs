use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::parents::Parent;
use crate::testing::Participant;

fn bundle() -> Bundle {
    let provider = Participant::new("did:web:b.example");
    provider.bundle(&provider.issue(&provider.claims()))
}

fn opening() -> Opening {
    let parent = Parent {
        token: Digest::sha256(b"token"),
        role: "input".to_owned(),
        digest: Digest::sha256(b"data"),
    };
    Opening { salt: [7; 32], parent }
}

#[test]
fn a_document_comes_back_and_has_one_spelling() {
    for bundle in [bundle(), bundle().with_openings(vec![opening()]).unwrap()] {
        let text = bundle.to_json().unwrap();
        assert_eq!(Bundle::parse(text.as_bytes()), Ok(bundle));
        assert!(text.starts_with("{\n  \"version\": 1,\n  \"token\": \"ey"), "{text}");
        assert!(text.ends_with("}\n"));
        for other in [
            text.trim_end().to_owned(),
            text.replace("\n  ", "\n "),
            text.replace("\"index\": ", "\"index\":"),
        ] {
            assert_eq!(Bundle::parse(other.as_bytes()), Err(BundleError::OtherSpelling));
        }
    }
}

#[test]
fn a_document_is_read_strictly() {
    let text = bundle().with_openings(vec![opening()]).unwrap().to_json().unwrap();
    let cases = [
        ("\"version\": 1", "\"version\": 2", "version 2"),
        ("\"version\": 1", "\"version\": 1,\n  \"more\": 1", "unknown field"),
        ("\"version\": 1", "\"version\": 1,\n  \"version\": 1", "duplicate field"),
        ("\"version\": 1,\n", "", "missing field"),
        ("\"index\": 4", "\"index\": -4", "invalid value"),
        ("\"index\": 4", "\"index\": 4.0", "invalid type"),
        ("\"role\": \"input\"", "\"role\": \"input\", \"x\": 1", "unknown field"),
    ];
    for (from, to, expected) in cases {
        assert!(text.contains(from), "{from}");
        let error = Bundle::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.part(), Part::Bundle);
    }
}

#[test]
fn a_part_that_cannot_be_read_is_named() {
    let bundle = bundle();
    let text = bundle.to_json().unwrap();
    let hash = bundle.proof()[0].to_string();
    let error = Bundle::parse(text.replace(&hash, "00").as_bytes()).unwrap_err();
    assert_eq!(error.part(), Part::LogProof);
    let hash = bundle.proof()[0];
    let sizes: [(Part, Bundle); 4] = [
        (Part::Token, Bundle { token: "t".repeat(256 * 1024 + 1), ..bundle.clone() }),
        (Part::LogEntry, Bundle { leaf: "l".repeat(65_536), ..bundle.clone() }),
        (Part::LogProof, Bundle { proof: vec![hash; 65], ..bundle.clone() }),
        (Part::Checkpoint, Bundle { checkpoint: "c".repeat(65_537), ..bundle.clone() }),
    ];
    for (part, large) in sizes {
        let text = large.to_json().unwrap();
        assert_eq!(Bundle::parse(text.as_bytes()).unwrap_err().part(), part);
    }
    assert!(bundle.with_openings(vec![opening(); 257]).is_err());
    assert!(Bundle::new("t", &[0xff], 0, Vec::new(), "c").is_err());
}

#[test]
fn a_document_without_end_is_not_read() {
    let error = Bundle::parse(&vec![b' '; MAX_BUNDLE_BYTES + 1]).unwrap_err();
    assert_eq!(error, BundleError::TooLarge { bytes: MAX_BUNDLE_BYTES + 1 });
    let deep = vec![b'['; MAX_BUNDLE_BYTES];
    assert!(matches!(Bundle::parse(&deep), Err(BundleError::Malformed { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Bundle::parse(&bytes).is_err());
    }
}
