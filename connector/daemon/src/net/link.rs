//! The `Link` field (RFC 8288, section 3), as far as pages need it.

use http::{HeaderMap, header};

/// The target of the first link whose relation is `next`.
pub fn next(headers: &HeaderMap) -> Option<String> {
    let fields = headers.get_all(header::LINK);
    fields.iter().filter_map(|value| value.to_str().ok()).find_map(|text| target(text, "next"))
}

/// The target of the first link of a relation; nothing from where the field is not well formed on.
fn target(mut text: &str, wanted: &str) -> Option<String> {
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        let (target, rest) = text.strip_prefix('<')?.split_once('>')?;
        text = rest;
        let mut relations = None;
        while let Some(rest) = text.trim_start().strip_prefix(';') {
            let (name, value, rest) = parameter(rest)?;
            // The first counts (section 3.3).
            if name.eq_ignore_ascii_case("rel") && relations.is_none() {
                relations = Some(value);
            }
            text = rest;
        }
        let mut relations = relations.iter().flat_map(|relations| relations.split_whitespace());
        if relations.any(|relation| relation.eq_ignore_ascii_case(wanted)) {
            return Some(target.trim().to_owned());
        }
    }
}

/// Name, value and what follows.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let Some(value) = rest.strip_prefix('=') else {
        return Some((name.trim(), String::new(), rest));
    };
    let value = value.trim_start();
    if let Some(quoted) = value.strip_prefix('"') {
        let mut read = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return Some((name.trim(), read, quoted.get(at + 1..)?)),
                '\\' => read.push(characters.next()?.1),
                other => read.push(other),
            }
        }
        return None;
    }
    let end = value.find([';', ',']).unwrap_or(value.len());
    let (value, rest) = value.split_at_checked(end)?;
    Some((name.trim(), value.trim().to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_next_page_is_found_wherever_it_stands() {
        for (field, target) in [
            ("<https://b.example/c?x=1,2;3>; rel=\"next\"", Some("https://b.example/c?x=1,2;3")),
            ("</c?p=2>; rel=next", Some("/c?p=2")),
            (
                "</a>; rel=\"previous\", </b>; title=\"a, \\\"b\\\"; c\"; REL=\"prefetch Next\"",
                Some("/b"),
            ),
            ("</a>;rel=prev,,</b> ; rel = next", Some("/b")),
            ("</a>; rel=prev; rel=next", None),
            ("</a>; anchor; rel=next", Some("/a")),
            ("</a>", None),
            ("</a>; rel=\"next", None),
            ("/a; rel=next", None),
            ("</a", None),
            ("", None),
        ] {
            let headers =
                HeaderMap::from_iter([(header::LINK, HeaderValue::from_str(field).unwrap())]);
            assert_eq!(next(&headers).as_deref(), target, "{field}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_field_makes_it_panic(field in "[ -~]{0,60}|[<>;,=\"\\\\relnxt ]{0,40}") {
            let headers = HeaderMap::from_iter([(header::LINK, HeaderValue::from_str(&field).unwrap())]);
            let _ = next(&headers);
        }
    }
}
