//! Which part of a representation a request asks for, and whether it wants it at all (RFC 9110, sections 13 and 14).

use std::ops::Range;

use headers::{HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince};
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, Method};
use http_range_header::{
    EndPosition, RangeUnsatisfiableError, StartPosition, SyntacticallyCorrectRange,
    parse_range_header,
};

use super::Description;

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// 200 with everything.
    Whole,
    /// 206 with one range, never empty.
    Part(Range<u64>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
    /// 405.
    WrongMethod,
}

/// Evaluates the preconditions in the order of RFC 9110, 13.2.2.
pub(super) fn plan(method: &Method, headers: &HeaderMap, described: &Description) -> Plan {
    if method != Method::GET && method != Method::HEAD {
        return Plan::WrongMethod;
    }
    if headers.contains_key(IF_MATCH) {
        // One that cannot be read matches nothing.
        let passes = headers
            .typed_get::<IfMatch>()
            .is_some_and(|condition| condition.precondition_passes(&described.etag));
        if !passes {
            return Plan::PreconditionFailed;
        }
    } else if let Some(condition) = headers.typed_get::<IfUnmodifiedSince>()
        && !condition.precondition_passes(described.modified)
    {
        return Plan::PreconditionFailed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        let changed = headers
            .typed_get::<IfNoneMatch>()
            .is_none_or(|condition| condition.precondition_passes(&described.etag));
        if !changed {
            return Plan::NotModified;
        }
    } else if let Some(condition) = headers.typed_get::<IfModifiedSince>()
        && !condition.is_modified(described.modified)
    {
        return Plan::NotModified;
    }
    // Range is defined for GET only (14.2).
    if method == Method::GET && is_same(headers, described) {
        part(headers, described.size)
    } else {
        Plan::Whole
    }
}

/// Whether `If-Range`, where there is one, names exactly this representation: by its strong tag or its exact date.
fn is_same(headers: &HeaderMap, described: &Description) -> bool {
    if !headers.contains_key(IF_RANGE) {
        return true;
    }
    headers.typed_get::<IfRange>().is_some_and(|condition| {
        !condition.is_modified(Some(&described.etag), None)
            || condition == IfRange::date(described.modified)
    })
}

/// The range asked for. What is no range of bytes is ignored, and so are several ranges: both as 14.2 allows, and nobody
/// who downloads a file needs them.
fn part(headers: &HeaderMap, size: u64) -> Plan {
    let mut values = headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Plan::Whole };
    let Ok(text) = value.to_str() else { return Plan::Whole };
    match parse_range_header(text) {
        Ok(parsed) => match parsed.ranges.as_slice() {
            [one] => resolve(*one, size),
            _ => Plan::Whole,
        },
        // The last no bytes: right in form, never satisfiable (14.1.2).
        Err(RangeUnsatisfiableError::ZeroSuffix) => Plan::Unsatisfiable,
        Err(_) => Plan::Whole,
    }
}

/// The library refuses a suffix longer than the representation, which RFC 9110 14.1.2 means as the whole; so ranges are
/// resolved here.
fn resolve(range: SyntacticallyCorrectRange, size: u64) -> Plan {
    let (start, end) = match (range.start, range.end) {
        (StartPosition::FromLast(length), _) => (size.saturating_sub(length), size),
        (StartPosition::Index(start), EndPosition::LastByte) => (start, size),
        (StartPosition::Index(start), EndPosition::Index(last)) if start > last => {
            return Plan::Whole;
        }
        (StartPosition::Index(start), EndPosition::Index(last)) => {
            (start, size.min(last.saturating_add(1)))
        }
    };
    if start < end { Plan::Part(start..end) } else { Plan::Unsatisfiable }
}
