//! The ODRL 2.2 information model, as far as this connector understands it.
//!
//! Reading is tolerant where nothing is lost and strict where meaning is at stake: properties of a
//! partner's policy that are of other vocabularies are ignored, but a rule, constraint, operator, operand or action that
//! is not understood, and a member that may be one, stays in the model as [`NotUnderstood`], so that evaluation denies
//! and names it.

mod decimal;
mod inherit;
mod members;
mod operand;
mod read;
#[cfg(test)]
mod tests;
mod write;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub use decimal::{Decimal, NotDecimal};
pub use inherit::InheritError;
pub(crate) use members::meant;
pub(crate) use operand::canonical_region;
#[cfg(test)]
pub(crate) use tests::nearly_policy;

pub use crate::vocabulary::{LeftOperand, Operator};
use jiff::{SpanFieldwise, Timestamp};

/// The action by which whoever grants says what the next policy is.
const NEXT_POLICY: &str = "nextPolicy";

/// Our property of a duty `nextPolicy`, beside its `target`: the SHA-256, in hexadecimal, of the terms of the policy that it names.
/// An identifier alone would let whoever is bound say what the policy is.
pub const TARGET_SHA256: &str = "urn:sekisho:v1:targetSha256";

/// How many levels of nesting a policy may have, counted in JSON values.
pub const MAX_DEPTH: usize = 32;
/// How many JSON values a policy may consist of.
pub const MAX_NODES: usize = 20_000;
/// How many entries any one list of a policy may have.
pub const MAX_LIST: usize = 2_000;

/// A set of rules under one identifier (ODRL IM 2.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Identifier (`uid`, `@id`); empty for a template that has none yet.
    pub uid: String,
    /// What the policy is: only a [`Kind::Set`] or [`Kind::Agreement`] grants anything (formal semantics, 3).
    pub kind: Kind,
    /// Profile identifiers as given. Any that is not known stops processing (IM, profile conformance).
    pub profiles: Vec<String>,
    /// What happens when a permission and a prohibition meet (IM 2.10).
    pub conflict: Conflict,
    /// Who grants.
    pub assigner: Option<Party>,
    /// Who receives.
    pub assignee: Option<Party>,
    /// The dataset, or a collection of datasets.
    pub target: Option<Asset>,
    /// Identifiers of the policies that this one inherits from (IM 2.8). While any is left the policy denies:
    /// [`Policy::inherited`] resolves them.
    pub inherits: Vec<String>,
    /// What may be done.
    pub permissions: Vec<Rule>,
    /// What may not be done.
    pub prohibitions: Vec<Rule>,
    /// What must be done.
    pub obligations: Vec<Duty>,
    /// Parts of the policy itself that are not understood. Any makes the whole policy deny.
    pub not_understood: Vec<NotUnderstood>,
}

/// The class of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rules for everybody; also what a bare `Policy` means.
    Set,
    /// A proposal; never grants by itself.
    Offer,
    /// What two parties have agreed.
    Agreement,
}

/// Conflict strategy (IM 2.10). The default is [`Conflict::Invalid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// The permission wins.
    Perm,
    /// The prohibition wins.
    Prohibit,
    /// Any conflict voids the whole policy.
    #[default]
    Invalid,
}

/// A party: one participant, a group, or the members of a collection that satisfy all refinements (IM 2.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Party {
    /// Identifier of a participant, node, application, person or group.
    pub id: String,
    /// What a member must satisfy besides (`refinement` with `source`).
    pub refinements: Vec<Constraint>,
}

/// A dataset, or those of a collection that satisfy all refinements (IM 2.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Asset {
    /// Identifier of a dataset, or of a collection: one of our tags.
    pub id: String,
    /// What a member must satisfy besides (`refinement` with `source`).
    pub refinements: Vec<Constraint>,
}

/// A permission or a prohibition (IM 2.6).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// Identifier, when the rule has one.
    pub uid: Option<String>,
    /// The actions; several are a shorthand for several rules (IM 2.7.1).
    pub actions: Vec<Action>,
    /// The rule's own target, when it differs from the policy's.
    pub target: Option<Asset>,
    /// The rule's own assigner.
    pub assigner: Option<Party>,
    /// The rule's own assignee.
    pub assignee: Option<Party>,
    /// Conditions; all must hold.
    pub constraints: Vec<Constraint>,
    /// For a permission: duties that must be fulfilled before (`duty`). For a prohibition: what an
    /// infringement costs (`remedy`).
    pub duties: Vec<Duty>,
    /// Members of the rule that are not understood.
    pub not_understood: Vec<NotUnderstood>,
}

/// Something that must be done (IM 2.6.4).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Duty {
    /// Identifier, when the duty has one.
    pub uid: Option<String>,
    /// What must be done.
    pub actions: Vec<Action>,
    /// What it must be done to, when not the policy's target. For `nextPolicy`, the policy.
    pub target: Option<Asset>,
    /// For `nextPolicy`: what the policy it names says, as the SHA-256 of its terms ([`TARGET_SHA256`]).
    pub target_sha256: Option<[u8; 32]>,
    /// Whom it is owed to, when not the policy's assigner.
    pub assigner: Option<Party>,
    /// Who must do it, when not the policy's assignee.
    pub assignee: Option<Party>,
    /// Conditions, deadlines among them.
    pub constraints: Vec<Constraint>,
    /// What must be done when this duty was not fulfilled.
    pub consequences: Vec<Duty>,
    /// Members of the duty that are not understood.
    pub not_understood: Vec<NotUnderstood>,
}

/// An action with its refinements (IM 2.4).
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Short name in the ODRL vocabulary, or the identifier as given when it is of another vocabulary.
    pub name: String,
    /// Conditions on how the action is done; all must hold.
    pub refinements: Vec<Constraint>,
}

/// A condition (IM 2.5).
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// One comparison.
    Atomic(Atomic),
    /// Several conditions under one connective.
    Logical(Logical),
    /// A condition that this connector does not understand. It never holds.
    NotUnderstood(NotUnderstood),
}

/// One comparison: what is compared, how, with what.
#[derive(Debug, Clone, PartialEq)]
pub struct Atomic {
    /// What is compared.
    pub left: LeftOperand,
    /// How.
    pub operator: Operator,
    /// With what; its type fits the left operand.
    pub right: RightOperand,
    /// Uses already made when the policy was written (`status`), for `count`.
    pub status: u64,
    /// The unit of the right operand, as it was read.
    pub unit: Option<String>,
    /// The data type of the right operand, as it was read.
    pub data_type: Option<String>,
    /// Identifier, when the constraint has one.
    pub uid: Option<String>,
    /// The right operand as it was read, for writing it back unchanged.
    written: Value,
}

/// A checked right operand.
#[derive(Debug, Clone, PartialEq)]
pub enum RightOperand {
    /// For `dateTime`: an instant.
    Instant(Timestamp),
    /// For `elapsedTime`, `delayPeriod` and `timeInterval`: a duration, of calendar units where it has any.
    Duration(SpanFieldwise),
    /// For `count`: a whole number.
    Number(u64),
    /// For sizes (in bytes), percentages and amounts of money.
    Decimal(Decimal),
    /// For everything that is named: one or more identifiers.
    Terms(Vec<String>),
    /// An identifier whose value has to be looked up when the comparison is made (`rightOperandReference`).
    Reference(String),
}

/// Conditions under a connective (IM 2.5.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Logical {
    /// Which connective.
    pub connective: Connective,
    /// The operands, in order.
    pub operands: Vec<Constraint>,
    /// Identifier, when the constraint has one.
    pub uid: Option<String>,
}

/// The logical operators of ODRL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connective {
    /// All hold.
    And,
    /// All hold, established in this order.
    AndSequence,
    /// At least one holds.
    Or,
    /// Exactly one holds.
    Xone,
}

/// A part of a policy that this connector does not understand, kept as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct NotUnderstood {
    /// The member it stood under, such as `constraint` or `inheritFrom`.
    pub member: String,
    /// Why it is not understood, for a reader.
    pub reason: String,
    /// The part as it was read.
    pub source: Value,
}

/// Why a JSON value is not a policy at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Larger or deeper than the limits of this module.
    #[error("the policy has more than {limit} {what}; split it or ask the sender to")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not a JSON object, or a member of the wrong JSON type.
    #[error("`{place}` must be {expected}")]
    Shape {
        /// Where, as a path of member names.
        place: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A policy that says nothing.
    #[error("the policy has neither permission nor prohibition nor obligation")]
    Empty,
    /// The `@type` is none of ODRL's.
    #[error("`{kind}` is not a policy type; expected Set, Offer or Agreement")]
    UnknownKind {
        /// The type as given.
        kind: String,
    },
}

impl Policy {
    /// Reads the compact JSON-LD form, as DSP 2025-1 carries it; prefixed and full names of ODRL
    /// terms are accepted.
    ///
    /// # Errors
    /// When the value is no policy or exceeds the limits. What is merely not understood is no
    /// error: it is kept.
    pub fn from_json(value: &Value) -> Result<Self, ReadError> {
        read::policy(value, members::Unknown::Foreign)
    }

    /// Reads a file of this site: as [`Self::from_json`], and a member of the policy that is not known is not understood
    /// either, unless it is an annotation for people.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn from_file(value: &Value) -> Result<Self, ReadError> {
        read::policy(value, members::Unknown::Refused)
    }

    /// Writes the compact form, as DSP 2025-1's schemas ask for it: lists are arrays. What was not understood is written as
    /// it was read.
    #[must_use]
    pub fn to_json(&self) -> Value {
        write::policy(self)
    }

    /// Writes the same for any processor of JSON-LD, which takes an array for a set unless it is told: `andSequence` is an
    /// `@list`.
    #[must_use]
    pub fn to_json_ld(&self) -> Value {
        write::ordered(write::policy(self))
    }
}

impl Constraint {
    /// Reads one constraint; what is not understood becomes [`Constraint::NotUnderstood`].
    #[must_use]
    pub fn from_json(value: &Value) -> Self {
        if read::within_limits(value).is_err() {
            let reason = "is larger than this connector accepts".to_owned();
            return Self::NotUnderstood(NotUnderstood {
                member: "constraint".to_owned(),
                reason,
                source: Value::Null,
            });
        }
        read::constraint(value)
    }

    /// Writes the compact form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        write::constraint(self)
    }
}

impl Atomic {
    /// Makes a comparison from checked parts, as a policy file does.
    ///
    /// # Errors
    /// The reason why the operand, operator and value do not fit.
    pub fn new(left: LeftOperand, operator: Operator, right: &Value) -> Result<Self, String> {
        operand::atomic(left, operator, right, None)
    }

    /// The same comparison with a value in place of a reference.
    pub(crate) fn resolved(&self, value: &Value) -> Result<Self, String> {
        operand::atomic(self.left, self.operator, value, self.unit.as_deref())
    }

    /// The operator as it is meant: `eq` on a period or an end states the period itself (vocabulary 4.5).
    pub(crate) const fn meant(&self) -> Operator {
        match (self.operator, self.left) {
            (Operator::Eq, LeftOperand::ElapsedTime) => Operator::Lteq,
            (Operator::Eq, LeftOperand::DelayPeriod | LeftOperand::TimeInterval) => Operator::Gteq,
            (Operator::Eq, LeftOperand::Other(operand)) if operand.is_until() => Operator::Lteq,
            (operator, _) => operator,
        }
    }

    /// The right operand as it was written, when it is one text.
    #[must_use]
    pub fn written_text(&self) -> String {
        operand::text(&self.written).map_or_else(|| self.written.to_string(), str::to_owned)
    }
}

impl Duty {
    /// Whether it says what the next policy is: under which terms the recipient may pass the data on (vocabulary 4.3).
    #[must_use]
    pub fn is_next_policy(&self) -> bool {
        self.actions.iter().any(|action| action.name == NEXT_POLICY)
    }
}

impl NotUnderstood {
    /// The part as `member: JSON`, cut where it is long.
    #[must_use]
    pub fn shown(&self) -> String {
        let source: String = self.source.to_string().chars().take(200).collect();
        format!("{}: {source}", self.member)
    }
}

impl Connective {
    /// The ODRL term.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::AndSequence => "andSequence",
            Self::Or => "or",
            Self::Xone => "xone",
        }
    }
}

/// SHA-256 of the RFC 8785 form of a value: the identity of terms in agreements, journal and provenance.
///
/// # Errors
/// [`NotCanonical`] when a number has no exact RFC 8785 form (beyond 2^53).
pub fn canonical_hash(value: &Value) -> Result<[u8; 32], NotCanonical> {
    let bytes = serde_jcs::to_vec(value).map_err(|error| NotCanonical(error.to_string()))?;
    Ok(Sha256::digest(bytes).into())
}

/// A value that has no RFC 8785 form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value has no canonical JSON form: {0}")]
pub struct NotCanonical(String);
