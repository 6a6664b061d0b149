//! What negotiations and transfers have in common: repeats, owed messages, records of messages.

use jiff::{SignedDuration, Timestamp};
use protocol::id::{MessageId, ParticipantId, Pid};
use protocol::message::{Explanation, Pids};
use protocol::process::{Machine, Process, Role};
use serde_json::Value;

use crate::agreements::ENDED_CODE;
use crate::context::{Fresh, Peer, Stop};
use crate::entity::{Accepted, Failure, Outbox, Subject};
use crate::pull::NEW_VERSION_CODE;
use crate::refusal::RefusalKind;
use crate::{Account, Key};

/// How many accepted messages a process remembers: more than any legal sequence that a partner can still repeat.
const REMEMBERED: usize = 64;

/// A message as it came in: the text, and what tells a repeat from a new one.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The message's `@id`, where it has one.
    pub id: Option<MessageId>,
    /// SHA-256 of the message's RFC 8785 form, hexadecimal.
    pub digest: String,
    /// The same of the message without its `@id`, where it begins a process; else empty.
    pub content: String,
    /// The message itself, for the record's body.
    pub text: Value,
    /// Whether an attempt to send our pending transition of this process has begun.
    pub attempted: bool,
}

/// What an inbound message is in the light of those accepted before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// It was not seen before.
    New,
    /// It was accepted before: same answer, no second effect.
    Repeat,
}

/// Tells repeats from new messages: the same `@id` with the same content, or without `@id` equal content and no
/// transition since. The same `@id` with other content is refused.
pub(crate) fn novelty(
    accepted: &[Accepted],
    transitions: u64,
    inbound: &Inbound,
    fresh: &Fresh,
) -> Result<Novelty, Stop> {
    if let Some(id) = &inbound.id {
        let Some(earlier) = accepted.iter().find(|earlier| earlier.id.as_ref() == Some(id)) else {
            return Ok(Novelty::New);
        };
        if earlier.digest == inbound.digest {
            return Ok(Novelty::Repeat);
        }
        return Err(fresh.refuse(
            RefusalKind::Invalid,
            "a different message with the same @id was accepted before",
            format!("message `{id}` came again with other content"),
        ));
    }
    let repeat = accepted
        .last()
        .is_some_and(|last| last.digest == inbound.digest && last.transition == transitions);
    Ok(if repeat { Novelty::Repeat } else { Novelty::New })
}

/// Remembers an accepted message.
pub(crate) fn remember(accepted: &mut Vec<Accepted>, inbound: &Inbound, transition: u64) {
    if accepted.len() >= REMEMBERED {
        // The first message began the process: its repeat is told by it for as long as the process is known.
        accepted.remove(1);
    }
    accepted.push(Accepted {
        id: inbound.id.clone(),
        digest: inbound.digest.clone(),
        content: inbound.content.clone(),
        transition,
    });
}

/// The decision that took the latest message is made: what it sends in answer is no transition since that message.
pub(crate) fn remembered(accepted: &mut [Accepted], transitions: u64) {
    if let Some(last) = accepted.last_mut() {
        last.transition = transitions;
    }
}

/// Checks the process ids that a message names, and learns the partner's where it is not known yet.
///
/// Some connectors name their own process id twice; any other contradiction is refused.
pub(crate) fn learn_pid(
    role: Role,
    own: &Pid,
    known: &mut Option<Pid>,
    named: &Pids,
    fresh: &Fresh,
) -> Result<(), Stop> {
    let (ours, theirs) = match role {
        Role::Consumer => (&named.consumer, &named.provider),
        Role::Provider => (&named.provider, &named.consumer),
    };
    let fits = match known {
        None => ours == own,
        Some(known) => theirs == known && (ours == own || ours == theirs),
    };
    if !fits {
        let text = "the process ids in the message are not those of this process";
        return Err(fresh.refuse(RefusalKind::Invalid, text, text));
    }
    known.get_or_insert_with(|| theirs.clone());
    Ok(())
}

/// Whether our termination is under way or waits behind another message.
pub fn is_terminating<M: Machine>(process: &Process<M>) -> bool {
    process.termination_queued()
        || process.pending().is_some_and(|pending| pending.message == M::TERMINATION)
}

/// Withdraws the messages that a process no longer owes, such as a termination that waited behind the message that
/// ended it.
pub(crate) fn withdraw_unowed<M: Machine>(
    process: &Process<M>,
    outbox: &mut Vec<u64>,
    withdrawn: &mut Vec<u64>,
) {
    let owed = usize::from(process.pending().is_some()) + usize::from(process.termination_queued());
    if outbox.len() > owed {
        withdrawn.extend(outbox.drain(owed..));
    }
}

/// The `@id` of a termination that was decided before the partner's process id was known: it is written when that is
/// learned. A process has one termination at most.
pub(crate) fn late_termination_id(own: &Pid) -> Option<MessageId> {
    MessageId::new(&format!("{own}#termination")).ok()
}

/// A message that we owe: its place in the outbox and its text.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) key: Key,
    pub(crate) entity: Outbox,
    pub(crate) text: Value,
}

/// What is needed to owe a message.
pub(crate) struct Draft<'a> {
    pub(crate) subject: Subject,
    pub(crate) participant: &'a ParticipantId,
    pub(crate) pid: &'a Pid,
    pub(crate) number: u64,
    pub(crate) id: MessageId,
    pub(crate) url: String,
    pub(crate) text: Value,
    pub(crate) token: Option<(Pid, u32)>,
    pub(crate) sealed_token: Option<String>,
    pub(crate) terminates: bool,
}

/// Puts a message into the outbox. We give up on it after `patience`.
pub(crate) fn owe(patience: SignedDuration, now: Timestamp, draft: Draft<'_>) -> Owed {
    let deadline = now.checked_add(patience).unwrap_or(Timestamp::MAX);
    Owed {
        key: Key::Outbox(draft.participant.clone(), draft.pid.clone(), draft.number),
        entity: Outbox {
            v: 1,
            subject: draft.subject,
            message: draft.id,
            url: draft.url,
            token: draft.token,
            sealed_token: draft.sealed_token,
            terminates: draft.terminates,
            queued: now,
            deadline,
        },
        text: draft.text,
    }
}

/// The account of something that a peer did.
pub(crate) fn by_peer(peer: &Peer) -> Account {
    Account {
        participant: Some(peer.participant.clone()),
        node: Some(peer.proof.clone()),
        place: Some(peer.place.clone()),
        ..Account::default()
    }
}

/// The account of something that this node did towards a partner.
pub(crate) fn towards(participant: &ParticipantId) -> Account {
    Account { participant: Some(participant.clone()), ..Account::default() }
}

/// Whether a URL has one of the origins (scheme, host and port).
pub(crate) fn has_origin<'a>(url: &str, mut origins: impl Iterator<Item = &'a String>) -> bool {
    let Ok(parsed) = url::Url::parse(url) else { return false };
    let clean = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.fragment().is_none()
        && parsed.query().is_none();
    let origin = parsed.origin();
    clean
        && origin.is_tuple()
        && origins
            .any(|allowed| url::Url::parse(allowed).is_ok_and(|allowed| allowed.origin() == origin))
}

/// Takes the number of the pending message, the first that is owed.
pub(crate) fn first(outbox: &mut Vec<u64>) -> Option<u64> {
    (!outbox.is_empty()).then(|| outbox.remove(0))
}

/// What a partner's termination or suspension says, bounded.
pub(crate) fn told(code: &str, explanation: &Explanation) -> Failure {
    let bounded = |text: &str| text.chars().take(1000).collect::<String>();
    Failure {
        code: bounded(explanation.code.as_deref().unwrap_or(code)),
        reason: bounded(&explanation.texts().join("; ")),
        reference: None,
        by_policy: explanation.code.as_deref().is_some_and(is_policy),
    }
}

/// The code by which we tell a partner that a policy refused.
pub const POLICY_CODE: &str = "policy";

/// The code by which we tell a partner that a duty is overdue. The agreement stands, and will do again once it is made good.
pub const DUTY_CODE: &str = "duty-overdue";

/// Whether a code says that a policy refused, by its conditions or by a duty.
pub fn is_policy(code: &str) -> bool {
    matches!(code, POLICY_CODE | DUTY_CODE)
}

/// Whether a code says that a refusal is the partner's decision, which waiting does not change.
pub fn is_decided(code: &str) -> bool {
    is_policy(code) || matches!(code, ENDED_CODE | NEW_VERSION_CODE)
}
