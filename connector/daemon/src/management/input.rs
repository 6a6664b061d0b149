//! What requests say: bounded, and nothing in it that is not understood.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use http::{StatusCode, Uri};
use hyper::body::Incoming;
use protocol::json::{self, Limits};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::ApiError;
use crate::net::{BodyError, Pace, discard, read_body};

/// The largest body: a card, and what is declared beside it.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Nothing to say: no body, or an empty object.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The body of a request as JSON; none stands for an empty object.
///
/// # Errors
/// When it is too large, not JSON, or has other members than are known.
pub(super) async fn body<T: DeserializeOwned>(incoming: Incoming) -> Result<T, ApiError> {
    let bytes = whole(incoming).await?;
    read(&bytes).map_err(|reason| {
        ApiError::invalid(format!("the request's body is refused: {reason}"))
            .help("run the command of the same release as the daemon")
    })
}

/// Reads a body with the limits that partners' messages have too: no member twice, nothing nested without end.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    let limits = Limits { max_bytes: MAX_BODY_BYTES, ..Limits::default() };
    let value = json::read(text, &limits).map_err(|error| error.to_string())?;
    // A list of members without their names would be read as well.
    if !value.is_object() {
        return Err("it is not an object".to_owned());
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// What is taken and dropped of a body that is too large, so that its sender hears so.
const DISCARD_BYTES: usize = 8 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(2);

async fn whole(mut incoming: Incoming) -> Result<bytes::Bytes, ApiError> {
    let read = read_body(&mut incoming, MAX_BODY_BYTES, Pace::default()).await;
    if matches!(read, Err(BodyError::TooLarge { .. })) {
        discard(&mut incoming, DISCARD_BYTES, DISCARD_TIME).await;
    }
    read.map_err(|error| {
        let refused = ApiError::invalid(error.to_string());
        match error {
            BodyError::TooLarge { .. } => refused.status(StatusCode::PAYLOAD_TOO_LARGE),
            BodyError::TooSlow { .. } | BodyError::Broken { .. } | BodyError::Encoding { .. } => {
                refused
            }
        }
    })
}

/// The parameters of a request's target.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads the query of a target.
    ///
    /// # Errors
    /// When a parameter is given twice.
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let mut parameters = BTreeMap::new();
        let query = uri.query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if parameters.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(ApiError::invalid(format!("the parameter `{name}` is given twice")));
            }
        }
        Ok(Self(parameters))
    }

    /// Takes a parameter.
    ///
    /// # Errors
    /// When its value is not what it should be.
    pub(super) fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ApiError>
    where
        T::Err: std::fmt::Display,
    {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error| {
            ApiError::invalid(format!("`{value}` is no value of the parameter `{name}`: {error}"))
        })
    }

    /// Takes a parameter that is there or not, whatever its value.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// The names of the parameters that were not taken yet.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
