//! The instruments of a node.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};

use super::labels::{
    CutReason, DataDirection, DeliveryOutcome, HandshakeOutcome, RequestKind, StatusClass,
};

/// Bounds of the histograms of time, in seconds.
const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What a node counts. Each method is one event; a partner is the short name of its file, from our own registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    handshakes: Counter<u64>,
    requests: Counter<u64>,
    request_seconds: Histogram<f64>,
    deliveries: Counter<u64>,
    dead_letters: Counter<u64>,
    waiting: Gauge<u64>,
    data: Counter<u64>,
    streams: UpDownCounter<i64>,
    cuts: Counter<u64>,
    commits: Histogram<f64>,
    clock_faults: Counter<u64>,
    reloads: Counter<u64>,
    duties: Gauge<u64>,
    certificate: Gauge<i64>,
}

impl Metrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter =
            |name, description| meter.u64_counter(name).with_description(description).build();
        let up_down = |name, description| {
            meter.i64_up_down_counter(name).with_description(description).build()
        };
        let seconds = |name, description| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(SECONDS.to_vec())
                .build()
        };
        Self {
            handshakes: counter("sekisho_handshakes", "TLS handshakes on the partner listener"),
            requests: counter("sekisho_requests", "Requests of partners"),
            request_seconds: seconds(
                "sekisho_request_duration",
                "Time to answer a partner's request, data apart",
            ),
            deliveries: counter("sekisho_deliveries", "Attempts to deliver a message to a partner"),
            dead_letters: counter(
                "sekisho_dead_letters",
                "Messages that were given up: refused for good, or not taken in time",
            ),
            waiting: meter
                .u64_gauge("sekisho_outbox_messages")
                .with_description("Messages that wait for a partner")
                .build(),
            data: meter
                .u64_counter("sekisho_data")
                .with_unit("By")
                .with_description("Bytes of datasets that were served and received")
                .build(),
            streams: up_down("sekisho_data_streams", "Open data streams"),
            cuts: counter("sekisho_data_cuts", "Running data streams that were cut"),
            commits: seconds("sekisho_commit_duration", "Time until a decision was durable"),
            clock_faults: counter(
                "sekisho_clock_faults",
                "Times that the wall clock was not trusted",
            ),
            reloads: counter("sekisho_reloads", "Reloads of partners, policies and certificates"),
            duties: meter
                .u64_gauge("sekisho_duties_overdue")
                .with_description("Duties that were not done in time and are not made good")
                .build(),
            certificate: meter
                .i64_gauge("sekisho_certificate_expiry_timestamp")
                .with_unit("s")
                .with_description("When our certificate ends, in seconds since 1970")
                .build(),
        }
    }

    /// A handshake ended.
    pub fn handshake(&self, outcome: HandshakeOutcome) {
        self.handshakes.add(1, &[outcome.into()]);
    }

    /// A partner's request was answered.
    pub fn request(&self, partner: &str, kind: RequestKind, status: StatusClass, time: Duration) {
        self.requests.add(1, &[named(partner), kind.into(), status.into()]);
        if kind != RequestKind::Data {
            self.request_seconds.record(time.as_secs_f64(), &[kind.into()]);
        }
    }

    /// A message was attempted.
    pub fn delivery(&self, partner: &str, outcome: DeliveryOutcome) {
        self.deliveries.add(1, &[named(partner), outcome.into()]);
    }

    /// A message was given up.
    pub fn dead_letter(&self, partner: &str) {
        self.dead_letters.add(1, &[named(partner)]);
    }

    /// So many messages wait for a partner.
    pub fn waiting(&self, partner: &str, messages: u64) {
        self.waiting.record(messages, &[named(partner)]);
    }

    /// So many duties under agreements with a partner are overdue.
    pub fn duties_overdue(&self, partner: &str, duties: u64) {
        self.duties.record(duties, &[named(partner)]);
    }

    /// Bytes of a dataset moved.
    pub fn data(&self, partner: &str, direction: DataDirection, bytes: u64) {
        self.data.add(bytes, &[named(partner), direction.into()]);
    }

    /// A data stream opened (1) or closed (-1).
    pub fn stream(&self, direction: DataDirection, change: i64) {
        self.streams.add(change, &[direction.into()]);
    }

    /// A running stream was cut.
    pub fn cut(&self, partner: &str, reason: CutReason) {
        self.cuts.add(1, &[named(partner), reason.into()]);
    }

    /// A decision became durable.
    pub fn commit(&self, time: Duration) {
        self.commits.record(time.as_secs_f64(), &[]);
    }

    /// The wall clock is not trusted.
    pub fn clock_fault(&self) {
        self.clock_faults.add(1, &[]);
    }

    /// Files were reloaded; `accepted` says whether what they hold took effect.
    pub fn reload(&self, accepted: bool) {
        self.reloads.add(1, &[KeyValue::new("accepted", accepted)]);
    }

    /// When our certificate for a use (`server`, `client`, `signing`) ends.
    pub fn certificate_expiry(&self, usage: &'static str, until: jiff::Timestamp) {
        self.certificate.record(until.as_second(), &[KeyValue::new("use", usage)]);
    }
}

fn named(partner: &str) -> KeyValue {
    KeyValue::new("partner", partner.to_owned())
}
