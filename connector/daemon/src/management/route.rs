//! The routes of the management API as data: who may call each, what it takes and gives, and the function that answers.
//!
//! The router and the OpenAPI document are both made from these entries, and an entry takes the shapes of request and
//! answer from its function, so that the description cannot say anything else than the code. A new route is an entry in
//! the table of its module and that function.

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use engine::keys::Role;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Api;
use super::answer::ApiError;
use super::caller::Caller;
use super::input::{self, Query};
use crate::net::Body;
use crate::node::Node;
use crate::wire;

/// Makes the JSON Schema of a type.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, ApiError>> + Send>>;

/// One entry of the table.
pub(super) struct Route {
    /// Its name in the OpenAPI document: the group, a full stop, what it does.
    pub(super) name: &'static str,
    pub(super) method: Method,
    /// The path, with names of segments in braces.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Who may call it beside administrators.
    pub(super) roles: &'static [Role],
    pub(super) parameters: Vec<Parameter>,
    pub(super) request: Option<Shape>,
    pub(super) answer: fn(&mut SchemaGenerator) -> Described,
    handler: Box<dyn Fn(Call, Incoming) -> Answering + Send + Sync>,
}

/// A parameter of a request's target, or a field of its head.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// `query` or `header`.
    pub(super) place: &'static str,
    pub(super) summary: &'static str,
    pub(super) shape: Shape,
}

/// What an answer looks like that is no error.
pub(super) struct Described {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) summary: &'static str,
    pub(super) schema: Option<Schema>,
    /// Further answers that are no errors.
    pub(super) also: Vec<Described>,
}

impl Route {
    /// A route that reads.
    pub(super) fn get<A, F, W>(
        name: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: F,
    ) -> Self
    where
        A: Answer,
        F: Fn(Call) -> W + Copy + Send + Sync + 'static,
        W: Future<Output = Result<A, ApiError>> + Send + 'static,
    {
        Self::without_body(Method::GET, name, path, summary, handler)
    }

    /// A route that removes.
    pub(super) fn delete<A, F, W>(
        name: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: F,
    ) -> Self
    where
        A: Answer,
        F: Fn(Call) -> W + Copy + Send + Sync + 'static,
        W: Future<Output = Result<A, ApiError>> + Send + 'static,
    {
        Self::without_body(Method::DELETE, name, path, summary, handler)
    }

    /// A route that does something, with a body ([`input::Nothing`] where there is nothing to say).
    pub(super) fn post<B, A, F, W>(
        name: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: F,
    ) -> Self
    where
        B: DeserializeOwned + JsonSchema + Send + 'static,
        A: Answer,
        F: Fn(Call, B) -> W + Copy + Send + Sync + 'static,
        W: Future<Output = Result<A, ApiError>> + Send + 'static,
    {
        Self {
            name,
            method: Method::POST,
            path,
            summary,
            roles: &[],
            parameters: Vec::new(),
            request: Some(|schemas| schemas.subschema_for::<B>()),
            answer: A::describe,
            handler: Box::new(move |call, incoming| {
                Box::pin(async move {
                    let body = input::body(incoming).await?;
                    Ok(handler(call, body).await?.into_response())
                })
            }),
        }
    }

    fn without_body<A, F, W>(
        method: Method,
        name: &'static str,
        path: &'static str,
        summary: &'static str,
        handler: F,
    ) -> Self
    where
        A: Answer,
        F: Fn(Call) -> W + Copy + Send + Sync + 'static,
        W: Future<Output = Result<A, ApiError>> + Send + 'static,
    {
        Self {
            name,
            method,
            path,
            summary,
            roles: &[],
            parameters: Vec::new(),
            request: None,
            answer: A::describe,
            handler: Box::new(move |call, _| {
                Box::pin(async move { Ok(handler(call).await?.into_response()) })
            }),
        }
    }

    /// Lets other roles than the administrator call it. A function that applications may call asks [`Caller::scope`]
    /// for whatever it shows or begins.
    pub(super) fn for_roles(mut self, roles: &'static [Role]) -> Self {
        self.roles = roles;
        self
    }

    /// Takes a parameter in the query of the target. Others are refused.
    pub(super) fn query<T: JsonSchema>(
        mut self,
        name: &'static str,
        summary: &'static str,
    ) -> Self {
        let shape: Shape = |schemas| schemas.subschema_for::<T>();
        self.parameters.push(Parameter { name, place: "query", summary, shape });
        self
    }

    /// Heeds a field of the head; named for the description alone.
    pub(super) fn header(mut self, name: &'static str, summary: &'static str) -> Self {
        let shape: Shape = |schemas| schemas.subschema_for::<String>();
        self.parameters.push(Parameter { name, place: "header", summary, shape });
        self
    }

    /// Whether a role may call it.
    pub(super) fn allows(&self, role: Role) -> bool {
        role == Role::Administrator || self.roles.contains(&role)
    }

    /// The names of the path's segments that vary.
    pub(super) fn segments(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Refuses parameters that the route does not have, then calls the function.
    pub(super) async fn call(
        &self,
        call: Call,
        incoming: Incoming,
    ) -> Result<Response<Body>, ApiError> {
        let known =
            |name: &str| self.parameters.iter().any(|one| one.place == "query" && one.name == name);
        if let Some(unknown) = call.query.names().find(|name| !known(name)) {
            return Err(ApiError::invalid(format!("there is no parameter `{unknown}` here")));
        }
        (self.handler)(call, incoming).await
    }
}

/// One request on its way to the function that answers it.
pub(super) struct Call {
    /// What the functions share.
    pub(super) api: Arc<Api>,
    /// Who asks.
    pub(super) caller: Caller,
    /// The parameters of the target.
    pub(super) query: Query,
    pub(super) head: Parts,
    pub(super) segments: HashMap<String, String>,
}

impl Call {
    /// The node.
    pub(super) fn node(&self) -> &Arc<Node> {
        &self.api.node
    }

    /// A named segment of the path, decoded.
    pub(super) fn segment(&self, name: &str) -> &str {
        self.segments.get(name).map_or("", String::as_str)
    }

    /// The fields of the head.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Who asks, as the journal names them.
    pub(super) fn person(&self) -> String {
        self.caller.person.clone()
    }
}

/// What a function may give back.
pub(super) trait Answer {
    /// For the OpenAPI document.
    fn describe(schemas: &mut SchemaGenerator) -> Described;
    /// As HTTP.
    fn into_response(self) -> Response<Body>;
}

/// A JSON document.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize + JsonSchema> Answer for Json<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Described {
        described(schemas.subschema_for::<T>(), StatusCode::OK, "done")
    }

    fn into_response(self) -> Response<Body> {
        document(StatusCode::OK, &self.0)
    }
}

/// A JSON document of something that was made.
pub(super) struct Created<T>(pub(super) T);

impl<T: Serialize + JsonSchema> Answer for Created<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Described {
        described(schemas.subschema_for::<T>(), StatusCode::CREATED, "made")
    }

    fn into_response(self) -> Response<Body> {
        document(StatusCode::CREATED, &self.0)
    }
}

/// A stream of JSON documents, one on each line, that ends with the work; an error is its last line.
pub(super) struct Lines<T>(Response<Body>, PhantomData<fn() -> T>);

impl<T> Lines<T> {
    pub(super) fn new(response: Response<Body>) -> Self {
        Self(response, PhantomData)
    }
}

impl<T: JsonSchema> Answer for Lines<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Described {
        Described {
            content_type: "application/x-ndjson",
            summary: "one JSON document on each line, as it happens; an error is the last line",
            ..described(schemas.subschema_for::<T>(), StatusCode::OK, "")
        }
    }

    fn into_response(self) -> Response<Body> {
        self.0
    }
}

/// A stream of server-sent events.
pub(super) struct ServerSent<T>(Response<Body>, PhantomData<fn() -> T>);

impl<T> ServerSent<T> {
    pub(super) fn new(response: Response<Body>) -> Self {
        Self(response, PhantomData)
    }
}

impl<T: JsonSchema> Answer for ServerSent<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Described {
        Described {
            content_type: "text/event-stream",
            summary: "events; the schema is that of their data, and an event `error` is the last",
            ..described(schemas.subschema_for::<T>(), StatusCode::OK, "")
        }
    }

    fn into_response(self) -> Response<Body> {
        self.0
    }
}

/// A JSON document that somebody else made, as it is.
pub(super) struct Verbatim<T>(Response<Body>, PhantomData<fn() -> T>);

impl<T> Verbatim<T> {
    pub(super) fn new(response: Response<Body>) -> Self {
        Self(response, PhantomData)
    }
}

impl<T: JsonSchema> Answer for Verbatim<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Described {
        described(schemas.subschema_for::<T>(), StatusCode::OK, "the document")
    }

    fn into_response(self) -> Response<Body> {
        self.0
    }
}

/// Bytes of any media type.
pub(super) struct Bytes(pub(super) Response<Body>);

impl Answer for Bytes {
    fn describe(_: &mut SchemaGenerator) -> Described {
        Described {
            status: StatusCode::OK,
            content_type: "application/octet-stream",
            summary: "all of the bytes",
            schema: None,
            also: vec![Described {
                status: StatusCode::PARTIAL_CONTENT,
                content_type: "application/octet-stream",
                summary: "the range that was asked for",
                schema: None,
                also: Vec::new(),
            }],
        }
    }

    fn into_response(self) -> Response<Body> {
        self.0
    }
}

/// Bytes, or the state of what still has to happen before they are here.
pub(super) struct BytesOr<T>(Response<Body>, PhantomData<fn() -> T>);

impl<T> BytesOr<T> {
    pub(super) fn new(response: Response<Body>) -> Self {
        Self(response, PhantomData)
    }
}

impl<T: JsonSchema> Answer for BytesOr<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Described {
        let mut bytes = Bytes::describe(schemas);
        let text = "it is not here yet, and goes on by itself; `Location` shows how far it is";
        bytes.also.push(described(schemas.subschema_for::<T>(), StatusCode::ACCEPTED, text));
        bytes
    }

    fn into_response(self) -> Response<Body> {
        self.0
    }
}

fn described(schema: Schema, status: StatusCode, summary: &'static str) -> Described {
    let (schema, also) = (Some(schema), Vec::new());
    Described { status, content_type: "application/json", summary, schema, also }
}

fn document<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => wire::json(status, bytes),
        Err(error) => {
            ApiError::new(super::answer::ErrorKind::Internal, error.to_string()).into_response()
        }
    }
}
