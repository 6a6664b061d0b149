//! The `Retry-After` field (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use jiff::Timestamp;

/// How long the sender of an answer wants to be left alone: so many seconds, or until an instant. Nothing where it does not say
/// so, or says what is neither.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let instant = httpdate::parse_http_date(text).ok()?;
    // One that is past asks for nothing.
    Some(instant.duration_since(SystemTime::from(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_nothing_else() {
        let now = "2026-10-21T07:28:00Z".parse().unwrap();
        for (field, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("18446744073709551615", Some(u64::MAX)),
            ("Wed, 21 Oct 2026 07:28:30 GMT", Some(30)),
            ("Wednesday, 21-Oct-26 07:29:00 GMT", Some(60)),
            ("Wed, 21 Oct 2026 07:27:00 GMT", Some(0)),
            ("Wed, 21 Oct 2026 07:28:30 JST", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let value = HeaderValue::from_str(field).unwrap();
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{field}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
