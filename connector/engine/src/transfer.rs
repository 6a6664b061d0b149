//! Transfer processes, both roles.
//!
//! The provider judges the agreed policy once more, counts the use, and grants: the grant, its token's hash and the
//! provenance token are one commit, before the start is sent and before any byte flows.

mod commands;
mod delivery;
mod messages;
mod provider;
mod resumption;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use protocol::id::{AgreementId, MessageId, ParticipantId, Pid};
use protocol::message::{
    self, DataAddress, EndpointProperty, Explanation, Pids, TransferCompletionMessage,
    TransferRequestMessage, TransferTerminationMessage,
};
use protocol::path::{BaseUrl, Endpoint};
use protocol::process::{Delivery, Role};
use protocol::transfer::{MessageKind, Process, State};
use serde_json::Value;

pub use commands::{Acted, Order, Step, act, begin, steps};
pub(crate) use delivery::{delivered, undeliverable};
pub use messages::{Message, receive};
pub(crate) use provider::available as available_dataset;
pub use provider::{Answer, GrantFacts, Prepared, receive_request};

use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{Agreement, Failure, Partner, PeerProcess, Subject, Transfer, Upload};
use crate::judge::Way;
use crate::process::{Draft, Owed, late_termination_id, owe, towards, withdraw_unowed};
use crate::refusal::RefusalKind;
use crate::{
    Account, Awaiting, Category, Decision, Handling, Key, LogId, Need, RecordDraft, RecordKind,
    Refusal, View, handling,
};

/// The transfer format in which the consumer asks for the bytes over HTTPS.
pub const HTTP_PULL: &str = "HttpData-PULL";
/// The transfer format in which the provider sends the bytes over HTTPS to an endpoint that the consumer names.
pub const HTTP_PUSH: &str = "HttpData-PUSH";
/// The transfer formats that this node serves and asks for.
pub const FORMATS: [&str; 2] = [HTTP_PULL, HTTP_PUSH];
/// The endpoint type of a data address that is read or written with HTTP and a bearer token.
pub const ENDPOINT_TYPE: &str = "https://w3id.org/idsa/v4.1/HTTP";

/// What a status request or a first answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The consumer's process id, where known.
    pub consumer_pid: Option<Pid>,
    /// The provider's process id, where known.
    pub provider_pid: Option<Pid>,
    /// The acknowledged state.
    pub state: State,
    /// Whether a message of ours is under way that may change it.
    pub pending: bool,
}

/// The transfer that a partner asks about.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn status(view: &dyn View, fresh: &Fresh, peer: &Peer, pid: &Pid) -> Decided<Status> {
    settle((|| {
        context::active_partner(view, fresh, peer)?;
        Ok(Decision::answer(status_of(&of_peer(view, fresh, &peer.participant, pid)?)))
    })())
}

/// How a consumer wants data to come.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The transfer format.
    pub format: String,
    /// Where the provider shall push the data, without secrets: those are filled in when the message is sent.
    pub data_address: Option<DataAddress>,
    /// The secret of `data_address`, sealed for this process.
    pub sealed_token: Option<String>,
    /// What the provider's push to our own upload endpoint is for; `data_address` is then made from it.
    pub upload: Option<Upload>,
    /// Who takes our steps, where the command says so.
    pub handling: Option<Handling>,
}

impl Default for Wanted {
    /// We pull, and handle the transfer as its agreement says.
    fn default() -> Self {
        Self {
            format: HTTP_PULL.to_owned(),
            data_address: None,
            sealed_token: None,
            upload: None,
            handling: None,
        }
    }
}

/// Begins a transfer as consumer: the request, owed to the provider.
///
/// # Errors
/// A refusal where it cannot be requested.
pub fn request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    agreement: &Agreement,
    wanted: &Wanted,
) -> Result<(Transfer, Vec<RecordDraft>), Refusal> {
    let invalid = |reason: String| {
        Refusal::new(RefusalKind::Invalid, reason.clone(), reason, fresh.reference)
    };
    let process = Process::begin(Role::Consumer, MessageKind::Request)
        .map_err(|rejection| invalid(rejection.to_string()))?;
    let base = BaseUrl::new(&partner.dsp_endpoint)
        .map_err(|error| invalid(format!("partner `{}`: {error}", partner.name)))?;
    let callback_address =
        BaseUrl::new(&context.dsp_endpoint).map_err(|error| invalid(error.to_string()))?;
    let pid = fresh.pid();
    let data_address = match &wanted.upload {
        Some(_) => Some(bearer_address(upload_url(context, &pid))),
        None => wanted.data_address.clone(),
    };
    let text = message::to_json(
        &TransferRequestMessage {
            consumer_pid: pid.clone(),
            agreement_id: agreement.id.clone(),
            format: wanted.format.clone(),
            callback_address,
            data_address,
        },
        Some(&fresh.message_id()),
    );
    let owed = owe(
        context.delivery_deadline,
        view.now(),
        Draft {
            subject: Subject::Transfer,
            participant: &partner.participant,
            pid: &pid,
            number: 1,
            id: fresh.message_id(),
            url: base.endpoint(Endpoint::TransferRequest).to_string(),
            text,
            token: wanted.upload.is_some().then(|| (pid.clone(), UPLOAD_GENERATION)),
            sealed_token: wanted.sealed_token.clone(),
            terminates: false,
        },
    );
    let transfer = Transfer {
        v: 1,
        pid,
        peer_pid: None,
        participant: partner.participant.clone(),
        process,
        peer_base: partner.dsp_endpoint.clone(),
        agreement: agreement.id.clone(),
        dataset: agreement.dataset.clone(),
        format: wanted.format.clone(),
        node: BTreeSet::new(),
        grant: None,
        source: None,
        target: None,
        upload: wanted.upload.clone(),
        accepted: Vec::new(),
        transitions: 1,
        outbox: vec![1],
        withdrawn: Vec::new(),
        failure: None,
        created: view.now(),
        handling: handling::of(agreement.handling, partner, wanted.handling),
        awaiting: None,
        changed: view.now(),
    };
    let record = requested(&transfer, agreement, owed);
    Ok((transfer, vec![record]))
}

fn requested(transfer: &Transfer, agreement: &Agreement, owed: Owed) -> RecordDraft {
    RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::TransferRequested,
        Category::Communication,
    )
    .account(account(transfer, &agreement.purpose))
    .put(owed.key, owed.entity)
    .message(owed.text)
    .put(Key::Transfer(transfer.pid.clone()), transfer.clone())
}

/// The generation of an upload token: a transfer has one.
pub const UPLOAD_GENERATION: u32 = 1;

/// An endpoint of ours that is opened with a bearer token. The secret is filled in when the message is sent.
fn bearer_address(endpoint: String) -> DataAddress {
    DataAddress {
        endpoint_type: ENDPOINT_TYPE.to_owned(),
        endpoint: Some(endpoint),
        endpoint_properties: vec![EndpointProperty::new("authType", "bearer")],
    }
}

/// Where a provider pushes the data of a transfer of ours to.
fn upload_url(context: &Context, pid: &Pid) -> String {
    format!("{}/upload", provider::data_url(context, pid))
}

/// Completes a transfer from our side.
pub(crate) fn complete(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
) -> Result<RecordDraft, Stop> {
    let id = fresh.message_id();
    let owed =
        send(view, context, fresh, transfer, MessageKind::Completion, id.clone(), None, |pids| {
            message::to_json(&TransferCompletionMessage { pids }, Some(&id))
        })?;
    let record = RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::TransferCompleted,
        Category::Service,
    )
    .account(account(transfer, &None));
    Ok(match owed {
        Some(owed) => record.put(owed.key, owed.entity).message(owed.text),
        None => record,
    })
}

/// Terminates from our side, with code and reason for the partner. The record is essential: it must be written when the
/// disk is full.
pub(crate) fn terminate_with(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
    failure: Failure,
) -> Result<RecordDraft, Stop> {
    let id = fresh.second_message_id();
    let explanation = Explanation::new(&failure.code, &failure.reason);
    let owed =
        send(view, context, fresh, transfer, MessageKind::Termination, id.clone(), None, |pids| {
            message::to_json(&TransferTerminationMessage { pids, explanation }, Some(&id))
        })?;
    transfer.failure.get_or_insert(failure);
    let record = termination_record(transfer);
    Ok(match owed {
        Some(owed) => record.put(owed.key, owed.entity).message(owed.text),
        None => record,
    })
}

fn termination_record(transfer: &Transfer) -> RecordDraft {
    let reason = transfer.failure.as_ref().map(|failure| failure.reason.clone());
    RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::TransferTerminated,
        Category::Service,
    )
    .account(Account { reason, ..account(transfer, &None) })
    .essential()
}

/// Ends a transfer from our side by a decision of its own.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn terminate(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pid: &Pid,
    attempted: bool,
    failure: &Failure,
) -> Result<Decision<bool>, Need> {
    let Some(mut transfer) = context::transfer(view, pid)? else {
        return Ok(Decision::answer(false));
    };
    if transfer.process.is_closed() {
        return Ok(Decision::answer(false));
    }
    if attempted {
        transfer.process = transfer.process.attempted();
    }
    match terminate_with(view, context, fresh, &mut transfer, failure.clone()) {
        Ok(record) => Ok(Decision::commit(finish(vec![record], &mut transfer), true)),
        Err(Stop::Need(need)) => Err(need),
        Err(Stop::Refuse(_)) => Ok(Decision::answer(false)),
    }
}

/// The transfer under our process id, where it is one with this partner.
pub(crate) fn of_peer(
    view: &dyn View,
    fresh: &Fresh,
    participant: &ParticipantId,
    pid: &Pid,
) -> Result<Transfer, Stop> {
    match context::transfer(view, pid)? {
        Some(transfer) if transfer.participant == *participant => Ok(transfer),
        Some(transfer) => Err(fresh.not_found(format!(
            "`{participant}` asked for transfer `{pid}` of `{}`",
            transfer.participant
        ))),
        None => Err(fresh.not_found(format!("there is no transfer `{pid}`"))),
    }
}

fn status_of(transfer: &Transfer) -> Status {
    let (consumer_pid, provider_pid) = pids(transfer);
    Status {
        consumer_pid,
        provider_pid,
        state: transfer.process.state().unwrap_or(State::Requested),
        pending: transfer.process.pending().is_some(),
    }
}

/// Consumer's and provider's process id, as far as known.
fn pids(transfer: &Transfer) -> (Option<Pid>, Option<Pid>) {
    let ours = Some(transfer.pid.clone());
    match transfer.process.role() {
        Role::Consumer => (ours, transfer.peer_pid.clone()),
        Role::Provider => (transfer.peer_pid.clone(), ours),
    }
}

/// Sends a message of this transfer: pending in the process, numbered, in the outbox. Nothing is owed where the partner
/// does not know of the transfer.
#[expect(clippy::too_many_arguments, reason = "a message's parts, each of another type")]
fn send(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
    kind: MessageKind,
    id: MessageId,
    token: Option<u32>,
    text: impl FnOnce(Pids) -> Value,
) -> Result<Option<Owed>, Stop> {
    let sent = transfer.process.send(kind).map_err(|rejection| {
        fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), rejection.to_string())
    })?;
    transfer.process = sent.process;
    transfer.changed = view.now();
    transfer.awaiting = None;
    if sent.withdrew_own {
        transfer.withdrawn.append(&mut transfer.outbox);
    }
    if sent.delivery == Delivery::Unneeded {
        transfer.transitions += 1;
        return Ok(None);
    }
    let (patience, now) = (context.delivery_deadline, view.now());
    if let Some(owed) = owe_to(transfer, patience, now, kind, id, token, text) {
        return Ok(Some(owed));
    }
    match (kind, sent.delivery) {
        // It is written when the partner's process id is learned.
        (MessageKind::Termination, Delivery::Queued) => {}
        (MessageKind::Termination, _) => transfer.process = ended(transfer, State::Terminated),
        _ => {
            let text = "the process id of the partner is not known";
            return Err(fresh.refuse(RefusalKind::IllegalState, text, text));
        }
    }
    Ok(None)
}

/// The provider's start is left to a person or an application.
fn await_decision(view: &dyn View, context: &Context, transfer: &mut Transfer) -> RecordDraft {
    let awaiting = Awaiting::new(view.now(), context.approval_deadline);
    transfer.awaiting = Some(awaiting);
    RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::DecisionAwaited,
        Category::Service,
    )
    .account(account(transfer, &None).fact("deadline", awaiting.deadline.to_string()))
}

/// Puts a message into the outbox, where the partner's process id is known.
fn owe_to(
    transfer: &mut Transfer,
    patience: SignedDuration,
    now: Timestamp,
    kind: MessageKind,
    id: MessageId,
    token: Option<u32>,
    text: impl FnOnce(Pids) -> Value,
) -> Option<Owed> {
    let (Some(consumer), Some(provider)) = pids(transfer) else { return None };
    let base = BaseUrl::new(&transfer.peer_base).ok()?;
    let pids = Pids { consumer, provider };
    let peer_pid = match transfer.process.role() {
        Role::Consumer => &pids.provider,
        Role::Provider => &pids.consumer,
    };
    let url = base.endpoint(Endpoint::TransferMessage(peer_pid, kind)).to_string();
    transfer.transitions += 1;
    transfer.outbox.push(transfer.transitions);
    let draft = Draft {
        subject: Subject::Transfer,
        participant: &transfer.participant,
        pid: &transfer.pid,
        number: transfer.transitions,
        id,
        url,
        text: text(pids),
        token: token.map(|generation| (transfer.pid.clone(), generation)),
        sealed_token: None,
        terminates: kind == MessageKind::Termination,
    };
    Some(owe(patience, now, draft))
}

/// Writes a termination that was decided before the partner's process id was known. Where that cannot be told any more,
/// the transfer is over by itself.
fn late_termination(
    transfer: &mut Transfer,
    patience: SignedDuration,
    now: Timestamp,
) -> Option<RecordDraft> {
    let pending = transfer.process.pending().map(|pending| pending.message);
    if pending != Some(MessageKind::Termination) || !transfer.outbox.is_empty() {
        return None;
    }
    let explanation = match &transfer.failure {
        Some(failure) => Explanation::new(&failure.code, &failure.reason),
        None => Explanation::default(),
    };
    let owed = late_termination_id(&transfer.pid).and_then(|id| {
        owe_to(transfer, patience, now, MessageKind::Termination, id.clone(), None, |pids| {
            message::to_json(&TransferTerminationMessage { pids, explanation }, Some(&id))
        })
    });
    let record = termination_record(transfer);
    Some(match owed {
        Some(owed) => record.put(owed.key, owed.entity).message(owed.text),
        None => {
            transfer.process = ended(transfer, State::Terminated);
            record
        }
    })
}

fn ended(transfer: &Transfer, state: State) -> Process {
    Process::in_state(transfer.process.role(), state)
}

/// The record with the transfer as it is after it: each record of a decision says so, for who follows them one by one.
fn with_state(record: RecordDraft, transfer: &Transfer) -> RecordDraft {
    record.put(Key::Transfer(transfer.pid.clone()), transfer.clone())
}

/// Puts the transfer into the last record and removes what it no longer owes. When it is over its token opens nothing any
/// more.
pub(crate) fn finish(mut records: Vec<RecordDraft>, transfer: &mut Transfer) -> Vec<RecordDraft> {
    let Some(mut last) = records.pop() else { return records };
    withdraw_unowed(&transfer.process, &mut transfer.outbox, &mut transfer.withdrawn);
    for number in std::mem::take(&mut transfer.withdrawn) {
        last = last.remove(outbox_key(transfer, number));
    }
    if transfer.process.is_closed() {
        transfer.awaiting = None;
    }
    let key = Key::Transfer(transfer.pid.clone());
    last.writes.retain(|write| write.key != key);
    last = with_state(last, transfer);
    if transfer.process.is_closed() {
        // Only what the partner began is found by its process id.
        if transfer.process.role() == Role::Provider
            && let Some(peer_pid) = &transfer.peer_pid
        {
            last = last.put(
                Key::PeerProcess(transfer.participant.clone(), peer_pid.clone()),
                PeerProcess { v: 1, pid: transfer.pid.clone(), transfer: true, closed: true },
            );
        }
        if let Some(grant) = &transfer.grant {
            last = last.remove(Key::Token(grant.token_sha256.clone()));
        }
    }
    records.push(last);
    records
}

pub(crate) fn outbox_key(transfer: &Transfer, number: u64) -> Key {
    Key::Outbox(transfer.participant.clone(), transfer.pid.clone(), number)
}

impl Transfer {
    /// How the data are fetched by the node that asked for the transfer.
    pub(crate) fn way(&self) -> Way<'_> {
        Way { format: &self.format, node: &self.node }
    }
}

/// The account of something that concerns a transfer.
pub(crate) fn account(transfer: &Transfer, purpose: &Option<String>) -> Account {
    Account {
        agreement: Some(transfer.agreement.clone()),
        purpose: purpose.clone(),
        ..towards(&transfer.participant)
            .fact("transfer", transfer.pid.to_string())
            .fact("dataset", transfer.dataset.to_string())
    }
}

/// An agreement under which this partner may ask for data from us now.
pub(crate) fn granted_agreement(
    view: &dyn View,
    fresh: &Fresh,
    participant: &ParticipantId,
    id: &AgreementId,
) -> Result<Agreement, Stop> {
    let Some(agreement) = context::agreement(view, id)? else {
        return Err(fresh.not_found(format!("there is no agreement `{id}`")));
    };
    if agreement.participant != *participant || agreement.side != crate::entity::Side::Provider {
        return Err(fresh.not_found(format!("agreement `{id}` is not one of `{participant}`")));
    }
    if let Some((when, reason)) = &agreement.ended {
        let text = format!("the agreement ended at {when}: {reason}");
        return Err(fresh.refuse(RefusalKind::AgreementEnded, text.clone(), text));
    }
    if !agreement.finalized {
        let text = "the agreement is not finalized";
        return Err(fresh.refuse(RefusalKind::IllegalState, text, text));
    }
    Ok(agreement)
}
