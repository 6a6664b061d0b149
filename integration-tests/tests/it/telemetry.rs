//! Traces and metrics of a daemon, as an OpenTelemetry collector receives them (OTLP over HTTP, protobuf).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use integration_tests::scene::Scene;
use integration_tests::wait::{self, PATIENCE};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::stage::{Pair, note, word};

/// What came: the path and the body.
type Export = (String, Bytes);

/// A collector that keeps what it receives.
struct Collector {
    address: SocketAddr,
    exports: mpsc::Receiver<Export>,
    _runtime: Runtime,
}

impl Collector {
    fn start() -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let (sender, exports) = mpsc::channel();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request| take(request, sender.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(Self { address, exports, _runtime: runtime })
    }
}

async fn take(
    request: Request<Incoming>,
    sender: mpsc::Sender<Export>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
    if let Ok(body) = Limited::new(request.into_body(), 1 << 24).collect().await {
        // An error means that the test is over.
        let _ = sender.send((path, body.to_bytes()));
    }
    Ok(Response::new(Empty::new()))
}

/// What the exports so far say.
#[derive(Default)]
struct Seen {
    spans: Vec<String>,
    metrics: Vec<String>,
    services: Vec<String>,
    bytes: Vec<u8>,
}

impl Seen {
    fn read(&mut self, (path, body): Export) -> Result<()> {
        self.bytes.extend_from_slice(&body);
        match path.as_str() {
            "/v1/traces" => {
                for resource in ExportTraceServiceRequest::decode(body)?.resource_spans {
                    self.service(&resource.resource.context("a resource is missing")?);
                    let scopes = resource.scope_spans.into_iter();
                    self.spans.extend(scopes.flat_map(|scope| scope.spans).map(|span| span.name));
                }
            }
            "/v1/metrics" => {
                for resource in ExportMetricsServiceRequest::decode(body)?.resource_metrics {
                    self.service(&resource.resource.context("a resource is missing")?);
                    let scopes = resource.scope_metrics.into_iter();
                    let metrics = scopes.flat_map(|scope| scope.metrics);
                    self.metrics.extend(metrics.map(|metric| metric.name));
                }
            }
            other => anyhow::bail!("an export to `{other}`"),
        }
        Ok(())
    }

    fn service(&mut self, resource: &opentelemetry_proto::tonic::resource::v1::Resource) {
        let named = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
        self.services.extend(named.map(|attribute| format!("{:?}", attribute.value)));
    }
}

#[test]
fn a_collector_receives_traces_and_metrics_without_secrets() -> Result<()> {
    Scene::play(|scene| {
        let collector = Collector::start()?;
        let endpoint = format!("http://{}", collector.address);
        let mut supplier = scene
            .plan("b")
            .setting("telemetry", "otlp_endpoint", &endpoint)
            .setting("telemetry", "otlp_interval_seconds", "1")
            .setting("telemetry", "service_name", "sekisho-b")
            .make()?;
        supplier.start()?;
        let customer = scene.site("a")?;
        let Pair { supplier, customer } = Pair::of(supplier, customer)?;
        supplier.publish(&note(scene, "one.txt", "one")?, "one", "open")?;
        customer.ask(&["pull", "b", "one", "-o", word(&scene.file("got"))?])?;

        let mut seen = Seen::default();
        wait::until("traces and metrics arrive", PATIENCE, || {
            while let Ok(export) = collector.exports.try_recv() {
                seen.read(export)?;
            }
            Ok((!seen.spans.is_empty() && !seen.metrics.is_empty()).then_some(()))
        })?;
        assert!(seen.services.iter().all(|service| service.contains("sekisho-b")));
        assert!(seen.metrics.iter().any(|name| name.starts_with("sekisho")), "{:?}", seen.metrics);
        let text = String::from_utf8_lossy(&seen.bytes);
        assert!(!text.contains("Bearer"), "an authorization header was exported");
        Ok(())
    })
}
