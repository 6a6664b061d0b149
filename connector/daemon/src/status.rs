//! The status listener: health for probes, metrics for Prometheus. Nothing secret, nothing about partners' data.

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;

use crate::net::{Body, Phase};
use crate::node::Node;
use crate::telemetry::Telemetry;
use crate::wire;

/// Answers a probe.
pub fn answer(node: &Node, telemetry: &Telemetry, request: &Request<Incoming>) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return wire::not_allowed(&[Method::GET, Method::HEAD]);
    }
    match request.uri().path() {
        "/health/live" => json_answer(StatusCode::OK, &json!({ "live": true })),
        "/health/ready" => ready(node),
        "/metrics" => metrics(telemetry),
        _ => wire::bare(StatusCode::NOT_FOUND),
    }
}

/// Ready: requests are taken. The index of cold entities may still be catching up; what is not there yet says so itself.
fn ready(node: &Node) -> Response<Body> {
    let serving = node.shutdown.phase() == Phase::Running;
    let body = json!({
        "ready": serving,
        "index": if node.store.is_ready() { "complete" } else { "rebuilding" },
    });
    json_answer(if serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

fn metrics(telemetry: &Telemetry) -> Response<Body> {
    match telemetry.prometheus_text() {
        Ok(text) => {
            let mut response = wire::json(StatusCode::OK, text);
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            );
            response
        }
        Err(error) => {
            tracing::error!(event = "metrics.failed", error = %error);
            wire::bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    wire::json(status, body.to_string())
}
