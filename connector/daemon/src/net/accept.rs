//! What the sender of a request takes (RFC 9110, section 12.5), as far as answers differ.

use http::{HeaderMap, HeaderName};

/// Whether a name, which is in lower case, is wanted in a field such as `Accept`; nothing where it is not listed.
pub fn wants(headers: &HeaderMap, field: &HeaderName, name: &str) -> Option<bool> {
    let values = headers.get_all(field);
    let listed = values.iter().filter_map(|value| value.to_str().ok());
    let mut found = None;
    for entry in listed.flat_map(|text| text.split(',')) {
        let mut parts = entry.split(';').map(str::trim);
        if !parts.next().is_some_and(|listed| listed.eq_ignore_ascii_case(name)) {
            continue;
        }
        let weight = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>())
        });
        found = Some(weight.unwrap_or(Ok(1.0)).is_ok_and(|weight| weight > 0.0));
    }
    found
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, HeaderValue};

    use super::*;

    #[test]
    fn what_is_listed_with_a_weight_above_nothing_is_wanted() {
        for (field, wanted) in [
            ("application/ld+json", Some(true)),
            ("text/html, Application/LD+json; q=0.5", Some(true)),
            ("application/ld+json;profile=\"x\";Q=1", Some(true)),
            ("application/ld+json;q=0", Some(false)),
            ("application/ld+json;q=much", Some(false)),
            ("application/json", None),
            ("*/*", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(field).unwrap())]);
            assert_eq!(wants(&headers, &ACCEPT, "application/ld+json"), wanted, "{field}");
        }
    }
}
