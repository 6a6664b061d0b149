use proptest::prelude::*;
use serde_json::json;

use super::*;

const LIMITS: Limits = Limits { max_bytes: 200, max_depth: 4, max_nodes: 12 };

#[test]
fn reads_plain_json() {
    let text = r#" {"b": [1, -2, 1.5, 1e3, true, null], "a": "\u95a2\u6240\u0000"} "#;
    let value = read(text.as_bytes(), &LIMITS).unwrap();
    assert_eq!(value, json!({"b": [1, -2, 1.5, 1e3, true, null], "a": "関所\0"}));
    let keys: Vec<_> = value.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["b", "a"], "the sender's order is kept");
}

#[test]
fn names_place_and_reason_of_hostile_texts() {
    let too_many = JsonFault::TooMany { limit: 12 };
    let too_deep = JsonFault::TooDeep { limit: 4 };
    let table: &[(&[u8], &str, JsonFault)] = &[
        (br#"{"a":1,"a":1}"#, "$.a", JsonFault::DuplicateKey),
        (br#"{"a":1,"\u0061":2}"#, "$.a", JsonFault::DuplicateKey),
        (br#"{"a":[{"b":1,"b":2}]}"#, "$.a[0].b", JsonFault::DuplicateKey),
        (br#"[[[["x"]]]]"#, "$[0][0][0][0]", too_deep.clone()),
        (br#"{"a":{"b":{"c":{"d":1}}}}"#, "$.a.b.c.d", too_deep),
        (b"[0,0,0,0,0,0,0,0,0,0,0,0,0]", "$[11]", too_many),
        (b"[1, 9007199254740992]", "$[1]", JsonFault::InexactNumber),
        (b"[-9007199254740992]", "$[0]", JsonFault::InexactNumber),
        (b"[100000000000000000001]", "$[0]", JsonFault::InexactNumber),
        (b"{\"a\":\"\xff\"}", "$", JsonFault::NotUtf8 { at: 6 }),
        (b"\"\xc0\x80\"", "$", JsonFault::NotUtf8 { at: 1 }),
    ];
    for (text, path, fault) in table {
        let error = read(text, &LIMITS).unwrap_err();
        let shown = String::from_utf8_lossy(text);
        assert_eq!((error.path.as_str(), &error.fault), (*path, fault), "{shown}");
    }
    let long = vec![b' '; 201];
    let error = read(&long, &LIMITS).unwrap_err();
    assert_eq!(error.fault, JsonFault::TooLong { bytes: 201, limit: 200 });
}

#[test]
fn what_is_only_shown_may_have_numbers_that_are_not_exact() {
    let text = br#"{"a":[1e20,12345678901234567890,-9007199254740993,7,0.5],"p":{"b":1}}"#;
    let shown = read_to_show(text, &LIMITS, "p").unwrap();
    let numbers = ["1e+20", "12345678901234567890", "-9007199254740993"];
    assert_eq!(shown["a"], json!([numbers[0], numbers[1], numbers[2], 7, 0.5]));
    let error = read_to_show(br#"{"a":1e20,"p":[{"b":1e20}]}"#, &LIMITS, "p").unwrap_err();
    assert_eq!((error.path.as_str(), error.fault), ("$.p[0].b", JsonFault::InexactNumber));
    assert_eq!(read(text, &LIMITS).unwrap_err().path, "$.a[0]");
}

#[test]
fn refuses_what_is_not_json() {
    for text in [
        "",
        " ",
        "{",
        "[1,",
        "nul",
        "{\"a\" 1}",
        "{'a':1}",
        "[1,]",
        "{\"a\":1,}",
        "{} {}",
        "1 2",
        "[NaN]",
        "[Infinity]",
        "[01]",
        "[+1]",
        "[1e400]",
        "[-1e400]",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"a\nb\"",
        "// c\n1",
        "\u{feff}{}",
        "[1]x",
        "{1:2}",
        "{\"a\":}",
        "\u{0}",
    ] {
        let error = read(text.as_bytes(), &LIMITS).unwrap_err();
        assert!(matches!(error.fault, JsonFault::Syntax { .. }), "{text:?}: {error}");
    }
}

#[test]
fn any_depth_that_can_be_asked_for_is_refused_by_name() {
    let limits = Limits { max_bytes: 1 << 20, max_depth: usize::MAX, max_nodes: usize::MAX };
    for brackets in ["[", "{\"a\":"] {
        let error = read(brackets.repeat(100_000).as_bytes(), &limits).unwrap_err();
        assert_eq!(error.fault, JsonFault::TooDeep { limit: MAX_DEPTH });
        let deepest = "[".repeat(MAX_DEPTH - 1) + "0" + &"]".repeat(MAX_DEPTH - 1);
        assert!(read(deepest.as_bytes(), &limits).is_ok());
    }
}

#[test]
fn an_error_shows_keys_cut_and_escaped() {
    let key = format!("\u{1b}[2J{}", "k".repeat(100));
    let text = format!("{{{0}:1,{0}:2}}", serde_json::to_string(&key).unwrap());
    let shown = read(text.as_bytes(), &Limits::default()).unwrap_err().to_string();
    assert!(shown.contains(r"$.\u{1b}[2Jkkk") && shown.contains("kk…"), "{shown}");
    assert!(!shown.contains(&"k".repeat(65)));
}

#[test]
fn the_digest_is_that_of_the_rfc_8785_form() {
    // RFC 8785, 3.2.3: keys by UTF-16 units, numbers as ECMAScript writes them.
    let text = r#"{"\u20ac": "Euro", "\r": 1e1, "\ufb33": 4.50, "1": 2e-3, "\ud83d\ude00": null}"#;
    let value = read(text.as_bytes(), &Limits::default()).unwrap();
    let expected = "{\"\\r\":10,\"1\":0.002,\"€\":\"Euro\",\"😀\":null,\"\u{fb33}\":4.5}";
    assert_eq!(String::from_utf8(canonical(&value).unwrap()).unwrap(), expected);
    let digest: [u8; 32] = Sha256::digest(expected).into();
    assert_eq!(content_digest(&value), Ok(digest));
    assert!(content_digest(&json!(u64::MAX)).is_err(), "no wrong digest of what cannot be kept");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-((1i64 << 53) - 1)..(1i64 << 53)).prop_map(Value::from),
        (-1e15f64..1e15).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect(),
        ),
        Value::Array(items) => items.iter().map(reversed).collect(),
        plain => plain.clone(),
    }
}

proptest! {
    #[test]
    fn reads_what_serde_json_writes(value in values()) {
        let limits = Limits::default();
        let compact = read(value.to_string().as_bytes(), &limits).unwrap();
        prop_assert_eq!(&compact, &value);
        let pretty = serde_json::to_vec_pretty(&reversed(&value)).unwrap();
        let pretty = read(&pretty, &limits).unwrap();
        prop_assert_eq!(content_digest(&pretty).unwrap(), content_digest(&value).unwrap());
        let canonical = canonical(&value).unwrap();
        prop_assert_eq!(super::canonical(&read(&canonical, &limits).unwrap()).unwrap(), canonical);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, &LIMITS);
    }

    #[test]
    fn no_json_like_text_panics_or_exceeds_its_limits(text in r#"([\[\]{}:,"a1]|"a":|\\u00|1e9|null){0,40}"#) {
        if let Ok(value) = read(text.as_bytes(), &LIMITS) {
            prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
