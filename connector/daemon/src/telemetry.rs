//! Logs, traces and metrics.
//!
//! Log lines are an event's name and fields on standard error. Traces and metrics go to an OTLP collector where one is
//! configured; metrics can always be scraped in Prometheus' text format. Names and labels come from this crate and from
//! our own registry of partners, never from a peer.

use std::io;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Encoder as _, TextEncoder};
use tokio::runtime::Handle;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{CollectorUrl, LogFormat, TelemetrySection};

mod labels;
mod metrics;
mod otlp;

pub use labels::{
    CutReason, DataDirection, DeliveryOutcome, HandshakeOutcome, RequestKind, StatusClass,
};
pub use metrics::Metrics;
use otlp::CollectorClient;

/// The name of the instrumentation scope.
const SCOPE: &str = "sekisho";

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter cannot be read.
    #[error("`telemetry.log_level` is not a filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Metrics cannot be collected.
    #[error("metrics cannot be collected")]
    Metrics(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// The exporter refuses the endpoint.
    #[error("`telemetry.otlp_endpoint` cannot be used")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Metrics cannot be written as text.
    #[error("metrics cannot be written as text")]
    Text(#[from] prometheus::Error),
    /// Logs were set up before.
    #[error("logs were set up already in this process")]
    Installed(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// What a node reports with. Two nodes in one process have one each.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    registry: prometheus::Registry,
    meters: SdkMeterProvider,
    tracer: Option<SdkTracerProvider>,
    filter: String,
    format: LogFormat,
}

impl Telemetry {
    /// Prepares metrics, and traces where a collector is configured. Exports run on `runtime`.
    ///
    /// # Errors
    /// When the exporter or the registry refuses the configuration.
    pub fn new(section: &TelemetrySection, runtime: &Handle) -> Result<Self, TelemetryError> {
        let resource = Resource::builder()
            .with_service_name(section.service_name.clone())
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let registry = prometheus::Registry::new();
        let scraped =
            opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
        let mut meters =
            SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(scraped);
        let mut tracer = None;
        if let Some(endpoint) = &section.otlp_endpoint {
            let collector = Collector { endpoint, timeout: section.otlp_timeout(), runtime };
            let reader = PeriodicReader::builder(collector.metrics()?)
                .with_interval(section.otlp_interval())
                .build();
            meters = meters.with_reader(reader);
            tracer = Some(
                SdkTracerProvider::builder()
                    .with_resource(resource)
                    .with_batch_exporter(collector.spans()?)
                    .build(),
            );
        }
        let meters = meters.build();
        Ok(Self {
            metrics: Metrics::new(&opentelemetry::metrics::MeterProvider::meter(&meters, SCOPE)),
            registry,
            meters,
            tracer,
            filter: section.log_level.clone(),
            format: section.log_format,
        })
    }

    /// Sends log lines of the whole process to standard error, and its spans to the collector.
    ///
    /// # Errors
    /// When the filter is wrong, or logs were set up already.
    pub fn install(&self) -> Result<(), TelemetryError> {
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(true);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match self.format {
            LogFormat::Text => {
                let colours = std::io::IsTerminal::is_terminal(&io::stderr())
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                Box::new(lines.with_ansi(colours))
            }
            LogFormat::Json => Box::new(lines.json().flatten_event(true).with_ansi(false)),
        };
        let lines = lines.with_filter(EnvFilter::try_new(&self.filter)?);
        let spans = match &self.tracer {
            // The exporter's own connections must not make spans of their own.
            Some(provider) => {
                let own =
                    EnvFilter::try_new("info,hyper=off,hyper_util=off,h2=off,opentelemetry=off")?;
                Some(
                    tracing_opentelemetry::layer()
                        .with_tracer(provider.tracer(SCOPE))
                        .with_filter(own),
                )
            }
            None => None,
        };
        tracing::subscriber::set_global_default(Registry::default().with(lines).with(spans))?;
        Ok(())
    }

    /// The instruments. Clones share what they count.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn prometheus_text(&self) -> Result<Vec<u8>, TelemetryError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Sends what is left to the collector and stops, in at most `limit`: a dead collector never holds up a stop.
    /// Returns whether everything was sent.
    pub async fn shutdown(&self, limit: Duration) -> bool {
        // The SDK waits on threads of its own, so it must not hold one of the runtime's.
        let (tracer, meters) = (self.tracer.clone(), self.meters.clone());
        let stop = tokio::task::spawn_blocking(move || {
            let traces = tracer.is_none_or(|tracer| tracer.shutdown_with_timeout(limit).is_ok());
            let metrics = meters.shutdown_with_timeout(limit).is_ok();
            traces && metrics
        });
        matches!(tokio::time::timeout(limit, stop).await, Ok(Ok(true)))
    }
}

/// How exporters reach the collector.
struct Collector<'a> {
    endpoint: &'a CollectorUrl,
    timeout: Duration,
    runtime: &'a Handle,
}

impl Collector<'_> {
    fn client(&self) -> CollectorClient {
        CollectorClient::new(self.runtime.clone(), self.timeout)
    }

    fn metrics(&self) -> Result<MetricExporter, TelemetryError> {
        Ok(MetricExporter::builder()
            .with_http()
            .with_http_client(self.client())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(self.endpoint.signal("metrics"))
            .with_timeout(self.timeout)
            .build()?)
    }

    fn spans(&self) -> Result<SpanExporter, TelemetryError> {
        Ok(SpanExporter::builder()
            .with_http()
            .with_http_client(self.client())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(self.endpoint.signal("traces"))
            .with_timeout(self.timeout)
            .build()?)
    }
}

#[cfg(test)]
mod tests;
