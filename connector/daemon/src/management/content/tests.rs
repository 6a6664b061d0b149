//! Which bytes a range asks for.

use super::*;

fn digests(size: u64) -> Digests {
    Digests { sha256: "5a".repeat(32), blake3: String::new(), size }
}

#[test]
fn a_range_is_resolved_or_ignored() {
    let cases = [
        (None, Asked::Whole),
        (Some("bytes=0-"), Asked::Part(0..10)),
        (Some("bytes=4-"), Asked::Part(4..10)),
        (Some("bytes=4-6"), Asked::Part(4..7)),
        (Some("bytes=4-600"), Asked::Part(4..10)),
        (Some("bytes=-3"), Asked::Part(7..10)),
        (Some("bytes=-300"), Asked::Part(0..10)),
        (Some("bytes=10-"), Asked::Unsatisfiable),
        (Some("bytes=6-4"), Asked::Whole),
        (Some("bytes=0-1,4-5"), Asked::Whole),
        (Some("lines=1-2"), Asked::Whole),
        (Some("bytes=x-"), Asked::Whole),
    ];
    for (text, expected) in cases {
        let mut headers = HeaderMap::new();
        if let Some(text) = text {
            headers.insert(header::RANGE, HeaderValue::from_static(text));
        }
        assert_eq!(range(&headers, &digests(10)), expected, "{text:?}");
    }
}

#[test]
fn nothing_of_an_empty_file_can_be_a_part() {
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-"));
    assert_eq!(range(&headers, &digests(0)), Asked::Unsatisfiable);
}

#[test]
fn a_range_of_other_bytes_is_ignored() {
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, HeaderValue::from_static("bytes=4-"));
    let tag = etag(&digests(10));
    headers.insert(header::IF_RANGE, HeaderValue::try_from(tag.clone()).unwrap());
    assert_eq!(range(&headers, &digests(10)), Asked::Part(4..10));
    for other in ["\"other\"".to_owned(), format!("W/{tag}"), "yesterday".to_owned()] {
        headers.insert(header::IF_RANGE, HeaderValue::try_from(other).unwrap());
        assert_eq!(range(&headers, &digests(10)), Asked::Whole);
    }
}
