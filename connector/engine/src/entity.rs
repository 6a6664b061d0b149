//! Entities: everything that the node's state consists of.
//!
//! Each is stored as JSON with its variant's name and `v`, the version of its shape. Times are UTC.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use policy::odrl::Policy;
use protocol::id::{AgreementId, DatasetId, MessageId, OfferId, ParticipantId, Pid};
use protocol::process::{Process, Role};
use protocol::{negotiation, transfer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dead_letters::DeadLetter;
use crate::keys::ManagementKey;
use crate::{Awaiting, Handling, Kind};

/// One entity of the node's state. Large ones are shared, so that cloning a view is cheap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant is documented at its type")]
#[expect(
    clippy::large_enum_variant,
    reason = "views share entities behind an Arc; none is moved often"
)]
pub enum Entity {
    Site(Site),
    Rules(Arc<Rules>),
    Partner(Partner),
    Dataset(Dataset),
    Negotiation(Negotiation),
    Agreement(Agreement),
    Duties(Duties),
    Overdue(Overdue),
    Transfer(Transfer),
    PeerProcess(PeerProcess),
    Held(Held),
    Usage(Usage),
    Token(Token),
    Outbox(Outbox),
    Pull(Pull),
    Head(Head),
    Witness(Witness),
    ManagementKey(ManagementKey),
    DeadLetter(DeadLetter),
}

impl Entity {
    /// Whether the entity stays in memory. What is cold lives in the index and is loaded when a decision needs it.
    pub fn is_hot(&self) -> bool {
        match self {
            Self::Dataset(_) | Self::DeadLetter(_) => false,
            Self::Negotiation(negotiation) => !negotiation.process.is_closed(),
            Self::Transfer(transfer) => !transfer.process.is_closed(),
            Self::PeerProcess(process) => !process.closed,
            Self::Agreement(agreement) => agreement.ended.is_none(),
            Self::Pull(pull) => !pull.is_closed(),
            _ => true,
        }
    }

    /// Whether entities of a kind can be cold at all, so that absence in memory proves nothing.
    pub fn may_be_cold(kind: Kind) -> bool {
        matches!(
            kind,
            Kind::Dataset
                | Kind::Negotiation
                | Kind::Transfer
                | Kind::PeerProcess
                | Kind::Agreement
                | Kind::Pull
                | Kind::DeadLetter
        )
    }
}

/// Facts about the site itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The version of this shape.
    pub v: u16,
    /// Our own participant id.
    pub participant: ParticipantId,
    /// The epoch of our logs, in their origins; a new one is opened after a restore from an old backup.
    pub epoch: u32,
    /// Set while the clock cannot be trusted: permits are refused until an operator accepts the time.
    pub clock_refused: Option<ClockRefusal>,
    /// Whether a run has begun and not said that it ended.
    pub running: bool,
}

/// Why the clock is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRefusal {
    /// What was seen, for operators.
    pub reason: String,
    /// When, by the time that is in doubt.
    pub since: Timestamp,
}

/// The rule set in force, with the sources it was compiled from, so that it can be rebuilt and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The version of this shape.
    pub v: u16,
    /// SHA-256 over the policies, groups, purposes and partners, hexadecimal.
    pub hash: String,
    /// The compiled set; stored as its sources.
    pub set: Arc<policy::set::RuleSet>,
}

/// Whether a partner may do anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartnerState {
    /// Exchanges are possible.
    Active,
    /// Everything is refused, and what runs is cut.
    Suspended,
    /// The relation was ended: everything is refused, and it is still told what ended.
    Offboarded,
}

/// A registered partner, as its file says. TLS anchors stay in the trust store; this is what decisions need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    /// The version of this shape.
    pub v: u16,
    /// Its participant id.
    pub participant: ParticipantId,
    /// The short name: the stem of its file, used on the command line.
    pub name: String,
    /// The name for people.
    pub title: String,
    /// Whether it may exchange.
    pub state: PartnerState,
    /// Our administrator's groups for it.
    pub groups: BTreeSet<String>,
    /// ISO 3166-1 alpha-2 country, as our administrator declares it.
    pub region: Option<String>,
    /// ODS operator id.
    pub operator_id: Option<String>,
    /// What else our administrator declares of it, by the name of the operand that policies compare: `industry`,
    /// `Membership`, `SECURITY_LEVEL`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// Credentials of it, and attestations of its nodes, that our administrator verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
    /// The base URL of its DSP 2025-1 endpoints.
    pub dsp_endpoint: String,
    /// The origins (scheme, host, port) that we may dial.
    pub origins: BTreeSet<String>,
    /// The raw Ed25519 public key that signs its journal and provenance, base64url; absent for other connectors.
    pub signing_key: Option<String>,
    /// The number of the card that the file came from.
    pub card_number: Option<u64>,
    /// Which of our own extensions it lists on its card.
    pub extensions: BTreeSet<String>,
    /// Who decides in processes with it; where nothing is said, the offer or the command does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub handling: Option<Handling>,
    /// SHA-256 of its file.
    pub file_sha256: String,
}

/// A credential of a partner, or an attestation of one of its nodes, as our administrator verified and entered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// What it is, such as `MembershipCredential`.
    pub kind: String,
    /// Who issued it: a DID, an IRI or a name.
    pub issuer: String,
    /// Its own identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who verified it here, and how or when.
    pub verified_by: String,
    /// The node that it is about, by a name of its certificate; else the participant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it says, by the name of the operand that policies compare.
    pub says: BTreeMap<String, BTreeSet<String>>,
    /// Before this instant it is not valid yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// From this instant on it is valid no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// Where a dataset's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// In the content-addressed store, under its BLAKE3 root.
    Stored,
    /// Where the publisher keeps it; every block is verified before it is sent.
    InPlace(String),
}

/// The digests of a dataset version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Whole-file SHA-256, hexadecimal.
    pub sha256: String,
    /// BLAKE3 tree root, hexadecimal.
    pub blake3: String,
    /// Bytes.
    pub size: u64,
}

/// A dataset that this site publishes: its current version and what the catalog says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The version of this shape.
    pub v: u16,
    /// Its id in the catalog.
    pub id: DatasetId,
    /// Title for people.
    pub title: String,
    /// Longer text.
    pub description: Option<String>,
    /// Which edition this is, as the publisher names it; a number that counts up where none is given.
    pub version: String,
    /// The greatest number that any version of it had, so that none is given twice.
    #[serde(default)]
    pub last_number: u64,
    /// BCP 47 language.
    pub language: Option<String>,
    /// Licence, as an IRI or text.
    pub licence: Option<String>,
    /// Confidentiality label.
    pub confidentiality: Option<String>,
    /// Tags, which policies can select.
    pub tags: BTreeSet<String>,
    /// Names of policies assigned at publication, beside those that select the dataset themselves.
    pub policies: BTreeSet<String>,
    /// IANA media type.
    pub media_type: String,
    /// The name offered for a downloaded file.
    pub file_name: String,
    /// Size and digests.
    pub digests: Digests,
    /// Where the bytes are.
    pub location: Location,
    /// When this version was published.
    pub published: Timestamp,
    /// Set when it was withdrawn: no longer offered or served.
    pub withdrawn: Option<Timestamp>,
    /// Set when the bytes in place were found changed: not served until published again.
    pub damaged: Option<String>,
    /// What it was made from, of what partners gave us.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub derived_from: Vec<Parent>,
}

impl Dataset {
    /// Whether it can be offered and served.
    pub fn is_available(&self) -> bool {
        self.withdrawn.is_none() && self.damaged.is_none()
    }
}

/// Received data from which a dataset was made, and the terms under which the result may be passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The agreement under which the data were received.
    pub agreement: AgreementId,
    /// SHA-256 of the provenance token that came with them, hexadecimal.
    pub token_sha256: String,
    /// SHA-256 of the data, hexadecimal.
    pub sha256: String,
    /// The salt of the commitment in our tokens, hexadecimal: 32 random bytes.
    pub salt: String,
    /// ODRL policies. Of each of the lists an offer of the dataset must be shown to be as strict as one.
    pub bounds: Vec<Vec<Value>>,
}

/// A message that we accepted in a process: its repeat gets the same answer with no second effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The message's `@id`, where it had one.
    pub id: Option<MessageId>,
    /// SHA-256 of its RFC 8785 form, hexadecimal.
    pub digest: String,
    /// The same without its `@id`: what tells a message that began a process when it comes again under a new one. Empty for
    /// all others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// The version count of the process after it, to tell a repeat without `@id` from a new message.
    pub transition: u64,
}

/// A negotiation as this side knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Negotiation {
    /// The version of this shape.
    pub v: u16,
    /// Our process id.
    pub pid: Pid,
    /// The partner's process id, once known.
    pub peer_pid: Option<Pid>,
    /// The partner.
    pub participant: ParticipantId,
    /// Role, acknowledged state, pending transition.
    pub process: Process<negotiation::Negotiation>,
    /// The partner's base URL for messages of this process: its callback address, or its endpoint.
    pub peer_base: String,
    /// What is negotiated about.
    pub dataset: DatasetId,
    /// The offer's id.
    pub offer: OfferId,
    /// The offer as it stands (DSP MessageOffer). Shared by the process as it was and as it becomes.
    pub terms: Arc<Value>,
    /// The purpose that the consumer declared.
    pub purpose: Option<String>,
    /// The agreement, once there is one.
    pub agreement: Option<AgreementId>,
    /// Messages that we accepted, latest last.
    pub accepted: Vec<Accepted>,
    /// Counts transitions and numbers outgoing messages.
    pub transitions: u64,
    /// The numbers of the messages owed, the pending one first.
    pub outbox: Vec<u64>,
    /// The numbers of messages withdrawn by the decision at hand, to be removed by its record; empty between decisions.
    #[serde(skip)]
    pub withdrawn: Vec<u64>,
    /// Why it ended, where it did not end well.
    pub failure: Option<Failure>,
    /// When it began.
    pub created: Timestamp,
    /// Who takes our steps.
    #[serde(default)]
    pub handling: Handling,
    /// Set while a step of ours waits for a decision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub awaiting: Option<Awaiting>,
    /// When the latest message came or was decided on: what its deadline counts from.
    pub changed: Timestamp,
    /// Who began it: only what the partner began is found by its process id.
    #[serde(default = "consumer")]
    pub initiator: Role,
    /// Whether our administrator gave the terms as they stand: then they need not be those of a published offer.
    #[serde(default)]
    pub bargained: bool,
    /// How many counter-requests or counter-offers came.
    #[serde(default)]
    pub rounds: u32,
}

fn consumer() -> Role {
    Role::Consumer
}

/// Why a process did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A short code, as in the DSP message.
    pub code: String,
    /// The reason in words, as the partner may see it.
    pub reason: String,
    /// The reference to give to the other side's administrator.
    pub reference: Option<String>,
    /// Whether a policy refused.
    pub by_policy: bool,
}

/// Which side of an agreement we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// We provide the dataset.
    Provider,
    /// We consume it.
    Consumer,
}

/// An agreement with a partner. It never changes but to end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// The version of this shape.
    pub v: u16,
    /// Its id.
    pub id: AgreementId,
    /// Our side.
    pub side: Side,
    /// The other party.
    pub participant: ParticipantId,
    /// The dataset.
    pub dataset: DatasetId,
    /// The offer it came from.
    pub offer: OfferId,
    /// The DSP Agreement, as it was sent.
    pub terms: Value,
    /// SHA-256 of the RFC 8785 form of `terms`, hexadecimal.
    pub sha256: String,
    /// SHA-256 of the RFC 8785 form of its rules alone: what was agreed, without parties and time, hexadecimal.
    pub policy_sha256: String,
    /// The purpose that the consumer declared.
    pub purpose: Option<String>,
    /// The negotiation that made it (our pid).
    pub negotiation: Pid,
    /// When it was made.
    pub created: Timestamp,
    /// Whether the negotiation was finalized: only then may data be requested under it.
    pub finalized: bool,
    /// Who takes our steps in transfers under it.
    #[serde(default)]
    pub handling: Handling,
    /// When and why it ended.
    pub ended: Option<(Timestamp, String)>,
    /// The policy in `terms`, once somebody asked for it.
    #[serde(skip)]
    pub read: ReadTerms,
}

impl Agreement {
    /// The policy in its terms; none where they are no policy. It is read once, however many requests are judged by it.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.read.0.get_or_init(|| Policy::from_json(&self.terms).ok()).as_ref()
    }
}

/// What was read of an agreement's terms: shared by its copies, never stored, and no part of what it is.
#[derive(Debug, Clone, Default)]
pub struct ReadTerms(Arc<OnceLock<Option<Policy>>>);

impl PartialEq for ReadTerms {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How far a duty is (formal semantics; what they call *not set* is pending here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObligationState {
    /// Nothing need be done: its conditions do not hold, or what it would follow from did not happen.
    Inactive,
    /// It has to be done, and there is time.
    Pending,
    /// It was done, in time or made good with its consequences.
    Fulfilled,
    /// It was not done in time.
    Violated,
    /// It is not understood. Nothing is granted under a policy with such a duty.
    NotUnderstood,
}

/// That a duty was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fulfilment {
    /// When it was recorded.
    pub at: Timestamp,
    /// Who says so; nobody where this node did it itself.
    pub by: Option<String>,
    /// How it was done.
    pub how: String,
    /// What the duty's refinements ask for, by the name of the operand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// One duty of an agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duty {
    /// Its name within the agreement: its place in the policy as agreed, such as `obligation-1`, and so the same on both nodes
    /// (`policy::evaluate::TrackedDuty::name`).
    pub name: String,
    /// The duty in the short form of policy files.
    pub clause: String,
    /// What must be done.
    pub actions: Vec<String>,
    /// Who must do it.
    pub bearer: Side,
    /// Whom the policy names for it, where it names somebody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub party: Option<String>,
    /// Whether it must be done before a permission holds.
    pub is_condition: bool,
    /// Whether its conditions are known to hold. Where they cannot be decided here it counts as owed.
    pub is_certain: bool,
    /// Its conditions that cannot be decided here, each with what is missing for it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub undecided: Vec<String>,
    /// Since when it is owed, where it is.
    pub since: Option<Timestamp>,
    /// Until when. Not known of what is not owed yet and counts from then.
    pub deadline: Option<Timestamp>,
    /// Whether something must be done besides once it was not done in time.
    pub has_consequences: bool,
    /// What it must be done to.
    pub target: String,
    /// How far it is.
    pub state: ObligationState,
    /// From when on it was not done in time; stays when it is made good.
    pub violated: Option<Timestamp>,
    /// That it was done.
    pub fulfilled: Option<Fulfilment>,
}

impl Duty {
    /// Whether new transfers under the agreement are refused because of it: it was not done in time, and neither was it
    /// done late nor, where it has consequences, were they all fulfilled besides.
    pub fn blocks(&self) -> bool {
        let made_good = self.fulfilled.is_some() && !self.has_consequences;
        self.state == ObligationState::Violated && !made_good
    }
}

/// That a prohibition was infringed, as somebody says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infringement {
    /// The prohibition: its place in the policy as agreed, such as `prohibition-1`.
    pub prohibition: String,
    /// The prohibition in the short form of policy files.
    pub clause: String,
    /// When it was infringed.
    pub at: Timestamp,
    /// When that was recorded.
    pub recorded: Timestamp,
    /// Who says so.
    pub by: Option<String>,
    /// What was done, and how it is known.
    pub how: String,
}

/// The duties of an agreement. One entity for all of them, so that a decision under the agreement loads one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duties {
    /// The version of this shape.
    pub v: u16,
    /// The agreement.
    pub agreement: AgreementId,
    /// The other party.
    pub participant: ParticipantId,
    /// Our side of the agreement.
    pub side: Side,
    /// The dataset.
    pub dataset: DatasetId,
    /// Its duties, owed or not, in the order of the policy.
    pub list: Vec<Duty>,
    /// Infringements of its prohibitions, in the order of recording.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub infringed: Vec<Infringement>,
    /// The first instant at which time alone may change a state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub look_again: Option<Timestamp>,
    /// Whether states depend on more than time and records: on uses, or on what is known of the partner or the dataset.
    #[serde(default)]
    pub is_conditional: bool,
}

impl Duties {
    /// A duty by its name.
    pub fn duty(&self, name: &str) -> Option<&Duty> {
        self.list.iter().find(|duty| duty.name == name)
    }
}

/// The agreements with a partner on a dataset of which a duty of the consumer was not done in time and not made good. While
/// there is one, the dataset is neither agreed upon anew nor transferred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overdue {
    /// The version of this shape.
    pub v: u16,
    /// The agreements.
    pub agreements: BTreeSet<AgreementId>,
}

/// A transfer process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The version of this shape.
    pub v: u16,
    /// Our process id.
    pub pid: Pid,
    /// The partner's process id, once known.
    pub peer_pid: Option<Pid>,
    /// The partner.
    pub participant: ParticipantId,
    /// Role, acknowledged state, pending transition.
    pub process: Process<transfer::Transfer>,
    /// The partner's base URL for messages of this process.
    pub peer_base: String,
    /// The agreement it rests on.
    pub agreement: AgreementId,
    /// The dataset.
    pub dataset: DatasetId,
    /// DSP transfer format.
    pub format: String,
    /// Provider: what the node that asked is called by its certificate. Empty for a push: which node will take it is not
    /// known when it is judged.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub node: BTreeSet<String>,
    /// Provider: what was granted.
    pub grant: Option<Grant>,
    /// Consumer: where the data are.
    pub source: Option<Source>,
    /// Provider: where the consumer wants the data pushed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<Source>,
    /// Consumer: what the provider's push may be taken for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upload: Option<Upload>,
    /// Messages that we accepted, latest last.
    pub accepted: Vec<Accepted>,
    /// Counts transitions and numbers outgoing messages.
    pub transitions: u64,
    /// The numbers of the messages owed, the pending one first.
    pub outbox: Vec<u64>,
    /// The numbers of messages withdrawn by the decision at hand, to be removed by its record; empty between decisions.
    #[serde(skip)]
    pub withdrawn: Vec<u64>,
    /// Why it ended, where it did not end well.
    pub failure: Option<Failure>,
    /// When it began.
    pub created: Timestamp,
    /// Who takes our steps.
    #[serde(default)]
    pub handling: Handling,
    /// Set while a step of ours waits for a decision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub awaiting: Option<Awaiting>,
    /// When the latest message came or was decided on, or data were served: what its deadline counts from.
    pub changed: Timestamp,
}

/// What a provider granted for one transfer, durable before the first byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The dataset version granted.
    pub version: String,
    /// Its digests: the bytes that may be served under this grant.
    pub digests: Digests,
    /// Which use of the offer by this partner it is, from 1.
    pub use_number: u64,
    /// When it was granted: then this use began, for `timeInterval`.
    #[serde(default)]
    pub granted: Option<Timestamp>,
    /// When the use of the offer before this one was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_use: Option<Timestamp>,
    /// Generation of the access token; a new start after a suspension has a new one.
    pub generation: u32,
    /// SHA-256 of the access token, hexadecimal.
    pub token_sha256: String,
    /// The provenance token (JWS, compact).
    pub provenance: String,
    /// Its SHA-256, hexadecimal: the digest in the leaf of the grant's record.
    pub provenance_sha256: String,
    /// Bytes recorded as served so far.
    pub served: u64,
    /// Data requests recorded so far.
    pub requests: u64,
}

/// What a provider may push to our upload endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The pull that the bytes are for.
    pub pull: String,
    /// SHA-256 of the upload token, hexadecimal.
    pub token_sha256: String,
}

/// Where the data of a transfer are, or are wanted: an endpoint of the partner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The data endpoint's URL.
    pub endpoint: String,
    /// The access token, sealed under the node's key, base64url.
    pub sealed_token: Option<String>,
}

/// Our process id for a partner's process id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerProcess {
    /// The version of this shape.
    pub v: u16,
    /// Our process id.
    pub pid: Pid,
    /// Whether it is a negotiation or a transfer.
    pub transfer: bool,
    /// Whether the process is closed.
    pub closed: bool,
}

/// The agreements under which we may pull a dataset, newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The version of this shape.
    pub v: u16,
    /// Agreement and declared purpose; for each purpose the newest [`Held::MOST`].
    pub agreements: Vec<(AgreementId, Option<String>)>,
}

impl Held {
    /// The most agreements that are remembered for one purpose. A pull looks for the newest that stands; the agreements
    /// themselves stay whatever is forgotten here. Without a limit each new one would be written with all before it.
    pub const MOST: usize = 16;

    /// Remembers one more agreement.
    pub(crate) fn add(&mut self, id: AgreementId, purpose: Option<String>) {
        let alike = |(_, other): &(AgreementId, Option<String>)| *other == purpose;
        if self.agreements.iter().filter(|held| alike(held)).count() >= Self::MOST
            && let Some(oldest) = self.agreements.iter().position(alike)
        {
            self.agreements.remove(oldest);
        }
        self.agreements.push((id, purpose));
    }
}

/// How often a partner used an offer of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The version of this shape.
    pub v: u16,
    /// Transfers granted.
    pub uses: u64,
    /// When the latest was granted.
    pub latest: Option<Timestamp>,
}

/// The transfer that an access token opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The version of this shape.
    pub v: u16,
    /// Our process id of the transfer.
    pub transfer: Pid,
    /// The token's generation.
    pub generation: u32,
}

/// What an outgoing message does, for the process it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A message of a negotiation.
    Negotiation,
    /// A message of a transfer.
    Transfer,
}

/// A message owed to a partner. It is written once; its text is the body of the record that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// The version of this shape.
    pub v: u16,
    /// The kind of process.
    pub subject: Subject,
    /// The message's `@id`.
    pub message: MessageId,
    /// The URL to send it to.
    pub url: String,
    /// The access token to fill in at sending: transfer and generation. Tokens are never stored.
    pub token: Option<(Pid, u32)>,
    /// The secret of an endpoint that an application named, to fill in likewise: sealed under the node's key for this process,
    /// base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_token: Option<String>,
    /// Whether it is a termination, which withdraws what was not yet attempted.
    pub terminates: bool,
    /// When it was queued.
    pub queued: Timestamp,
    /// When we give up.
    pub deadline: Timestamp,
}

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum PullStep {
    /// A negotiation runs.
    Negotiating {
        /// Our process id.
        negotiation: Pid,
    },
    /// A transfer was requested or runs.
    Transferring {
        /// Our process id.
        transfer: Pid,
    },
    /// The bytes are here and verified.
    Received {
        /// The transfer they came by.
        transfer: Pid,
        /// What arrived.
        digests: Digests,
        /// The name that the provider gave the file.
        file_name: String,
    },
    /// The bytes were handed over; nothing is kept but the record.
    Delivered {
        /// The transfer they came by.
        transfer: Pid,
        /// What arrived.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        digests: Option<Digests>,
        /// The name that the provider gave the file.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        file_name: Option<String>,
    },
    /// It failed for good.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// A dataset that this site pulls from a partner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The version of this shape.
    pub v: u16,
    /// Its id.
    pub id: String,
    /// The provider.
    pub participant: ParticipantId,
    /// The dataset.
    pub dataset: DatasetId,
    /// The declared purpose.
    pub purpose: Option<String>,
    /// Whether the provider shall push the bytes, instead of us asking for them.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub push: bool,
    /// How far it is.
    pub step: PullStep,
    /// How often it went on with a new version of the dataset.
    #[serde(default)]
    pub renewals: u32,
    /// When it was asked for.
    pub created: Timestamp,
    /// When every byte was here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub received: Option<Timestamp>,
}

impl Pull {
    /// Whether nothing more will happen.
    pub fn is_closed(&self) -> bool {
        matches!(self.step, PullStep::Delivered { .. } | PullStep::Failed { .. })
    }
}

/// The latest checkpoint that we signed for a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of this shape.
    pub v: u16,
    /// The log's size.
    pub size: u64,
    /// Its root, hexadecimal.
    pub root: String,
    /// The signed note.
    pub note: String,
    /// When it was signed.
    pub signed: Timestamp,
}

/// The latest checkpoint that a partner gave us of its log of our relation, proven consistent with the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The version of this shape.
    pub v: u16,
    /// The epoch of the partner's log.
    #[serde(default = "first_epoch")]
    pub epoch: u32,
    /// The log's size.
    pub size: u64,
    /// Its root, hexadecimal.
    pub root: String,
    /// The signed note.
    pub note: String,
    /// When we took it.
    pub taken: Timestamp,
    /// Set when the partner showed a checkpoint that contradicts this one: both notes are evidence.
    pub conflict: Option<String>,
    /// A checkpoint of our own, held by the partner, that our log does not continue: our data are older than what we once
    /// signed. While it is set nothing is signed for this relation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub behind: Option<String>,
    /// The partner's last checkpoint of each earlier epoch, oldest first: evidence, kept for ever.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub earlier: Vec<Earlier>,
    /// Checkpoints of our own earlier epochs, held by the partner, that our logs do not continue: each is named by a
    /// record of our log.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub given_up: Vec<String>,
}

impl Witness {
    /// What is known of a partner that has shown no checkpoint of its own.
    pub fn nothing(now: Timestamp) -> Self {
        Self {
            v: 1,
            epoch: first_epoch(),
            size: 0,
            root: String::new(),
            note: String::new(),
            taken: now,
            conflict: None,
            behind: None,
            earlier: Vec::new(),
            given_up: Vec::new(),
        }
    }
}

/// The last that a partner has shown of an earlier epoch of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The epoch.
    pub epoch: u32,
    /// The signed note of the checkpoint that we held.
    pub note: String,
    /// The one that contradicts it, where the partner has shown one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conflict: Option<String>,
    /// Whether the first record of the epoch that followed names the checkpoint.
    pub named: bool,
}

fn first_epoch() -> u32 {
    crate::FIRST_EPOCH
}

macro_rules! into_entity {
    ($($name:ident),*) => {$(
        impl From<$name> for Entity {
            fn from(entity: $name) -> Self {
                Self::$name(entity)
            }
        }
    )*};
}

into_entity!(
    Site,
    Partner,
    Dataset,
    Negotiation,
    Agreement,
    Duties,
    Overdue,
    Transfer,
    PeerProcess,
    Held,
    Usage,
    Token,
    Outbox,
    Pull,
    Head,
    Witness,
    ManagementKey,
    DeadLetter
);

impl From<Rules> for Entity {
    fn from(entity: Rules) -> Self {
        Self::Rules(Arc::new(entity))
    }
}
