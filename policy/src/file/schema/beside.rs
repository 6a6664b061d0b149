//! The files beside policies: restrictions, purposes, and cases.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{Action, Condition};

/// What the site prohibits whatever its policies and agreements permit.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
pub(super) struct RestrictionsFile {
    /// What people call it.
    title: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// What is prohibited; `prohibit = []` lifts all.
    prohibit: Vec<Restriction>,
}

/// One prohibition of the site.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Restriction {
    actions: Vec<Action>,
    /// Conditions under which it is prohibited; all must hold.
    when: Option<Vec<Condition>>,
    /// Why, for our people: whoever is stopped by it asks.
    reason: String,
    /// Participant ids that it binds; with no groups either, everybody.
    partners: Option<Vec<String>>,
    /// Groups that it binds.
    groups: Option<Vec<String>>,
    /// Participant ids that it does not bind.
    except_partners: Option<Vec<String>>,
    /// Groups whose members it does not bind.
    except_groups: Option<Vec<String>>,
    /// Ids of the datasets it is about; with no tags either, all.
    datasets: Option<Vec<String>>,
    /// Tags of the datasets it is about.
    tags: Option<Vec<String>>,
}

/// The purposes that policies may name, a section each.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the field is there for the schema")]
pub(super) struct PurposesFile(BTreeMap<String, Purpose>);

/// A purpose.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Purpose {
    /// What people call it.
    title: Option<String>,
    /// The wider purposes it is part of: who may use data for a wider one may use it for this one.
    part_of: Option<Vec<String>>,
}

/// What is expected of the policies, checked by `sekisho policy test`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
pub(super) struct CasesFile {
    /// Partners for these cases; they take precedence over the site's.
    partner: Option<Vec<Partner>>,
    /// Datasets for these cases; they take precedence over the site's.
    dataset: Option<Vec<Dataset>>,
    case: Option<Vec<Case>>,
}

/// A partner of the cases.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", rename = "CasePartner")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Partner {
    /// Its short name.
    name: String,
    /// Its participant id; else made from the name.
    id: Option<String>,
    /// Its groups.
    groups: Option<Vec<String>>,
    /// Where it is (ISO 3166).
    region: Option<String>,
}

/// A dataset of the cases.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", rename = "CaseDataset")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Dataset {
    /// Its id.
    id: String,
    /// Its tags.
    tags: Option<Vec<String>>,
    /// The policies under which it is published.
    policies: Option<Vec<String>>,
    /// IANA media type.
    media_type: Option<String>,
    /// Bytes.
    size: Option<u64>,
    /// Its version.
    version: Option<String>,
    /// BCP 47.
    language: Option<String>,
}

/// One question and the answer that is expected.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Case {
    /// What it shows.
    name: String,
    /// The partner: short name or participant id.
    partner: String,
    /// The dataset.
    dataset: String,
    /// An ODRL action; else `use`.
    action: Option<String>,
    /// The declared purpose; else all that the offer names.
    purpose: Option<String>,
    /// When, with its zone, like `2027-01-01T00:00:00+09:00`.
    at: String,
    /// Uses made before.
    uses: Option<u64>,
    /// When the last of them was.
    previous_use: Option<String>,
    /// When the agreement was made; else at the instant asked about.
    agreed: Option<String>,
    /// Duties that were done before, by their actions.
    done: Option<Vec<String>>,
    /// A name of the certificate of the node that fetches.
    node: Option<String>,
    expect: Expected,
    /// The policy that must decide.
    policy: Option<String>,
    /// A part of the clause that must decide.
    clause: Option<String>,
}

/// What must come out.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "the variants are there for the schema")]
enum Expected {
    Permit,
    Deny,
}
