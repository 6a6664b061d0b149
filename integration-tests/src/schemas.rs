//! The official JSON Schemas that the compatibility kit's jars carry, and ours for the few messages for which they have none.
//!
//! They are not in this repository: `integration-tests/tck/run` fetches them. The kit's run judges everything that the node
//! sends; the suites do so where [`VARIABLE`] says where the schemas are, as in `.ci/run`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use jsonschema::Validator;
use serde_json::Value;

/// The namespace of the official schemas.
const NAMESPACE: &str = "https://w3id.org/dspace/2025/1/";
/// The folders of the official schemas.
const FOLDERS: [&str; 4] = ["catalog", "common", "negotiation", "transfer"];
/// What is judged by an official schema: `@type`, and the schema's name below the namespace.
const OFFICIAL: [(&str, &str); 14] = [
    ("Catalog", "catalog/catalog-schema.json"),
    ("CatalogRequestMessage", "catalog/catalog-request-message-schema.json"),
    ("ContractAgreementMessage", "negotiation/contract-agreement-message-schema.json"),
    (
        "ContractAgreementVerificationMessage",
        "negotiation/contract-agreement-verification-message-schema.json",
    ),
    ("ContractNegotiation", "negotiation/contract-negotiation-schema.json"),
    ("ContractNegotiationError", "negotiation/contract-negotiation-error-schema.json"),
    (
        "ContractNegotiationEventMessage",
        "negotiation/contract-negotiation-event-message-schema.json",
    ),
    (
        "ContractNegotiationTerminationMessage",
        "negotiation/contract-negotiation-termination-message-schema.json",
    ),
    ("ContractOfferMessage", "negotiation/contract-offer-message-schema.json"),
    ("ContractRequestMessage", "negotiation/contract-request-message-schema.json"),
    ("Dataset", "catalog/dataset-schema.json"),
    ("TransferProcess", "transfer/transfer-process-schema.json"),
    ("TransferRequestMessage", "transfer/transfer-request-message-schema.json"),
    ("TransferStartMessage", "transfer/transfer-start-message-schema.json"),
];
/// Whose schemas are missing from the kit: written down from the specification's tables, by `@type`.
const OURS: &str = include_str!("../tck/missing-schemas.json");
/// The environment variable with the folder of the fetched schemas.
pub const VARIABLE: &str = "SEKISHO_DSP_SCHEMAS";
/// The answer of version discovery is plain JSON without `@type`.
pub(crate) const VERSIONS: &str = "VersionResponse";

/// Judges documents by their type.
#[derive(Debug)]
pub struct Schemas {
    official: BTreeSet<String>,
    validators: BTreeMap<String, Validator>,
}

impl Schemas {
    /// The schemas that [`VARIABLE`] names, read once; `None` where it is not set.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn named() -> Result<Option<&'static Self>> {
        static NAMED: OnceLock<Result<Option<Schemas>, String>> = OnceLock::new();
        let load = || {
            let named = std::env::var_os(VARIABLE);
            named.map(|directory| Self::load(Path::new(&directory))).transpose()
        };
        let named = NAMED.get_or_init(|| load().map_err(|error| format!("{error:#}")));
        named.as_ref().map(Option::as_ref).map_err(|error| anyhow!("{error}"))
    }

    /// Reads the schemas of the kit.
    ///
    /// # Errors
    /// When one is missing or is no schema.
    pub fn load(directory: &Path) -> Result<Self> {
        let mut registry = jsonschema::Registry::new();
        for folder in FOLDERS {
            let folder = directory.join(folder);
            let entries = std::fs::read_dir(&folder)
                .with_context(|| format!("`{}` holds no schemas of the kit", folder.display()))?;
            for entry in entries {
                let schema = mended(&std::fs::read_to_string(entry?.path())?)?;
                let id = schema.get("$id").and_then(Value::as_str).map(str::to_owned);
                registry = registry.add(id.context("a schema without $id")?, schema)?;
            }
        }
        let registry = registry.prepare()?;
        let mut validators = BTreeMap::new();
        let mut add = |kind: &str, schema: &Value| -> Result<()> {
            let validator = jsonschema::options()
                .with_registry(&registry)
                .build(schema)
                .with_context(|| format!("the schema of {kind} cannot be used"))?;
            validators.insert(kind.to_owned(), validator);
            Ok(())
        };
        for (kind, name) in OFFICIAL {
            add(kind, &serde_json::json!({ "$ref": format!("{NAMESPACE}{name}") }))?;
        }
        let ours: BTreeMap<String, Value> = serde_json::from_str(OURS)?;
        for (kind, schema) in &ours {
            ensure!(!OFFICIAL.iter().any(|(known, _)| known == kind), "the kit has {kind} itself");
            add(kind, schema)?;
        }
        let official = OFFICIAL.map(|(kind, _)| kind.to_owned()).into();
        Ok(Self { official, validators })
    }

    /// Whether the kit's own schema judges documents of a type.
    pub fn is_official(&self, kind: &str) -> bool {
        self.official.contains(kind)
    }

    /// The type of a document by which it is judged, and everything that is wrong with it.
    pub fn judge(&self, document: &Value) -> (String, Vec<String>) {
        let kind = match document.get("@type").and_then(Value::as_str) {
            Some(kind) => kind,
            None if document.get("protocolVersions").is_some() => VERSIONS,
            None => "a document without @type",
        };
        (kind.to_owned(), self.faults(kind, document))
    }

    fn faults(&self, kind: &str, document: &Value) -> Vec<String> {
        let Some(validator) = self.validators.get(kind) else {
            return vec![format!("`{kind}` is no type of DSP 2025-1")];
        };
        let errors = validator.iter_errors(document);
        errors.map(|error| format!("{kind}{}: {error}", error.instance_path())).collect()
    }
}

/// A schema without two mistakes that a strict validator does not take: pointers that lack their first slash, and the name
/// of a type where a schema belongs.
fn mended(text: &str) -> Result<Value> {
    let mut schema = serde_json::from_str(&text.replace("#definitions/", "#/definitions/"))?;
    mend_items(&mut schema);
    Ok(schema)
}

fn mend_items(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(name)) = members.get("items") {
                let meant = serde_json::json!({ "type": name });
                members.insert("items".to_owned(), meant);
            }
            members.values_mut().for_each(mend_items);
        }
        Value::Array(items) => items.iter_mut().for_each(mend_items),
        _ => {}
    }
}
