//! The endpoints of DSP 2025-1 (catalog, contract negotiation and transfer process HTTPS bindings): templates for serving
//! and addresses for sending.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::id::{DatasetId, Pid};
use crate::{negotiation, transfer};

/// Version discovery, relative to a connector's root. Everything else is relative to a base.
pub const VERSION: &str = "/.well-known/dspace-version";
/// POST a catalog request.
pub const CATALOG_REQUEST: &str = "/catalog/request";
/// GET a dataset.
pub const DATASET: &str = "/catalog/datasets/{id}";
/// POST the first contract request, to a provider.
pub const NEGOTIATION_REQUEST: &str = "/negotiations/request";
/// POST the first offer, to a consumer.
pub const NEGOTIATION_OFFERS: &str = "/negotiations/offers";
/// GET a negotiation, from either side.
pub const NEGOTIATION: &str = "/negotiations/{pid}";
/// POST a counter-request, to a provider.
pub const NEGOTIATION_COUNTER_REQUEST: &str = "/negotiations/{pid}/request";
/// POST an offer within a negotiation, to a consumer.
pub const NEGOTIATION_COUNTER_OFFER: &str = "/negotiations/{pid}/offers";
/// POST an event: accepted to a provider, finalized to a consumer.
pub const NEGOTIATION_EVENTS: &str = "/negotiations/{pid}/events";
/// POST an agreement, to a consumer.
pub const NEGOTIATION_AGREEMENT: &str = "/negotiations/{pid}/agreement";
/// POST an agreement's verification, to a provider.
pub const NEGOTIATION_VERIFICATION: &str = "/negotiations/{pid}/agreement/verification";
/// POST a termination, to either side.
pub const NEGOTIATION_TERMINATION: &str = "/negotiations/{pid}/termination";
/// POST a transfer request, to a provider.
pub const TRANSFER_REQUEST: &str = "/transfers/request";
/// GET a transfer, from either side. The consumer's is not in the binding's table, but peers call it.
pub const TRANSFER: &str = "/transfers/{pid}";
/// POST a start, to either side.
pub const TRANSFER_START: &str = "/transfers/{pid}/start";
/// POST a suspension, to either side.
pub const TRANSFER_SUSPENSION: &str = "/transfers/{pid}/suspension";
/// POST a completion, to either side.
pub const TRANSFER_COMPLETION: &str = "/transfers/{pid}/completion";
/// POST a termination, to either side.
pub const TRANSFER_TERMINATION: &str = "/transfers/{pid}/termination";

/// One endpoint of a peer, to be addressed under its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// Ask for a catalog.
    CatalogRequest,
    /// Read a dataset.
    Dataset(&'a DatasetId),
    /// Begin a negotiation as consumer.
    NegotiationRequest,
    /// Begin a negotiation as provider.
    NegotiationOffers,
    /// Read a negotiation by the peer's pid.
    Negotiation(&'a Pid),
    /// Send a message of a negotiation that the peer knows by its pid.
    NegotiationMessage(&'a Pid, negotiation::MessageKind),
    /// Ask for a transfer.
    TransferRequest,
    /// Read a transfer by the peer's pid.
    Transfer(&'a Pid),
    /// Send a message of a transfer that the peer knows by its pid.
    TransferMessage(&'a Pid, transfer::MessageKind),
}

impl<'a> Endpoint<'a> {
    /// The path below the base, unescaped, segment by segment.
    fn segments(self) -> Vec<&'a str> {
        match self {
            Self::CatalogRequest => vec!["catalog", "request"],
            Self::Dataset(id) => vec!["catalog", "datasets", id.as_str()],
            Self::NegotiationRequest => vec!["negotiations", "request"],
            Self::NegotiationOffers => vec!["negotiations", "offers"],
            Self::Negotiation(pid) => vec!["negotiations", pid.as_str()],
            Self::NegotiationMessage(pid, kind) => {
                let mut segments = vec!["negotiations", pid.as_str()];
                segments.extend(negotiation_segments(kind));
                segments
            }
            Self::TransferRequest => vec!["transfers", "request"],
            Self::Transfer(pid) => vec!["transfers", pid.as_str()],
            Self::TransferMessage(pid, kind) => {
                vec!["transfers", pid.as_str(), transfer_segment(kind)]
            }
        }
    }
}

fn negotiation_segments(kind: negotiation::MessageKind) -> &'static [&'static str] {
    use negotiation::MessageKind as Kind;
    match kind {
        Kind::Request => &["request"],
        Kind::Offer => &["offers"],
        Kind::Accepted | Kind::Finalized => &["events"],
        Kind::Agreement => &["agreement"],
        Kind::Verification => &["agreement", "verification"],
        Kind::Termination => &["termination"],
    }
}

fn transfer_segment(kind: transfer::MessageKind) -> &'static str {
    use transfer::MessageKind as Kind;
    match kind {
        Kind::Request => "request",
        Kind::Start => "start",
        Kind::Suspension => "suspension",
        Kind::Completion => "completion",
        Kind::Termination => "termination",
    }
}

/// Why a text is not the base address of a peer's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseUrlError {
    /// Not a URL.
    #[error("`{text}` is not an absolute URL: {reason}")]
    NotUrl {
        /// What was given, cut.
        text: String,
        /// Why.
        reason: url::ParseError,
    },
    /// Longer than any base address.
    #[error("the address has {bytes} bytes; at most {MAX_URL_BYTES} are accepted")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Another scheme than `https`.
    #[error("the scheme `{scheme}` is not served; only `https` is")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// A user, password, query or fragment, to which no path can be appended safely.
    #[error("`{text}` has a {part}; a base address has only scheme, host, port and path")]
    Extra {
        /// What was given, cut.
        text: String,
        /// Which part.
        part: &'static str,
    },
}

/// The longest base address, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// How many segments a root's path has at most where it is looked for.
const ROOT_SEGMENTS_MAX: usize = 6;

/// The base address of a peer's endpoints: `https`, host, port and path, as `callbackAddress` carries it.
///
/// Whether it may be dialled is for the partner's file to say. Written back as it was read; a trailing `/` makes no
/// difference to the addresses built from it (DSP 2025-1, HTTPS bindings).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl {
    text: String,
    url: Url,
}

impl BaseUrl {
    /// Checks and takes `text`.
    ///
    /// # Errors
    /// When `text` is not an `https` URL of only scheme, host, port and path.
    pub fn new(text: &str) -> Result<Self, BaseUrlError> {
        if text.len() > MAX_URL_BYTES {
            return Err(BaseUrlError::TooLong { bytes: text.len() });
        }
        let shown = || text.escape_debug().to_string();
        let url =
            Url::parse(text).map_err(|reason| BaseUrlError::NotUrl { text: shown(), reason })?;
        if url.scheme() != "https" {
            return Err(BaseUrlError::Scheme { scheme: url.scheme().to_owned() });
        }
        let extra = |part| Err(BaseUrlError::Extra { text: shown(), part });
        if !url.username().is_empty() || url.password().is_some() {
            // Not shown: it may be a password.
            return Err(BaseUrlError::Extra { text: "https://…@…".to_owned(), part: "user" });
        }
        if url.query().is_some() {
            return extra("query");
        }
        if url.fragment().is_some() {
            return extra("fragment");
        }
        Ok(Self { text: text.to_owned(), url })
    }

    /// The address as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The parsed address, for comparing its origin.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The address of `endpoint` below this base. Identifiers are escaped, so none can leave its segment.
    #[must_use]
    pub fn endpoint(&self, endpoint: Endpoint<'_>) -> Url {
        self.below(endpoint.segments())
    }

    /// The base below this root that a version entry's `path` names (`<base> = <root> + path`).
    ///
    /// # Errors
    /// When the result is not a base address.
    pub fn join(&self, path: &str) -> Result<Self, BaseUrlError> {
        let root = self.text.trim_end_matches('/');
        match path.trim_matches('/') {
            "" => Self::new(root),
            path => Self::new(&format!("{root}/{path}")),
        }
    }

    /// The address of version discovery, when this is a root.
    #[must_use]
    pub fn version(&self) -> Url {
        self.below(vec![".well-known", "dspace-version"])
    }

    /// Whether both are one address, a trailing `/` aside.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let bare = |base: &Self| base.url.as_str().trim_end_matches('/').to_owned();
        bare(self) == bare(other)
    }

    /// Each address that may be the root of this base, from the origin down to the base itself.
    #[must_use]
    pub fn roots(&self) -> Vec<Self> {
        let path: Vec<&str> = self.url.path().split('/').filter(|part| !part.is_empty()).collect();
        let mut roots = Vec::new();
        for count in 0..=path.len().min(ROOT_SEGMENTS_MAX) {
            let mut url = self.url.clone();
            url.set_path(&path.iter().take(count).copied().collect::<Vec<_>>().join("/"));
            roots.push(Self { text: url.to_string(), url });
        }
        roots
    }

    fn below(&self, segments: Vec<&str>) -> Url {
        let mut url = self.url.clone();
        // INVARIANT: an https URL has path segments.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = BaseUrlError;

    fn try_from(text: String) -> Result<Self, BaseUrlError> {
        Self::new(&text)
    }
}

impl From<BaseUrl> for String {
    fn from(base: BaseUrl) -> Self {
        base.text
    }
}

#[cfg(test)]
mod tests;
