//! What every decision is given beside the state: who we are, who asks, and fresh identifiers.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use protocol::id::{DatasetId, MessageId, ParticipantId, Pid};
use uuid::Uuid;

use crate::deadline::ProcessLimits;
use crate::entity::{self, PartnerState};
use crate::refusal::{Refusal, RefusalKind};
use crate::{Account, Decision, Entity, Key, Need, View};

/// The fact of an account that names the record of the rules, dataset or partner before: its [`crate::Position`].
pub const FOLLOWS: &str = "follows";

/// What is fixed about this node while it runs.
#[derive(Debug, Clone)]
pub struct Context {
    /// Our participant id.
    pub participant: ParticipantId,
    /// The base URL of our DSP 2025-1 endpoints, without a trailing slash; also our callback address.
    pub dsp_endpoint: String,
    /// The base URL of our data endpoints, without a trailing slash; a transfer's process id is appended.
    pub data_endpoint: String,
    /// How long a message is owed before we give up on it.
    pub delivery_deadline: SignedDuration,
    /// How long a step of ours waits for a decision before it is denied.
    pub approval_deadline: SignedDuration,
    /// How many processes may be open, and how long they may stand still.
    pub limits: ProcessLimits,
}

/// Who asks, as proven by its TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The registered partner that the handshake selected.
    pub participant: ParticipantId,
    /// SHA-256 of the leaf certificate, hexadecimal: the node that acted.
    pub proof: String,
    /// What that node is called by its certificate ([`policy::evaluate::Subject::node`]).
    pub node: BTreeSet<String>,
    /// The listener and remote address.
    pub place: String,
}

/// Fresh random identifiers for one decision. A decision that is run again gets the same.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// For a new process of ours.
    pub process: Uuid,
    /// For a new agreement.
    pub agreement: Uuid,
    /// For an outgoing message.
    pub message: Uuid,
    /// For a second outgoing message.
    pub second_message: Uuid,
    /// For a refusal.
    pub reference: Uuid,
}

impl Fresh {
    /// Identifiers from a source of random UUIDs.
    pub fn draw(mut random: impl FnMut() -> Uuid) -> Self {
        Self {
            process: random(),
            agreement: random(),
            message: random(),
            second_message: random(),
            reference: random(),
        }
    }

    /// Nil identifiers, for checks that give no reference away.
    pub(crate) fn none() -> Self {
        Self::draw(Uuid::nil)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_uuid(self.process)
    }

    pub(crate) fn message_id(&self) -> MessageId {
        MessageId::from_uuid(self.message)
    }

    pub(crate) fn second_message_id(&self) -> MessageId {
        MessageId::from_uuid(self.second_message)
    }

    pub(crate) fn refuse(
        &self,
        kind: RefusalKind,
        external: impl Into<String>,
        internal: impl Into<String>,
    ) -> Stop {
        Stop::Refuse(Refusal::new(kind, external, internal, self.reference))
    }

    /// The one refusal for everything that this party may not know of: existing and not existing look the same.
    pub(crate) fn not_found(&self, internal: impl Into<String>) -> Stop {
        self.refuse(RefusalKind::NotFound, "not found", internal)
    }
}

/// Why a decision could not be made as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// An entity has to be loaded first.
    Need(Need),
    /// It is refused.
    Refuse(Refusal),
}

impl From<Need> for Stop {
    fn from(need: Need) -> Self {
        Self::Need(need)
    }
}

/// What a decision function returns: the answer or a refusal, or the need of an entity.
pub type Decided<R> = Result<Decision<Result<R, Refusal>>, Need>;

/// Turns an inner result into what the store takes.
pub(crate) fn settle<R>(result: Result<Decision<R>, Stop>) -> Decided<R> {
    match result {
        Ok(decision) => Ok(decision.map(Ok)),
        Err(Stop::Refuse(refusal)) => Ok(Decision::answer(Err(refusal))),
        Err(Stop::Need(need)) => Err(need),
    }
}

macro_rules! typed {
    ($($(#[$meta:meta])* $name:ident: $variant:ident ($($argument:ident: $type:ty),*) = $key:expr;)*) => {$(
        $(#[$meta])*
        pub(crate) fn $name(view: &dyn View, $($argument: $type),*) -> Result<Option<entity::$variant>, Need> {
            Ok(match view.entity(&$key)?.as_deref() {
                Some(Entity::$variant(found)) => Some(found.clone()),
                _ => None,
            })
        }
    )*};
}

/// Names in an account the record that wrote what this one replaces, so that the past of an entity is found without looking
/// through the journal: see [`FOLLOWS`].
///
/// # Errors
/// [`Need`] when the entity is not loaded.
pub(crate) fn follows(view: &dyn View, account: Account, key: &Key) -> Result<Account, Need> {
    Ok(match view.version(key)? {
        Some(position) => account.fact(FOLLOWS, position.to_string()),
        None => account,
    })
}

typed! {
    /// The site.
    site: Site() = Key::Site;
    /// A partner.
    partner: Partner(id: &ParticipantId) = Key::Partner(id.clone());
    /// A dataset.
    dataset: Dataset(id: &DatasetId) = Key::Dataset(id.clone());
    /// A negotiation, by our process id.
    negotiation: Negotiation(pid: &Pid) = Key::Negotiation(pid.clone());
    /// A transfer, by our process id.
    transfer: Transfer(pid: &Pid) = Key::Transfer(pid.clone());
    /// An agreement.
    agreement: Agreement(id: &protocol::id::AgreementId) = Key::Agreement(id.clone());
    /// The duties of an agreement.
    duties: Duties(id: &protocol::id::AgreementId) = Key::Duties(id.clone());
    /// The agreements of a partner and dataset under which a duty is overdue.
    overdue: Overdue(id: &ParticipantId, dataset: &DatasetId) = Key::Overdue(id.clone(), dataset.clone());
    /// Our process id for a partner's.
    peer_process: PeerProcess(id: &ParticipantId, pid: &Pid) = Key::PeerProcess(id.clone(), pid.clone());
    /// The agreements we hold for a partner's dataset.
    held: Held(id: &ParticipantId, dataset: &DatasetId) = Key::Held(id.clone(), dataset.clone());
    /// The use count of an offer.
    usage: Usage(id: &ParticipantId, offer: &protocol::id::OfferId, dataset: &DatasetId) =
        Key::Usage(id.clone(), offer.clone(), dataset.clone());
    /// The transfer of an access token.
    token: Token(sha256: &str) = Key::Token(sha256.to_owned());
    /// A message owed.
    outbox: Outbox(id: &ParticipantId, pid: &Pid, number: u64) =
        Key::Outbox(id.clone(), pid.clone(), number);
    /// A pull.
    pull: Pull(id: &str) = Key::Pull(id.to_owned());
    /// Our latest checkpoint of a log.
    head: Head(label: &str) = Key::Head(label.to_owned());
    /// A partner's latest checkpoint.
    witness: Witness(id: &ParticipantId) = Key::Witness(id.clone());
}

/// The epoch that the site's logs are in.
pub(crate) fn epoch(view: &dyn View) -> Result<u32, Need> {
    Ok(site(view)?.map_or(crate::FIRST_EPOCH, |site| site.epoch))
}

/// The rule set in force.
pub(crate) fn rules(view: &dyn View) -> Result<Option<Arc<entity::Rules>>, Need> {
    Ok(match view.entity(&Key::Rules)?.as_deref() {
        Some(Entity::Rules(rules)) => Some(Arc::clone(rules)),
        _ => None,
    })
}

/// The partner that asks, where it may ask for anything at all.
pub(crate) fn active_partner(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
) -> Result<entity::Partner, Stop> {
    let Some(partner) = partner(view, &peer.participant)? else {
        return Err(fresh.refuse(
            RefusalKind::Suspended,
            "this participant may not exchange data here",
            format!("`{}` is not registered any more", peer.participant),
        ));
    };
    match partner.state {
        PartnerState::Active => Ok(partner),
        PartnerState::Suspended => Err(fresh.refuse(
            RefusalKind::Suspended,
            "this participant may not exchange data here",
            format!("partner `{}` is suspended", partner.name),
        )),
        PartnerState::Offboarded => Err(fresh.refuse(
            RefusalKind::Offboarded,
            "the exchange with this participant was ended",
            format!("partner `{}` was offboarded", partner.name),
        )),
    }
}

/// Refuses to let a partner begin another negotiation or transfer when as many as it may have are open.
pub(crate) fn room(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &entity::Partner,
    transfer: bool,
) -> Result<(), Stop> {
    let (most, what) = match transfer {
        false => (context.limits.max_negotiations, "negotiations"),
        true => (context.limits.max_transfers, "transfers"),
    };
    if view.open_processes(&partner.participant, transfer) < most {
        return Ok(());
    }
    let external = format!("{most} {what} that you began are open; end some, or try again later");
    let internal = format!(
        "`{}` has {most} {what} open (processes.max_open_{what}_per_partner_count)",
        partner.name
    );
    Err(fresh.refuse(RefusalKind::TooMany, external, internal))
}

/// A partner that a command of ours names, where anything may be exchanged with it.
pub(crate) fn exchanging(
    view: &dyn View,
    fresh: &Fresh,
    participant: &ParticipantId,
) -> Result<entity::Partner, Stop> {
    let (kind, text) = match partner(view, participant)? {
        Some(partner) if partner.state == PartnerState::Active => return Ok(partner),
        Some(partner) => {
            let state = match partner.state {
                PartnerState::Offboarded => "offboarded",
                _ => "suspended",
            };
            let text = format!(
                "partner `{0}` is {state}; `sekisho partner resume {0}` lets it exchange again",
                partner.name
            );
            (RefusalKind::Suspended, text)
        }
        None => (RefusalKind::NotFound, format!("`{participant}` is not a registered partner")),
    };
    Err(fresh.refuse(kind, text.clone(), text))
}

/// Refuses whatever depends on time while the clock is in doubt.
pub(crate) fn trusted_time(view: &dyn View, fresh: &Fresh) -> Result<Timestamp, Stop> {
    match site(view)?.and_then(|site| site.clock_refused) {
        None => Ok(view.now()),
        Some(refusal) => Err(fresh.refuse(
            RefusalKind::Unavailable,
            "temporarily unavailable",
            format!(
                "the clock is not trusted: {}; accept it with `sekisho clock accept`",
                refusal.reason
            ),
        )),
    }
}
