//! Gzip as a content encoding (RFC 9110, section 8.4.1.3), bounded on the way in.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};

use super::accept;
use super::body::BodyError;

/// Its name in header fields.
pub const NAME: &str = "gzip";

/// Whether the sender of a request takes gzip (RFC 9110, section 12.5.3). Who does not say so is sent none.
#[must_use]
pub fn is_taken(headers: &HeaderMap) -> bool {
    let wants = |name| accept::wants(headers, &header::ACCEPT_ENCODING, name);
    wants(NAME).or_else(|| wants("x-gzip")).or_else(|| wants("*")).unwrap_or(false)
}

/// Compresses a body.
#[must_use]
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // INVARIANT: writing into memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// Undoes the encoding that an answer declares, so that a few bytes cannot become very many.
///
/// # Errors
/// [`BodyError`]: more than `max_bytes` come out, they are not what is declared, or another encoding is declared.
pub fn decode(headers: &HeaderMap, body: Bytes, max_bytes: usize) -> Result<Bytes, BodyError> {
    let declared = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    match declared.map(|name| name.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(body),
        Some(NAME | "x-gzip") => inflate(&body, max_bytes),
        Some(other) => {
            let encoding = other.chars().take(32).collect::<String>().escape_debug().to_string();
            Err(BodyError::Encoding { encoding, source: None })
        }
    }
}

fn inflate(body: &[u8], max_bytes: usize) -> Result<Bytes, BodyError> {
    let mut whole = Vec::new();
    let most = (max_bytes as u64).saturating_add(1);
    MultiGzDecoder::new(body).take(most).read_to_end(&mut whole).map_err(|source| {
        BodyError::Encoding { encoding: NAME.to_owned(), source: Some(source) }
    })?;
    if whole.len() > max_bytes {
        Err(BodyError::TooLarge { limit: max_bytes })
    } else {
        Ok(whole.into())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn field(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn it_is_sent_to_those_who_take_it() {
        for (value, taken) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("gzip;q=x", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(is_taken(&field(header::ACCEPT_ENCODING, value)), taken, "{value}");
        }
        assert!(!is_taken(&HeaderMap::new()));
    }

    #[test]
    fn what_was_compressed_comes_back_and_a_bomb_does_not() {
        let text = vec![b'x'; 100_000];
        let packed = Bytes::from(compress(&text));
        assert!(packed.len() < 2_000);
        let gzip = field(header::CONTENT_ENCODING, "gzip");
        assert_eq!(decode(&gzip, packed.clone(), 100_000).unwrap(), text);
        assert!(matches!(decode(&gzip, packed.clone(), 99_999), Err(BodyError::TooLarge { .. })));
        let cut = packed.slice(..packed.len() - 9);
        assert!(matches!(decode(&gzip, cut, 100_000), Err(BodyError::Encoding { .. })));
        let other = field(header::CONTENT_ENCODING, "br");
        assert!(matches!(decode(&other, packed.clone(), 100_000), Err(BodyError::Encoding { .. })));
        assert_eq!(decode(&HeaderMap::new(), packed.clone(), 1).unwrap(), packed);
    }
}
