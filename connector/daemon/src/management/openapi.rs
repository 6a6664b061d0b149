//! The OpenAPI 3.1 description of the management API, made from the table of routes.

use engine::keys::Role;
use http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::answer::Refused;
use super::route::Route;

const ABOUT: &str = "\
What the command line and applications ask of a running node. On the Unix socket of the site whoever may open the socket is \
an administrator, and the journal names the user that the kernel reports. On the TCP listener (TLS 1.3) a key says who asks: \
`Authorization: Bearer KEY`, made with `sekisho key create`; it has one role, and an application's key is limited to its \
partners, purposes and datasets. The roles that may call an operation stand in its `security`. Every change is recorded with \
who made it. Members that are not known are refused in requests; in answers new ones may appear.";

/// The whole document.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| "/components/schemas".clone_into(settings.definitions_path.to_mut()))
        .into_generator();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(route.method.as_str().to_lowercase(), operation);
        }
    }
    let error = schemas.subschema_for::<Refused>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sekisho management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {
            "securitySchemes": { "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key of `sekisho key create`. On the Unix socket none is needed.",
            }},
            "responses": { "Error": {
                "description": "It is not done; the status goes with the kind.",
                "content": { "application/json": { "schema": error } },
            }},
            "schemas": schemas.take_definitions(true),
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let tag = route.name.split('.').next().unwrap_or_default();
    let segments = route.segments().map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let mut parameters: Vec<Value> = segments.collect();
    for parameter in &route.parameters {
        parameters.push(json!({
            "name": parameter.name,
            "in": parameter.place,
            "description": parameter.summary,
            "schema": (parameter.shape)(schemas),
        }));
    }
    let roles: Vec<&str> =
        Role::ALL.into_iter().filter(|role| route.allows(*role)).map(Role::name).collect();
    let mut operation = json!({
        "operationId": route.name,
        "tags": [tag],
        "summary": route.summary,
        "security": [{ "key": roles }],
    });
    let Value::Object(members) = &mut operation else { return operation };
    if !parameters.is_empty() {
        members.insert("parameters".to_owned(), Value::Array(parameters));
    }
    if let Some(shape) = route.request {
        let content = json!({ "application/json": { "schema": shape(schemas) } });
        members.insert("requestBody".to_owned(), json!({ "content": content }));
    }
    members.insert("responses".to_owned(), answers(route, schemas));
    operation
}

fn answers(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut described = (route.answer)(schemas);
    let also = std::mem::take(&mut described.also);
    let mut answers = Map::new();
    for one in std::iter::once(described).chain(also) {
        let schema = one.schema.map_or_else(|| json!({}), |schema| json!({ "schema": schema }));
        let content = Map::from_iter([(one.content_type.to_owned(), schema)]);
        let well = json!({ "description": one.summary, "content": content });
        answers.insert(one.status.as_str().to_owned(), well);
    }
    let reference = json!({ "$ref": "#/components/responses/Error" });
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        answers.insert(status.as_str().to_owned(), reference.clone());
    }
    answers.insert("default".to_owned(), reference);
    Value::Object(answers)
}
