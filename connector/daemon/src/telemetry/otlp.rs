//! The HTTP client of the OTLP exporters: hyper without TLS, so that no second TLS stack comes in for telemetry.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

/// A collector's answer is an empty message or a short error.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends exports. The SDK calls it from threads of its own, so each request runs on the node's runtime.
#[derive(Debug, Clone)]
pub(super) struct CollectorClient {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    timeout: Duration,
}

impl CollectorClient {
    pub(super) fn new(runtime: Handle, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(timeout));
        Self { client: Client::builder(TokioExecutor::new()).build(connector), runtime, timeout }
    }
}

/// Why an export was not delivered.
#[derive(Debug, thiserror::Error)]
#[error("the collector did not answer within {} ms", .0.as_millis())]
struct TimedOut(Duration);

async fn send(
    client: Client<HttpConnector, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let answer = client.request(request.map(Full::new)).await?;
    let (head, body) = answer.into_parts();
    #[expect(clippy::disallowed_methods, reason = "the body is limited here")]
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

impl HttpClient for CollectorClient {
    fn send_bytes<'this, 'answer>(
        &'this self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'answer>>
    where
        'this: 'answer,
        Self: 'answer,
    {
        let exchange = tokio::time::timeout;
        let (client, timeout) = (self.client.clone(), self.timeout);
        let task = self.runtime.spawn(async move {
            exchange(timeout, send(client, request)).await.map_err(|_| TimedOut(timeout))?
        });
        Box::pin(async move { task.await? })
    }
}
