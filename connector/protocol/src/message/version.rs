//! Version discovery (DSP 2025-1, exposure of dataspace protocol versions): plain JSON, without a context.

use serde_json::Value;

use super::wire::{Members, Node, put, put_list};
use super::{PROTOCOL_VERSION, WireError, WireFault};
use crate::json::{self, Limits};

/// What a connector serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionResponse {
    /// Each version, at least one.
    pub protocol_versions: Vec<ProtocolVersion>,
}

/// One version of the protocol and where it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolVersion {
    /// Its name, such as `2025-1`.
    pub version: String,
    /// The path of its endpoints below the connector's root.
    pub path: String,
    /// The transport, `HTTPS`.
    pub binding: String,
    /// The data service that serves it.
    pub service_id: Option<String>,
    /// What kind of identifier participants have.
    pub identifier_type: Option<String>,
    /// How callers prove who they are.
    pub auth: Option<VersionAuth>,
}

/// How callers prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionAuth {
    /// The protocol's name.
    pub protocol: String,
    /// The protocol's version.
    pub version: String,
    /// Its profiles.
    pub profile: Vec<String>,
}

impl VersionResponse {
    /// Reads a peer's answer.
    ///
    /// # Errors
    /// [`WireError`] names the place and the reason.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, WireError> {
        let document = json::read(bytes, limits)?;
        let node = Node::root(&document, "VersionResponse");
        let versions = node.required("protocolVersions")?;
        let protocol_versions: Vec<_> =
            versions.items().map(|item| ProtocolVersion::read(&item)).collect::<Result<_, _>>()?;
        if protocol_versions.is_empty() {
            return Err(versions.refuse(WireFault::Empty));
        }
        Ok(Self { protocol_versions })
    }

    /// The answer that says: DSP 2025-1 over HTTPS at `path`.
    #[must_use]
    pub fn current(path: &str) -> Self {
        Self {
            protocol_versions: vec![ProtocolVersion {
                version: PROTOCOL_VERSION.to_owned(),
                path: path.to_owned(),
                binding: "HTTPS".to_owned(),
                service_id: None,
                identifier_type: None,
                auth: None,
            }],
        }
    }

    /// The answer as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = Members::new();
        let versions = self.protocol_versions.iter().map(ProtocolVersion::to_json);
        put_list(&mut members, "protocolVersions", versions);
        Value::Object(members)
    }
}

impl ProtocolVersion {
    /// Whether it is DSP 2025-1 over HTTPS.
    #[must_use]
    pub fn is_dsp_2025_1(&self) -> bool {
        self.version == PROTOCOL_VERSION && self.binding.eq_ignore_ascii_case("HTTPS")
    }

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            version: node.required("version")?.scalar()?,
            path: node.required("path")?.text()?.to_owned(),
            binding: node.required("binding")?.text()?.to_owned(),
            service_id: node.optional("serviceId")?.map(|id| id.scalar()).transpose()?,
            identifier_type: node
                .optional("identifierType")?
                .map(|kind| kind.scalar())
                .transpose()?,
            auth: node.optional("auth")?.map(|auth| VersionAuth::read(&auth)).transpose()?,
        })
    }

    fn to_json(&self) -> Value {
        let mut members = Members::new();
        put(&mut members, "version", &self.version);
        put(&mut members, "path", &self.path);
        put(&mut members, "binding", &self.binding);
        if let Some(service_id) = &self.service_id {
            put(&mut members, "serviceId", service_id);
        }
        if let Some(identifier_type) = &self.identifier_type {
            put(&mut members, "identifierType", identifier_type);
        }
        if let Some(auth) = &self.auth {
            members.insert("auth".to_owned(), auth.to_json());
        }
        Value::Object(members)
    }
}

impl VersionAuth {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            protocol: node.required("protocol")?.scalar()?,
            version: node.required("version")?.scalar()?,
            profile: node.list("profile", |profile| profile.scalar())?,
        })
    }

    fn to_json(&self) -> Value {
        let mut members = Members::new();
        put(&mut members, "protocol", &self.protocol);
        put(&mut members, "version", &self.version);
        put_list(
            &mut members,
            "profile",
            self.profile.iter().map(|name| Value::from(name.as_str())),
        );
        Value::Object(members)
    }
}
