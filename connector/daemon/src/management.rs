//! The management API: what the command line and applications ask of the running node.
//!
//! `route` says what a route is; each module lists its own, and `table` puts them together. The router and the OpenAPI
//! document come from that table. Whoever may open the Unix socket administers the node; the kernel says who that is, and
//! every change is recorded with the person. Answers are JSON; what takes time is a stream of events, one JSON object on
//! each line. An error is `{"error": {"kind", "message", "reference", "help"}}`, and its kind is one that [`crate::exit`]
//! knows.

mod agreements;
mod answer;
mod approvals;
mod audit;
mod caller;
mod catalog;
mod clock;
mod content;
mod data;
mod datasets;
mod dead_letters;
mod denials;
mod duties;
mod epoch;
mod events;
mod input;
mod keys;
pub mod list;
mod negotiations;
mod openapi;
mod partners;
mod person;
mod policies;
mod pulls;
mod route;
pub(crate) mod shape;
mod status;
mod transfers;
mod verify;
mod versions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use engine::keys::Role;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use serde_json::Value;

use self::answer::{ApiError, ErrorKind};
use self::caller::Caller;
use self::denials::{Denials, Refused};
use self::input::Query;
use self::keys::Rates;
use self::route::{Call, Route};
use crate::net::{Body, LocalPeer, Visitor, empty};
use crate::node::Node;

/// Every route. A new one goes into the table of its module.
fn table() -> Vec<Route> {
    let modules = [
        status::routes(),
        partners::routes(),
        versions::routes(),
        policies::routes(),
        datasets::routes(),
        catalog::routes(),
        pulls::routes(),
        content::routes(),
        negotiations::routes(),
        approvals::routes(),
        agreements::routes(),
        duties::routes(),
        transfers::routes(),
        dead_letters::routes(),
        events::routes(),
        list::routes(),
        data::routes(),
        audit::routes(),
        verify::routes(),
        epoch::routes(),
        keys::routes(),
        clock::routes(),
    ];
    modules.into_iter().flatten().collect()
}

/// The OpenAPI 3.1 description of the management API.
pub fn openapi() -> Value {
    openapi::document(&table())
}

/// What the functions of the routes share.
struct Api {
    node: Arc<Node>,
    started: Instant,
    /// One change of the partners' files at a time: each is planned on what is in force.
    editing: tokio::sync::Mutex<()>,
    /// One verification of the journal at a time.
    verifying: Arc<tokio::sync::Mutex<()>>,
}

/// Answers the management API.
pub struct Management {
    api: Arc<Api>,
    table: Vec<Route>,
    /// For each method its paths, with the places of their routes in the table. One router for each: what is a name in
    /// one method may be a verb in another.
    routers: HashMap<Method, matchit::Router<usize>>,
    rates: Rates,
    denials: Denials,
}

impl Management {
    /// Answers for this node.
    ///
    /// # Errors
    /// When two paths contradict each other, which the table rules out.
    pub fn new(node: Arc<Node>) -> Result<Self, matchit::InsertError> {
        let table = table();
        let api = Arc::new(Api {
            node,
            started: Instant::now(),
            editing: tokio::sync::Mutex::default(),
            verifying: Arc::default(),
        });
        let routers = routers(&table)?;
        Ok(Self { api, table, routers, rates: Rates::default(), denials: Denials::default() })
    }

    /// Answers one request of a process on this host.
    pub async fn answer(&self, request: Request<Incoming>, peer: Arc<LocalPeer>) -> Response<Body> {
        let caller = Caller::local(person::of(peer.uid).await);
        let asked = Asked::of(&request, &caller.person);
        match self.dispatch(request, caller).await {
            Ok(response) => response,
            Err(error) => {
                if error.kind == ErrorKind::Policy {
                    let (who, place) = ("local".to_owned(), "management socket".to_owned());
                    self.denials.record(&self.api.node, Refused { who, place }, &error).await;
                }
                asked.refused(error)
            }
        }
    }

    /// Answers one request that came over TCP, for who shows a key.
    pub async fn answer_remote(
        &self,
        request: Request<Incoming>,
        visitor: Arc<Visitor>,
    ) -> Response<Body> {
        let node = &self.api.node;
        let place = format!("management {}", visitor.remote.ip().to_canonical());
        let (caller, key) = match keys::authenticate(node, request.headers(), visitor.remote).await
        {
            Ok(known) => known,
            Err(error) => {
                let refused = Refused { who: "unknown".to_owned(), place };
                if error.kind == ErrorKind::Unauthorized {
                    self.denials.record(node, refused, &error).await;
                }
                let mut response = Asked::of(&request, "unknown").refused(error);
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
                return response;
            }
        };
        let asked = Asked::of(&request, &caller.person);
        let per_second = node.config.management.max_requests_per_key_per_second_count;
        let outcome = match self.rates.take(&key.name, per_second) {
            Ok(()) => self.dispatch(request, caller).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(response) => keys::guard(node, &key, response),
            Err(error) => {
                if matches!(
                    error.kind,
                    ErrorKind::Forbidden | ErrorKind::TooMany | ErrorKind::Policy
                ) {
                    let refused = Refused { who: format!("key {}", key.name), place };
                    self.denials.record(node, refused, &error).await;
                }
                asked.refused(error)
            }
        }
    }

    async fn dispatch(
        &self,
        mut request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, ApiError> {
        // Whatever can be read can be asked about (RFC 9110, section 9.3.2).
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
            return self.answer_call(request, caller).await.map(without_body);
        }
        self.answer_call(request, caller).await
    }

    async fn answer_call(
        &self,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, ApiError> {
        let path = request.uri().path().to_owned();
        let Some((route, segments)) = self.find(request.method(), &path) else {
            return self.not_routed(&path);
        };
        if !route.allows(caller.role) {
            return Err(forbidden(route, &caller));
        }
        let query = Query::of(request.uri())?;
        let (head, incoming) = request.into_parts();
        let call = Call { api: Arc::clone(&self.api), caller, query, head, segments };
        route.call(call, incoming).await
    }

    /// The route of a request, and the decoded names in its path.
    fn find(&self, method: &Method, path: &str) -> Option<(&Route, HashMap<String, String>)> {
        let matched = self.routers.get(method)?.at(path).ok()?;
        let decoded = |(name, value): (&str, &str)| Some((name.to_owned(), decode(value)?));
        let segments = matched.params.iter().map(decoded).collect::<Option<HashMap<_, _>>>()?;
        Some((self.table.get(*matched.value)?, segments))
    }

    /// Whether it is the path that is wrong, or the method.
    fn not_routed(&self, path: &str) -> Result<Response<Body>, ApiError> {
        let mut methods: Vec<&str> = self
            .routers
            .iter()
            .filter(|(_, router)| router.at(path).is_ok())
            .map(|(method, _)| method.as_str())
            .collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        if methods.is_empty() {
            return Err(ApiError::not_found(format!("the management API has no `{path}`"))
                .help("`sekisho openapi` describes what there is"));
        }
        let allowed = methods.join(", ");
        let mut response = ApiError::method_not_allowed(&allowed).into_response();
        if let Ok(allowed) = HeaderValue::try_from(allowed) {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        Ok(response)
    }
}

/// The answer to HEAD: that to GET with all its fields, and without the body.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(head, empty())
}

/// What a request asked for, for the log.
struct Asked {
    method: Method,
    path: String,
    person: String,
}

impl Asked {
    fn of(request: &Request<Incoming>, person: &str) -> Self {
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            person: person.to_owned(),
        }
    }

    fn refused(self, error: ApiError) -> Response<Body> {
        tracing::info!(
            event = "management.refused",
            method = %self.method,
            path = self.path,
            person = self.person,
            kind = error.kind.name(),
            reason = %error,
        );
        error.into_response()
    }
}

fn forbidden(route: &Route, caller: &Caller) -> ApiError {
    let roles: Vec<&str> =
        Role::ALL.into_iter().filter(|role| route.allows(*role)).map(Role::name).collect();
    ApiError::new(
        ErrorKind::Forbidden,
        format!("`{}` may not be called with the role {}", route.name, caller.role.name()),
    )
    .help(format!("it takes a key with the role {}", roles.join(" or ")))
}

fn routers(
    table: &[Route],
) -> Result<HashMap<Method, matchit::Router<usize>>, matchit::InsertError> {
    let mut routers: HashMap<Method, matchit::Router<usize>> = HashMap::new();
    for (place, route) in table.iter().enumerate() {
        routers.entry(route.method.clone()).or_default().insert(route.path, place)?;
    }
    Ok(routers)
}

/// A path segment's text; `None` where it is not UTF-8.
fn decode(segment: &str) -> Option<String> {
    percent_encoding::percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

impl std::fmt::Debug for Management {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Management");
        shown.field("started", &self.api.started).field("routes", &self.table.len());
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
