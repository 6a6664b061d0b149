//! The file formats as JSON Schemas, for editors. It says what the reader accepts key by key; what the reader checks beyond
//! shapes, such as that a group has members, it does not say.

mod beside;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::vocabulary::{LeftOperand, actions};
use beside::{CasesFile, PurposesFile, RestrictionsFile};

/// A file in TOML that an administrator writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A policy.
    #[default]
    Policy,
    /// `restrictions.toml`.
    Restrictions,
    /// `purposes.toml`.
    Purposes,
    /// `NAME.test.toml`.
    Test,
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "policy" => Ok(Self::Policy),
            "restrictions" => Ok(Self::Restrictions),
            "purposes" => Ok(Self::Purposes),
            "test" => Ok(Self::Test),
            other => Err(format!(
                "no schema of `{other}`; expected policy, restrictions, purposes or test"
            )),
        }
    }
}

/// The JSON Schema (2020-12) of a kind of file.
#[must_use]
pub fn json_schema(kind: Kind) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let (mut schema, title) = match kind {
        Kind::Policy => (generator.into_root_schema_for::<PolicyFile>(), "Sekisho usage policy"),
        Kind::Restrictions => {
            (generator.into_root_schema_for::<RestrictionsFile>(), "Sekisho site restrictions")
        }
        Kind::Purposes => (generator.into_root_schema_for::<PurposesFile>(), "Sekisho purposes"),
        Kind::Test => (generator.into_root_schema_for::<CasesFile>(), "Sekisho policy cases"),
    };
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}

/// A usage policy: who may do what with which data, under which conditions, and what must be done.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct PolicyFile {
    /// What people call it.
    title: String,
    /// What it is for.
    description: Option<String>,
    /// Which offer of a dataset is shown first: the greater number. Policies never override each other.
    #[schemars(range(min = -1000, max = 1000))]
    priority: Option<i32>,
    /// What happens when a permission and a prohibition meet. Where the file prohibits something: `prohibit`.
    conflict: Option<Conflict>,
    who: Who,
    what: Option<What>,
    valid: Option<Valid>,
    /// What is permitted.
    permit: Vec<Permit>,
    /// What is prohibited.
    prohibit: Option<Vec<Prohibit>>,
    /// What must be done once the data were received.
    duty: Option<Vec<Duty>>,
    offer: Option<Offer>,
}

/// What happens when a permission and a prohibition meet.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "the variants are there for the schema")]
enum Conflict {
    /// The prohibition wins.
    Prohibit,
    /// The permission wins.
    Perm,
    /// The whole policy is void.
    Invalid,
}

/// Who may see the offer.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Who {
    /// Participant ids.
    partners: Option<Vec<String>>,
    /// Groups, as the partners' files name them.
    groups: Option<Vec<String>>,
    /// Every registered partner.
    anyone_registered: Option<bool>,
    /// Participant ids that are left out, whatever else names them.
    except_partners: Option<Vec<String>>,
    /// Groups whose members are left out.
    except_groups: Option<Vec<String>>,
}

/// Which datasets it offers. Those that are published under the policy's name are offered as well.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct What {
    /// Ids of datasets.
    datasets: Option<Vec<String>>,
    /// Tags of datasets.
    tags: Option<Vec<String>>,
}

/// When everything that is permitted is permitted.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Valid {
    /// From this instant on, with its zone, like `2027-01-01T00:00:00+09:00`.
    from: Option<String>,
    /// Before this instant.
    until: Option<String>,
}

/// A permission.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Permit {
    actions: Vec<Action>,
    /// Conditions; all must hold.
    when: Option<Vec<Condition>>,
    /// Duties that must be done before.
    requires: Option<Vec<DutyEntry>>,
}

/// A prohibition.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Prohibit {
    actions: Vec<Action>,
    /// Conditions under which it is prohibited; all must hold.
    when: Option<Vec<Condition>>,
    /// What must be done by whoever does it all the same.
    remedy: Option<Vec<DutyEntry>>,
}

/// Something that must be done.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Duty {
    action: Action,
    /// For `nextPolicy`: the `@id` of the ODRL file here that says under which terms the recipient may pass the data on.
    policy: Option<String>,
    /// The period from the agreement in which it must be done, like `P30D`.
    within: Option<String>,
    /// The instant by which it must be done, with its zone.
    by: Option<String>,
    /// Conditions under which it must be done; all must hold.
    when: Option<Vec<Condition>>,
    /// What must be done when it was not done.
    otherwise: Option<Vec<DutyEntry>>,
}

/// A duty: an action, or a section with a deadline.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the variants are there for the schema")]
enum DutyEntry {
    Action(Action),
    Duty(Box<Duty>),
}

/// How requests for the offer are handled.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Offer {
    handling: Option<Handling>,
}

/// Who decides a request that the policy permits.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "the variants are there for the schema")]
enum Handling {
    /// The policy alone.
    Auto,
    /// A person of ours as well.
    Manual,
}

/// A condition: an expression, or a group of conditions.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the variants are there for the schema")]
enum Condition {
    Expression(Expression),
    Group(Group),
}

/// Several conditions under one word; exactly one of the keys.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", extend("minProperties" = 1, "maxProperties" = 1))]
#[expect(dead_code, reason = "the fields are there for the schema")]
struct Group {
    /// At least one holds.
    any_of: Option<Vec<Condition>>,
    /// Exactly one holds.
    one_of: Option<Vec<Condition>>,
    /// All hold.
    all_of: Option<Vec<Condition>>,
    /// All hold, established in this order.
    in_order: Option<Vec<Condition>>,
}

/// An ODRL action.
struct Action;

impl JsonSchema for Action {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "An ODRL action. A pull of data is `use`.", "enum": actions() })
    }
}

/// `OPERAND OPERATOR VALUE`.
struct Expression;

impl JsonSchema for Expression {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Each operand with the operators that it takes; those that take the same stand together.
        let mut takers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for left in LeftOperand::all() {
            let operators = left.operators().terms().join("|");
            takers.entry(operators).or_default().insert(escaped(left.term()));
        }
        let comparisons: Vec<String> = (takers.into_iter())
            .map(|(operators, terms)| {
                let terms: Vec<_> = terms.into_iter().collect();
                format!("({})\\s+(odrl:)?({operators})", terms.join("|"))
            })
            .collect();
        // An operand may be written by its local name or in full.
        json_schema!({
            "description": "A condition, like `count lteq 10` or `purpose isAnyOf [cfp-reporting, audit]`.",
            "type": "string",
            "pattern": format!("^\\s*(\\S+[:/#])?({})\\s+\\S", comparisons.join("|")),
        })
    }
}

/// A term in a regular expression.
fn escaped(term: &str) -> String {
    let mut text = String::new();
    for letter in term.chars() {
        if !letter.is_ascii_alphanumeric() {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests;
