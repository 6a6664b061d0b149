//! Shapes of documents that others define: the OpenAPI document says what they are, and where they come from.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// An ODRL policy, offer or agreement (ODRL 2.2, as JSON-LD).
pub(crate) enum OdrlPolicy {}

/// A message of the Dataspace Protocol 2025-1, as it was sent or received.
pub(crate) enum DspMessage {}

/// Evidence of what was received, as `FILE.prov` holds it.
pub(crate) enum ProvenanceBundle {}

/// A rule set as it is stored: the policy files, groups and purposes that it was compiled from.
pub(crate) enum StoredRuleSet {}

/// Makes the schema of a JSON object whose members are defined elsewhere.
macro_rules! object {
    ($($shape:ident: $about:literal;)*) => {$(
        impl JsonSchema for $shape {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($shape).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "object", "description": $about })
            }
        }
    )*};
}

object! {
    OdrlPolicy: "An ODRL policy, offer or agreement (ODRL 2.2, as JSON-LD).";
    DspMessage: "A message of the Dataspace Protocol 2025-1, without secrets.";
    ProvenanceBundle: "Evidence of what was received, as `FILE.prov` holds it; `sekisho verify` checks it offline.";
    StoredRuleSet: "A rule set as it is stored: the policy files, groups and purposes that it was compiled from.";
}
