//! Where data is pulled from or pushed to, and the secret that opens it.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::WireError;
use super::wire::{Members, Node, put, put_list};

/// The members of a data address that are no secret, or whose secrets are replaced one by one. What else a connector of another
/// make writes there may be one.
const KNOWN_MEMBERS: [&str; 5] = ["@type", "@id", "endpointType", "endpoint", "endpointProperties"];

/// Names of endpoint properties whose values are no secret. Everything else is taken to be one.
const PUBLIC_PROPERTIES: [&str; 3] = ["authType", "endpoint", "endpointType"];

/// A DataAddress (DSP 2025-1, transfer process protocol, data address).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataAddress {
    /// How the endpoint is used, such as `https://w3id.org/idsa/v4.1/HTTP`.
    pub endpoint_type: String,
    /// Its address, as the top-level member gives it; [`DataAddress::endpoint`] also finds it elsewhere.
    pub endpoint: Option<String>,
    /// Further properties, secrets among them.
    pub endpoint_properties: Vec<EndpointProperty>,
}

/// One property of a [`DataAddress`]. The value is not shown in debug output and is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointProperty {
    /// What it is, such as `authorization` or `authType`.
    pub name: String,
    /// Its value.
    pub value: Zeroizing<String>,
}

impl DataAddress {
    /// An address to pull from with a bearer token.
    #[must_use]
    pub fn with_bearer_token(endpoint_type: &str, endpoint: &str, token: &str) -> Self {
        Self {
            endpoint_type: endpoint_type.to_owned(),
            endpoint: Some(endpoint.to_owned()),
            endpoint_properties: vec![
                EndpointProperty::new("authorization", token),
                EndpointProperty::new("authType", "bearer"),
            ],
        }
    }

    /// The address: the top-level member, or the property of that name, where earlier EDC releases put it.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref().or_else(|| self.property("endpoint"))
    }

    /// The secret (`authorization`).
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        self.property("authorization")
    }

    /// How the secret is used (`authType`), such as `bearer`.
    #[must_use]
    pub fn auth_type(&self) -> Option<&str> {
        self.property("authType")
    }

    /// The value of the property `name`, which may be written as an absolute IRI.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        let found = self.endpoint_properties.iter().find(|property| local(&property.name) == name);
        found.map(|property| property.value.as_str())
    }

    /// The member `dataAddress` of a message.
    pub(super) fn read_member(node: &Node<'_>) -> Result<Option<Self>, WireError> {
        node.optional("dataAddress")?.map(|address| Self::read(&address)).transpose()
    }

    /// Writes the member `dataAddress`, when there is an address.
    pub(super) fn write_member(address: Option<&Self>, members: &mut Members) {
        if let Some(address) = address {
            members.insert("dataAddress".to_owned(), address.to_json());
        }
    }

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            endpoint_type: node.required("endpointType")?.id_text()?.to_owned(),
            endpoint: node.optional("endpoint")?.map(|text| text.scalar()).transpose()?,
            endpoint_properties: node.list("endpointProperties", EndpointProperty::read)?,
        })
    }

    fn to_json(&self) -> Value {
        let mut members = Members::new();
        put(&mut members, "@type", "DataAddress");
        put(&mut members, "endpointType", &self.endpoint_type);
        if let Some(endpoint) = &self.endpoint {
            put(&mut members, "endpoint", endpoint);
        }
        let properties = self.endpoint_properties.iter().map(EndpointProperty::to_json);
        put_list(&mut members, "endpointProperties", properties);
        Value::Object(members)
    }
}

impl EndpointProperty {
    /// A property.
    #[must_use]
    pub fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: Zeroizing::new(value.to_owned()) }
    }

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            name: node.required("name")?.id_text()?.to_owned(),
            value: Zeroizing::new(node.required("value")?.scalar()?),
        })
    }

    fn to_json(&self) -> Value {
        let mut members = Members::new();
        put(&mut members, "@type", "EndpointProperty");
        put(&mut members, "name", &self.name);
        put(&mut members, "value", &self.value);
        Value::Object(members)
    }
}

impl fmt::Debug for EndpointProperty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if is_public(&self.name) { self.value.as_str() } else { "<redacted>" };
        formatter
            .debug_struct("EndpointProperty")
            .field("name", &self.name)
            .field("value", &shown)
            .finish()
    }
}

/// Replaces the secrets of a message's data address by `sha256:` and their digest, and wipes them.
pub(super) fn redact(document: &mut Value) {
    let Some(address) = document.get_mut("dataAddress").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, value) in address {
        match (name.as_str(), value) {
            ("endpointProperties", Value::Array(properties)) => {
                properties.iter_mut().for_each(redact_property);
            }
            ("endpointProperties", single) => redact_property(single),
            (name, value) if !KNOWN_MEMBERS.contains(&name) => redact_value(value),
            _ => {}
        }
    }
}

fn redact_property(property: &mut Value) {
    if property.get("name").and_then(Value::as_str).is_some_and(is_public) {
        return;
    }
    if let Some(value) = property.get_mut("value") {
        redact_value(value);
    }
}

fn redact_value(value: &mut Value) {
    let mut secret = match value.take() {
        Value::String(text) => text,
        other => other.to_string(),
    };
    *value = Value::String(format!("sha256:{}", hex::encode(Sha256::digest(&secret))));
    secret.zeroize();
}

fn is_public(name: &str) -> bool {
    PUBLIC_PROPERTIES.contains(&local(name))
}

/// The last part of a name that may be an absolute IRI.
fn local(name: &str) -> &str {
    name.rsplit(['/', '#', ':']).next().unwrap_or(name)
}
