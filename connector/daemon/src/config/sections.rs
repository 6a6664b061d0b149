//! The sections of `sekisho.toml`, one struct for each subsystem. The reference file says what each key means and holds
//! its default.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use engine::deadline::ProcessLimits;
use jiff::SignedDuration;
use protocol::id::ParticipantId;
use serde::{Deserialize, Serialize};
use serde_with::{NoneAsEmptyString, serde_as};
use url::Url;

/// `[site]`: who we are and where our files are.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSection {
    /// Our participant id.
    pub participant: ParticipantId,
    /// Our name, for people.
    pub name: String,
    /// ODS operator id, for our card.
    #[serde_as(as = "NoneAsEmptyString")]
    pub operator_id: Option<String>,
    /// ODS open operator id, for our card.
    #[serde_as(as = "NoneAsEmptyString")]
    pub open_operator_id: Option<String>,
    /// ODS global operator id, for our card.
    #[serde_as(as = "NoneAsEmptyString")]
    pub global_operator_id: Option<String>,
    /// The partners' files.
    pub partners_directory: PathBuf,
    /// The policy files.
    pub policies_directory: PathBuf,
    /// Keys and certificates.
    pub pki_directory: PathBuf,
    /// Journal, objects, index, snapshots.
    pub data_directory: PathBuf,
}

/// `[partner_listener]`: the mutual TLS port for protocol and data, and its limits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the reference file documents each limit; the unit is in the name")]
pub struct PartnerListenerSection {
    /// The base URL at which partners reach us.
    pub public_url: PublicUrl,
    pub bind: Vec<SocketAddr>,
    pub max_body_bytes: usize,
    pub max_unread_body_bytes_per_partner: usize,
    pub max_message_bytes_per_partner_per_hour: u64,
    pub max_header_bytes: usize,
    pub max_header_count: usize,
    pub max_json_depth: usize,
    pub max_connections_count: usize,
    pub max_connections_per_partner_count: usize,
    pub max_handshakes_count: usize,
    pub max_handshakes_per_address_count: usize,
    pub handshake_timeout_ms: u64,
    pub header_timeout_ms: u64,
    pub idle_timeout_seconds: u64,
    pub minimum_rate_bytes_per_second: u64,
    pub stall_timeout_ms: u64,
    pub max_unsent_bytes: u32,
    pub max_concurrent_streams_count: u32,
    pub max_concurrent_catalog_requests_per_partner_count: usize,
    pub max_refusals_per_partner_per_second_count: usize,
    pub max_refusals_per_partner_per_hour_count: usize,
    pub max_concurrent_transfers_count: usize,
    pub max_concurrent_transfers_per_partner_count: usize,
    pub drain_seconds: u64,
}

/// `[catalog]`: what partners are shown.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogSection {
    /// Datasets of one page.
    pub max_page_datasets_count: usize,
    /// Tags whose datasets stand in a nested catalog of that tag; the first that a dataset has counts.
    pub nested_by_tags: Vec<String>,
}

/// `[management]`: the socket of the command line, and the listener for applications and remote administrators.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementSection {
    /// The path of the socket, relative to the site's directory.
    pub socket: PathBuf,
    /// Who may connect.
    pub socket_mode: SocketMode,
    /// Addresses of the TLS listener; none, and there is none.
    pub bind: Vec<SocketAddr>,
    /// Open connections, of the socket and of the listener each.
    pub max_connections_count: usize,
    /// Requests of one key, on the average; three times as many at once.
    pub max_requests_per_key_per_second_count: u32,
}

/// `[status_listener]`: health and metrics.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusListenerSection {
    /// Addresses; none turns the listener off.
    pub bind: Vec<SocketAddr>,
    /// Open connections.
    pub max_connections_count: usize,
}

/// `[outbound]`: dialling partners and delivering messages.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the reference file documents each limit; the unit is in the name")]
pub struct OutboundSection {
    pub connect_timeout_ms: u64,
    pub handshake_timeout_ms: u64,
    pub request_timeout_ms: u64,
    pub stall_timeout_ms: u64,
    pub max_response_bytes: usize,
    pub max_header_bytes: usize,
    pub max_header_count: usize,
    pub retry_minimum_ms: u64,
    pub retry_maximum_ms: u64,
    pub delivery_deadline_seconds: u64,
    pub refusal_patience_ms: u64,
    pub max_waiting_messages_per_partner_count: usize,
    pub max_idle_connections_per_partner_count: usize,
    pub idle_connection_seconds: u64,
}

impl OutboundSection {
    /// The waits between attempts: from `retry_minimum_ms`, each about twice the one before, up to `retry_maximum_ms`, and
    /// each moved at random so that many who failed together do not come back together. They do not end.
    pub fn delays(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        // Up to its own length is added to each.
        let longest = self.retry_maximum() / 2;
        ExponentialBuilder::default()
            .with_min_delay(self.retry_minimum().min(longest))
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// `[processes]`: negotiations and transfers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the reference file documents each limit; the unit is in the name")]
pub struct ProcessesSection {
    pub approval_deadline_seconds: u64,
    pub max_open_negotiations_per_partner_count: usize,
    pub max_open_transfers_per_partner_count: usize,
    pub negotiation_deadline_seconds: u64,
    pub transfer_request_deadline_seconds: u64,
    pub transfer_idle_deadline_seconds: u64,
    pub transfer_suspended_deadline_seconds: u64,
}

impl ProcessesSection {
    /// What decisions are told of these.
    pub fn limits(&self) -> ProcessLimits {
        let seconds =
            |seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        ProcessLimits {
            max_negotiations: self.max_open_negotiations_per_partner_count,
            max_transfers: self.max_open_transfers_per_partner_count,
            negotiation: seconds(self.negotiation_deadline_seconds),
            transfer_requested: seconds(self.transfer_request_deadline_seconds),
            transfer_idle: seconds(self.transfer_idle_deadline_seconds),
            transfer_suspended: seconds(self.transfer_suspended_deadline_seconds),
        }
    }
}

/// `[journal]`: the journal, its snapshots and its index.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the reference file documents each limit; the unit is in the name")]
pub struct JournalSection {
    pub segment_bytes: u64,
    pub snapshot_interval_bytes: u64,
    pub index_cache_bytes: u64,
    pub max_waiting_transactions_count: usize,
}

/// `[policy]`: how policy files are read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySection {
    /// The purposes of the site.
    pub purposes_file: PathBuf,
    /// How a change of the files comes into force.
    pub activation: Activation,
    /// Whether a policy with a clause that this release cannot honour is refused.
    pub strict: bool,
}

/// How a change of the policy files comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// At once, when everything is right.
    File,
    /// By `sekisho policy activate`; until then the files are a draft.
    Command,
}

/// `[data]`: what is received and served.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the reference file documents each limit; the unit is in the name")]
pub struct DataSection {
    pub max_incoming_bytes: u64,
    pub max_concurrent_pulls_count: usize,
    pub max_kept_copies_count: usize,
    pub stall_timeout_seconds: u64,
}

/// `[telemetry]`: logs, traces and metrics.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySection {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written, as `tracing` filter directives.
    pub log_level: String,
    /// The base URL of an OTLP collector.
    #[serde_as(as = "NoneAsEmptyString")]
    pub otlp_endpoint: Option<CollectorUrl>,
    /// How long one export may take.
    pub otlp_timeout_ms: u64,
    /// The time between two exports of metrics.
    pub otlp_interval_seconds: u64,
    /// OpenTelemetry `service.name`.
    pub service_name: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// `[clock]`: when the wall clock is not trusted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockSection {
    /// The largest step of the wall clock that is accepted.
    pub max_step_seconds: u64,
    /// The time between two looks at it.
    pub tick_seconds: u64,
}

macro_rules! durations {
    ($($section:ident { $($name:ident: $field:ident as $unit:ident),* $(,)? })*) => {$(
        impl $section {
            $(
                #[doc = concat!("`", stringify!($field), "` as a duration.")]
                pub fn $name(&self) -> Duration {
                    Duration::$unit(self.$field)
                }
            )*
        }
    )*};
}

durations! {
    PartnerListenerSection {
        handshake_timeout: handshake_timeout_ms as from_millis,
        header_timeout: header_timeout_ms as from_millis,
        stall_timeout: stall_timeout_ms as from_millis,
        idle_timeout: idle_timeout_seconds as from_secs,
        drain: drain_seconds as from_secs,
    }
    OutboundSection {
        connect_timeout: connect_timeout_ms as from_millis,
        handshake_timeout: handshake_timeout_ms as from_millis,
        request_timeout: request_timeout_ms as from_millis,
        stall_timeout: stall_timeout_ms as from_millis,
        retry_minimum: retry_minimum_ms as from_millis,
        retry_maximum: retry_maximum_ms as from_millis,
        delivery_deadline: delivery_deadline_seconds as from_secs,
        refusal_patience: refusal_patience_ms as from_millis,
        idle_connection: idle_connection_seconds as from_secs,
    }
    ProcessesSection { approval_deadline: approval_deadline_seconds as from_secs }
    DataSection { stall_timeout: stall_timeout_seconds as from_secs }
    TelemetrySection {
        otlp_timeout: otlp_timeout_ms as from_millis,
        otlp_interval: otlp_interval_seconds as from_secs,
    }
    ClockSection {
        max_step: max_step_seconds as from_secs,
        tick: tick_seconds as from_secs,
    }
}

/// Why a text is not an address of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct AddressError {
    text: String,
    expected: &'static str,
}

/// An https origin: scheme, host and port, no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The origin without a final slash, as `https://host:port`; the port is left out when it is 443.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || AddressError {
            text: text.to_owned(),
            expected: "an origin such as `https://site.example:8443`: https, host and port, no path",
        };
        let url = Url::parse(text).map_err(|_| refuse())?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        if url.scheme() != "https" || !bare || url.host().is_none() {
            return Err(refuse());
        }
        Ok(Self(url.origin().ascii_serialization()))
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The base URL of an OTLP collector, without a final slash. Plain HTTP: the collector runs beside the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorUrl(String);

impl CollectorUrl {
    /// The URL for one signal: `traces` or `metrics` (OTLP 1.x, section OTLP/HTTP).
    pub fn signal(&self, signal: &str) -> String {
        format!("{}/v1/{signal}", self.0)
    }
}

impl FromStr for CollectorUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || AddressError {
            text: text.to_owned(),
            expected: "a plain HTTP address such as `http://127.0.0.1:4318`",
        };
        let url = Url::parse(text).map_err(|_| refuse())?;
        if url.scheme() != "http" || url.host().is_none() || url.query().is_some() {
            return Err(refuse());
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The mode of the management socket. Others than owner and group never get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SocketMode(u32);

impl SocketMode {
    /// The permission bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for SocketMode {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "0600" => Ok(Self(0o600)),
            "0660" => Ok(Self(0o660)),
            _ => Err(AddressError { text, expected: "a mode of the socket: `0600` or `0660`" }),
        }
    }
}
