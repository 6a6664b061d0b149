//! Metrics as text, exports to a collector, and a stop that a dead collector cannot hold up.

use std::path::Path;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::Config;

fn section(endpoint: &str) -> TelemetrySection {
    let text = "[site]\nparticipant = \"did:web:a\"\nname = \"A\"\n[partner_listener]\npublic_url = \"https://a\"\n";
    let variable = ("SEKISHO__TELEMETRY__OTLP_ENDPOINT".to_owned(), endpoint.to_owned());
    Config::parse(Path::new("sekisho.toml"), text, [variable]).unwrap().telemetry
}

#[tokio::test]
async fn metrics_are_scraped_with_labels_of_ours() {
    let telemetry = Telemetry::new(&section(""), &Handle::current()).unwrap();
    let metrics = telemetry.metrics();
    metrics.handshake(HandshakeOutcome::Refused);
    metrics.request(
        "b-sha",
        RequestKind::Catalog,
        http::StatusCode::OK.into(),
        Duration::from_millis(3),
    );
    metrics.data("b-sha", DataDirection::Served, 4096);
    metrics.commit(Duration::from_micros(700));
    let text = String::from_utf8(telemetry.prometheus_text().unwrap()).unwrap();
    for line in [
        "sekisho_handshakes_total{outcome=\"refused\"",
        "sekisho_requests_total{kind=\"catalog\"",
        "partner=\"b-sha\"",
        "sekisho_data_bytes_total{direction=\"served\"",
        "sekisho_commit_duration_seconds_bucket{",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(telemetry.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_reach_a_collector_at_the_latest_when_stopping() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let collector = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&head).lines().next().unwrap().to_owned()
    });
    let telemetry =
        Telemetry::new(&section(&format!("http://{address}")), &Handle::current()).unwrap();
    telemetry.metrics().clock_fault();
    telemetry.shutdown(Duration::from_secs(10)).await;
    assert_eq!(collector.await.unwrap(), "POST /v1/metrics HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_collector_cannot_hold_up_a_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let telemetry =
        Telemetry::new(&section(&format!("http://{address}")), &Handle::current()).unwrap();
    telemetry.metrics().clock_fault();
    let began = Instant::now();
    telemetry.shutdown(Duration::from_millis(300)).await;
    assert!(began.elapsed() < Duration::from_secs(8));
}
