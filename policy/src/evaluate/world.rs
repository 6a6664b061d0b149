//! The state of the world: every fact that an evaluation may look at, and who vouches for it.

use crate::odrl::Decimal;
use crate::set::Purposes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The state of the world.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// Who asks.
    pub subject: &'a Subject,
    /// Uses granted before this one, for `count`: of the same partner, offer and dataset over all
    /// agreements. While data flows, the use it belongs to is not counted again. `None` where it is
    /// not known: then `count` denies.
    pub earlier_uses: Option<u64>,
    /// The use before this one, for `timeInterval`.
    pub previous_use: PreviousUse,
    /// When this use began, where it is in progress: what is timed between two uses is timed until then. `None` where it
    /// would begin now.
    pub use_began: Option<Timestamp>,
    /// When the agreement was made, for `elapsedTime` and `delayPeriod`.
    pub agreed_at: Option<Timestamp>,
    /// Actions done by the subject, in fulfilment of duties above all.
    pub performed: &'a [Performed],
    /// What happened to the duties and prohibitions of the policy.
    pub past: &'a Past,
    /// Which purposes are part of which.
    pub purposes: &'a Purposes,
    /// Facts about the dataset and the delivery.
    pub facts: &'a Facts,
    /// What holds for an action that no rule names.
    pub behaviour: Behaviour,
}

/// What holds for an action that no rule names (formal semantics, behaviour parameter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// What is not prohibited is permitted; so a restriction is judged.
    Open,
    /// What is not permitted is denied.
    #[default]
    Closed,
}

/// Facts about the dataset and the delivery. What is not given is not known, and does not grant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The collections that the dataset belongs to: its tags.
    pub collections: BTreeSet<String>,
    /// IANA media type, as published.
    pub media_type: Option<String>,
    /// Size in bytes, as published.
    pub size: Option<u64>,
    /// The version, as published.
    pub version: Option<String>,
    /// BCP 47 language, as published.
    pub language: Option<String>,
    /// Names of the way in which the data is delivered.
    pub delivery_channels: BTreeSet<String>,
    /// How long data flowed under the agreement.
    pub metered_time: Option<SignedDuration>,
    /// What was paid, by currency.
    pub paid: BTreeMap<String, Decimal>,
    /// The values behind `rightOperandReference`s.
    pub references: BTreeMap<String, Value>,
}

/// How this node delivers data, by the names that a policy may use.
const DELIVERY_CHANNELS: [&str; 2] = ["HttpData-PULL", "https"];

impl Facts {
    /// What is known before a dataset is published: how this node delivers.
    #[must_use]
    pub fn unpublished() -> Self {
        let delivery_channels = DELIVERY_CHANNELS.map(str::to_owned).into();
        Self { delivery_channels, ..Self::default() }
    }
}

static NO_FACTS: Facts = Facts {
    collections: BTreeSet::new(),
    media_type: None,
    size: None,
    version: None,
    language: None,
    delivery_channels: BTreeSet::new(),
    metered_time: None,
    paid: BTreeMap::new(),
    references: BTreeMap::new(),
};

/// What happened to the duties and prohibitions of a policy, by their names: those of
/// [`super::TrackedDuty::name`], and `prohibition-1` and so on.
pub type Past = BTreeMap<String, Happened>;

/// What happened to a duty or a prohibition, that does not follow from the time and what was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Happened {
    /// Since when a duty is owed, where not since the agreement: since its conditions hold, since the duty that it is a
    /// consequence of was violated, or since the prohibition that it is a remedy of was infringed.
    pub owed: Option<Timestamp>,
    /// When a duty was found to be violated, or a prohibition was infringed.
    pub violated: Option<Timestamp>,
    /// Whether the exchange itself does what a duty asks, so that nobody has to.
    pub is_done_by_exchange: bool,
}

pub(crate) static NO_PAST: Past = BTreeMap::new();

impl<'a> World<'a> {
    /// A world in which nothing is known but the time, the subject and the purposes, and which is closed.
    #[must_use]
    pub fn new(now: Timestamp, subject: &'a Subject, purposes: &'a Purposes) -> Self {
        Self {
            now,
            subject,
            earlier_uses: None,
            previous_use: PreviousUse::Unknown,
            use_began: None,
            agreed_at: None,
            performed: &[],
            past: &NO_PAST,
            purposes,
            facts: &NO_FACTS,
            behaviour: Behaviour::Closed,
        }
    }
}

/// Who asks: a chain from the participant down to a person, as far as it is known, each with its proof.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Participant id, proven by the connection.
    pub participant: String,
    /// The participant's node, when known.
    pub node: Option<Link>,
    /// The application behind it, when known.
    pub application: Option<Link>,
    /// The person behind that, when known.
    pub person: Option<Link>,
    /// Groups that our administrator put the participant in.
    pub groups: BTreeSet<String>,
    /// ISO 3166 code that our administrator declared for the participant, such as `JP` or `JP-13`.
    pub region: Option<String>,
    /// Network locations that the partner's file registers: origins of its endpoints.
    pub locations: BTreeSet<String>,
    /// What else our administrator declared of the participant, by the name of the operand.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// What credentials and attestations say of it that our administrator verified.
    pub statements: Vec<Statement>,
    /// Whether the participant's node asks its applications who they are before it hands data out, and judges the agreed terms
    /// for them. What a policy says of the application is then left to that node.
    pub asks_applications: bool,
}

/// One member of the chain below the participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its identifiers: a node has each name of its certificate.
    pub names: BTreeSet<String>,
    /// How it is known.
    pub proof: Proof,
}

impl Link {
    /// A member with one identifier.
    #[must_use]
    pub fn new(name: impl Into<String>, proof: Proof) -> Self {
        Self { names: BTreeSet::from([name.into()]), proof }
    }

    fn is(&self, id: &str) -> bool {
        self.names.contains(id)
    }
}

/// What a credential says of the participant, or an attestation of one of its nodes, while it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The operand that it decides, by its term.
    pub operand: String,
    /// What it says.
    pub values: BTreeSet<String>,
    /// What it is, for people: its type and who issued it.
    pub source: String,
    /// The node that it is about; else the participant with all its nodes.
    pub node: Option<String>,
    /// Before this instant it is not valid yet.
    pub from: Option<Timestamp>,
    /// From this instant on it is valid no more.
    pub until: Option<Timestamp>,
}

/// How a member of the chain is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// By the certificate of the connection.
    Connection,
    /// By a signed credential.
    Credential,
    /// By an attestation of what runs.
    Attestation,
    /// By the key that it shows to its own node.
    Key,
    /// It says so itself. That never grants; it may forbid.
    Declared,
}

impl Subject {
    /// Whether an identifier names the subject, a member of its chain however it is known, or one of its groups.
    #[must_use]
    pub fn is_named(&self, id: &str) -> bool {
        self.names(id, |_| true)
    }

    /// The same, without members that are only declared.
    #[must_use]
    pub fn is_proven(&self, id: &str) -> bool {
        self.names(id, |proof| proof != Proof::Declared)
    }

    fn names(&self, id: &str, counts: impl Fn(Proof) -> bool) -> bool {
        self.participant == id
            || [&self.node, &self.application, &self.person]
                .into_iter()
                .flatten()
                .any(|link| link.is(id) && counts(link.proof))
            || self.groups.contains(id)
    }
}

/// When the subject last used the offer before this use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviousUse {
    /// This is the first.
    Never,
    /// At this instant.
    At(Timestamp),
    /// Not known: `timeInterval` denies.
    Unknown,
}

/// An action that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performed {
    /// The action, an ODRL term.
    pub action: String,
    /// The dataset it was done to.
    pub target: String,
    /// When.
    pub at: Timestamp,
    /// How it was done, by the name of the operand: what a refinement of the duty's action asks for.
    pub facts: BTreeMap<String, String>,
}
