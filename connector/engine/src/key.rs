//! Keys: the names of the entities that make up the node's state.

use protocol::id::{AgreementId, DatasetId, MessageId, OfferId, ParticipantId, Pid};
use serde::{Deserialize, Serialize};

/// The name of one entity. The order of keys is the order of snapshots and of the cold index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// The one entity of facts about the site itself.
    Site,
    /// The rule set in force: policies, groups and purposes.
    Rules,
    /// A registered partner.
    Partner(ParticipantId),
    /// A published dataset.
    Dataset(DatasetId),
    /// A contract negotiation, by our process id.
    Negotiation(Pid),
    /// An agreement that we are party to.
    Agreement(AgreementId),
    /// A transfer process, by our process id.
    Transfer(Pid),
    /// Our process id for a process that a partner knows by its own id.
    PeerProcess(ParticipantId, Pid),
    /// The agreements under which we may pull a partner's dataset.
    Held(ParticipantId, DatasetId),
    /// How often a partner has used an offer of a dataset.
    Usage(ParticipantId, OfferId, DatasetId),
    /// The transfer that an access token (by its SHA-256, hexadecimal) opens.
    Token(String),
    /// A message still owed to a partner: participant, our process, number within the process.
    Outbox(ParticipantId, Pid, u64),
    /// A pull that this site asked for, by its id.
    Pull(String),
    /// The latest checkpoint that we signed for a log, by the log's label.
    Head(String),
    /// The latest checkpoint that a partner gave us of its log of our relation.
    Witness(ParticipantId),
    /// A key of the management API, by its name.
    ManagementKey(String),
    /// The duties of an agreement.
    Duties(AgreementId),
    /// The agreements with a partner on a dataset under which a duty is overdue.
    Overdue(ParticipantId, DatasetId),
    /// A message that we gave up on, by its id.
    DeadLetter(MessageId),
}

/// The kind of an entity, for scans. Numbers are part of the stored format and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each variant is documented at the variant of the same name of `Key`"
)]
pub enum Kind {
    Site = 1,
    Rules = 2,
    Partner = 3,
    Dataset = 4,
    Negotiation = 5,
    Agreement = 6,
    Transfer = 7,
    PeerProcess = 8,
    Held = 9,
    Usage = 10,
    Token = 11,
    Outbox = 12,
    Pull = 13,
    Head = 14,
    Witness = 15,
    ManagementKey = 16,
    Duties = 17,
    Overdue = 18,
    DeadLetter = 19,
}

/// Separates the parts of a composite key. Identifiers cannot contain it (`protocol::id`).
const SEPARATOR: char = '\0';

impl Key {
    /// The kind of the entity under this key.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Site => Kind::Site,
            Self::Rules => Kind::Rules,
            Self::Partner(_) => Kind::Partner,
            Self::Dataset(_) => Kind::Dataset,
            Self::Negotiation(_) => Kind::Negotiation,
            Self::Agreement(_) => Kind::Agreement,
            Self::Duties(_) => Kind::Duties,
            Self::Overdue(..) => Kind::Overdue,
            Self::DeadLetter(_) => Kind::DeadLetter,
            Self::Transfer(_) => Kind::Transfer,
            Self::PeerProcess(..) => Kind::PeerProcess,
            Self::Held(..) => Kind::Held,
            Self::Usage(..) => Kind::Usage,
            Self::Token(_) => Kind::Token,
            Self::Outbox(..) => Kind::Outbox,
            Self::Pull(_) => Kind::Pull,
            Self::Head(_) => Kind::Head,
            Self::Witness(_) => Kind::Witness,
            Self::ManagementKey(_) => Kind::ManagementKey,
        }
    }

    /// The stored form: the kind's byte, then the parts in order, separated by NUL. Byte order equals key order within
    /// a kind up to the separator, so a range of encoded keys is a range of identifiers.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoded = vec![self.kind() as u8];
        let mut part = |text: &str| {
            if encoded.len() > 1 {
                encoded.push(SEPARATOR as u8);
            }
            encoded.extend_from_slice(text.as_bytes());
        };
        match self {
            Self::Site | Self::Rules => {}
            Self::Partner(participant) | Self::Witness(participant) => part(participant.as_str()),
            Self::Dataset(dataset) => part(dataset.as_str()),
            Self::Negotiation(pid) | Self::Transfer(pid) => part(pid.as_str()),
            Self::Agreement(agreement) | Self::Duties(agreement) => part(agreement.as_str()),
            Self::DeadLetter(message) => part(message.as_str()),
            Self::PeerProcess(participant, pid) => {
                part(participant.as_str());
                part(pid.as_str());
            }
            Self::Held(participant, dataset) | Self::Overdue(participant, dataset) => {
                part(participant.as_str());
                part(dataset.as_str());
            }
            Self::Usage(participant, offer, dataset) => {
                part(participant.as_str());
                part(offer.as_str());
                part(dataset.as_str());
            }
            Self::Token(text) | Self::Pull(text) | Self::Head(text) | Self::ManagementKey(text) => {
                part(text)
            }
            Self::Outbox(participant, pid, number) => {
                part(participant.as_str());
                part(pid.as_str());
                part(&format!("{number:020}"));
            }
        }
        encoded
    }

    /// What the stored form of every [`Key::PeerProcess`] of a partner begins with.
    pub fn peer_processes(participant: &ParticipantId) -> Vec<u8> {
        let mut prefix = vec![Kind::PeerProcess as u8];
        prefix.extend_from_slice(participant.as_str().as_bytes());
        prefix.push(SEPARATOR as u8);
        prefix
    }

    /// Reads a stored key again. `None` when the bytes are not a key of this version.
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        let (kind, rest) = encoded.split_first()?;
        let rest = std::str::from_utf8(rest).ok()?;
        let mut parts = rest.split(SEPARATOR);
        let mut part = || parts.next();
        let key = match *kind {
            1 => Self::Site,
            2 => Self::Rules,
            3 => Self::Partner(part()?.parse().ok()?),
            4 => Self::Dataset(part()?.parse().ok()?),
            5 => Self::Negotiation(part()?.parse().ok()?),
            6 => Self::Agreement(part()?.parse().ok()?),
            7 => Self::Transfer(part()?.parse().ok()?),
            8 => Self::PeerProcess(part()?.parse().ok()?, part()?.parse().ok()?),
            9 => Self::Held(part()?.parse().ok()?, part()?.parse().ok()?),
            10 => Self::Usage(part()?.parse().ok()?, part()?.parse().ok()?, part()?.parse().ok()?),
            11 => Self::Token(part()?.to_owned()),
            12 => Self::Outbox(part()?.parse().ok()?, part()?.parse().ok()?, part()?.parse().ok()?),
            13 => Self::Pull(part()?.to_owned()),
            14 => Self::Head(part()?.to_owned()),
            15 => Self::Witness(part()?.parse().ok()?),
            16 => Self::ManagementKey(part()?.to_owned()),
            17 => Self::Duties(part()?.parse().ok()?),
            18 => Self::Overdue(part()?.parse().ok()?, part()?.parse().ok()?),
            19 => Self::DeadLetter(part()?.parse().ok()?),
            _ => return None,
        };
        // A key has one stored form only.
        (key.encode() == encoded).then_some(key)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let encoded = self.encode();
        let text = String::from_utf8_lossy(encoded.get(1..).unwrap_or_default());
        write!(formatter, "{:?} {}", self.kind(), text.replace(SEPARATOR, " "))
    }
}
