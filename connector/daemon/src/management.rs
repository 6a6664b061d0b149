//! The management API: what the command line asks of the running node, on the site's Unix socket.
//!
//! Whoever may open the socket administers the node; the kernel says who that is, and every change is recorded with the
//! person. Answers are JSON; what takes time is a stream of events, one JSON object on each line. An error is
//! `{"error": {"kind", "message", "reference", "help"}}`, and its kind is one that [`crate::exit`] knows.

mod answer;
mod audit;
mod catalog;
mod content;
mod datasets;
mod input;
mod partners;
mod person;
mod processes;
mod pulls;
mod status;
mod verify;

use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use self::answer::ApiError;
use crate::net::{Body, LocalPeer};
use crate::node::Node;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Status,
    Partners,
    PartnerPreview,
    Partner,
    PartnerSuspend,
    PartnerResume,
    Datasets,
    DatasetPreview,
    Dataset,
    DatasetWithdraw,
    Catalog,
    Pulls,
    PullContent,
    PullProvenance,
    PullDelivered,
    Agreements,
    Transfers,
    AuditRecords,
    AuditTail,
    AuditVerify,
    ClockAccept,
}

const ROUTES: [(&str, Route); 21] = [
    ("/v1/status", Route::Status),
    ("/v1/partners", Route::Partners),
    ("/v1/partners/preview", Route::PartnerPreview),
    ("/v1/partners/{name}", Route::Partner),
    ("/v1/partners/{name}/suspend", Route::PartnerSuspend),
    ("/v1/partners/{name}/resume", Route::PartnerResume),
    ("/v1/datasets", Route::Datasets),
    ("/v1/datasets/preview", Route::DatasetPreview),
    ("/v1/datasets/{id}", Route::Dataset),
    ("/v1/datasets/{id}/withdraw", Route::DatasetWithdraw),
    ("/v1/catalog", Route::Catalog),
    ("/v1/pulls", Route::Pulls),
    ("/v1/pulls/{id}/content", Route::PullContent),
    ("/v1/pulls/{id}/provenance", Route::PullProvenance),
    ("/v1/pulls/{id}/delivered", Route::PullDelivered),
    ("/v1/agreements", Route::Agreements),
    ("/v1/transfers", Route::Transfers),
    ("/v1/audit/records", Route::AuditRecords),
    ("/v1/audit/tail", Route::AuditTail),
    ("/v1/audit/verify", Route::AuditVerify),
    ("/v1/clock/accept", Route::ClockAccept),
];

/// An answer, or why there is none.
type Outcome = Result<Response<Body>, ApiError>;

/// Answers the command line.
pub struct Management {
    node: Arc<Node>,
    routes: matchit::Router<Route>,
    started: Instant,
    /// One change of the partners' files at a time: each is planned on what is in force.
    editing: tokio::sync::Mutex<()>,
    /// One verification of the journal at a time.
    verifying: Arc<tokio::sync::Mutex<()>>,
}

impl Management {
    /// Answers for this node.
    ///
    /// # Errors
    /// When two paths contradict each other, which the table above rules out.
    pub fn new(node: Arc<Node>) -> Result<Self, matchit::InsertError> {
        Ok(Self {
            node,
            routes: router()?,
            started: Instant::now(),
            editing: tokio::sync::Mutex::default(),
            verifying: Arc::default(),
        })
    }

    /// Answers one request of a process on this host.
    pub async fn answer(&self, request: Request<Incoming>, peer: Arc<LocalPeer>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match self.dispatch(request, &peer).await {
            Ok(response) => response,
            Err(error) => {
                tracing::info!(
                    event = "management.refused",
                    method = %method,
                    path,
                    uid = peer.uid,
                    kind = error.kind.name(),
                    reason = %error,
                );
                error.into_response()
            }
        }
    }

    async fn dispatch(&self, request: Request<Incoming>, peer: &LocalPeer) -> Outcome {
        let path = request.uri().path().to_owned();
        let unknown = || ApiError::not_found(format!("the management API has no `{path}`"));
        let matched = self.routes.at(&path).map_err(|_| unknown())?;
        let segment = match matched.params.iter().next() {
            Some((_, value)) => decode(value).ok_or_else(unknown)?,
            None => String::new(),
        };
        let route = *matched.value;
        match *request.method() {
            Method::GET => self.read(route, &segment, &request).await,
            Method::POST => {
                let person = person::of(peer.uid).await;
                self.change(route, &segment, request, person).await
            }
            Method::DELETE if route == Route::Partner => {
                let person = person::of(peer.uid).await;
                partners::remove(&self.node, &self.editing, &segment, person).await
            }
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    async fn read(&self, route: Route, segment: &str, request: &Request<Incoming>) -> Outcome {
        let node = &self.node;
        let query = input::Query::of(request.uri())?;
        match route {
            Route::Status => status::report(node, self.started.elapsed()).await,
            Route::Partners => partners::list(node).await,
            // A thing may well be called `preview`.
            Route::PartnerPreview => partners::show(node, "preview").await,
            Route::Partner => partners::show(node, segment).await,
            Route::Datasets => datasets::list(node, query).await,
            Route::DatasetPreview => datasets::show(node, "preview").await,
            Route::Dataset => datasets::show(node, segment).await,
            Route::PullContent => content::bytes(node, segment, request.headers()).await,
            Route::PullProvenance => content::provenance(node, segment).await,
            Route::Agreements => processes::agreements(node, query).await,
            Route::Transfers => processes::transfers(node, query).await,
            Route::AuditRecords => audit::records(node, query).await,
            Route::AuditTail => audit::tail(node, query),
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    async fn change(
        &self,
        route: Route,
        segment: &str,
        request: Request<Incoming>,
        person: String,
    ) -> Outcome {
        let (node, editing) = (&self.node, &self.editing);
        match route {
            Route::PartnerPreview => partners::preview(node, request).await,
            Route::Partners => partners::add(node, editing, request, person).await,
            Route::PartnerSuspend => {
                partners::suspend(node, editing, segment, request, person).await
            }
            Route::PartnerResume => partners::resume(node, editing, segment, request, person).await,
            Route::DatasetPreview => datasets::preview(node, request).await,
            Route::Datasets => datasets::publish(node, request, person).await,
            Route::DatasetWithdraw => datasets::withdraw(node, segment, request, person).await,
            Route::Catalog => catalog::ask(node, request).await,
            Route::Pulls => pulls::pull(node, request, person).await,
            Route::PullDelivered => content::delivered(node, segment, request).await,
            Route::AuditVerify => verify::verify(node, &self.verifying, request).await,
            Route::ClockAccept => accept_clock(node, request, person).await,
            _ => Err(ApiError::method_not_allowed()),
        }
    }
}

fn router() -> Result<matchit::Router<Route>, matchit::InsertError> {
    let mut routes = matchit::Router::new();
    for (path, route) in ROUTES {
        routes.insert(path, route)?;
    }
    Ok(routes)
}

/// A path segment's text; `None` where it is not UTF-8.
fn decode(segment: &str) -> Option<String> {
    percent_encoding::percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    reason: String,
}

/// An operator looked at the clock and accepts it: permits are given again.
async fn accept_clock(node: &Arc<Node>, request: Request<Incoming>, person: String) -> Outcome {
    let acceptance: Acceptance = input::body(request).await?;
    let accepted = node
        .commit(move |view| engine::site::accept_clock(view, &acceptance.reason, Some(&person)))
        .await?;
    Ok(answer::json(&serde_json::json!({ "accepted": accepted })))
}

impl std::fmt::Debug for Management {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Management").field("started", &self.started).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
