//! Granting a transfer.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy::evaluate::{Phase, PreviousUse};
use protocol::id::Pid;
use protocol::message::{self, TransferRequestMessage, TransferStartMessage};
use protocol::process::Role;
use protocol::transfer::{MessageKind, Process, State};

use super::{
    ENDPOINT_TYPE, FORMATS, HTTP_PUSH, Status, account, await_decision, bearer_address, finish,
    granted_agreement, of_peer, send, status_of, with_state,
};
use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{
    Agreement, Dataset, Grant, Partner, PeerProcess, Source, Token, Transfer, Usage,
};
use crate::judge::{self, Uses, Way};
use crate::process::{Inbound, by_peer, has_origin, remember, remembered};
use crate::refusal::RefusalKind;
use crate::{
    Account, Category, Decision, Handling, Key, LogId, RecordDraft, RecordKind, View, duties,
    handling, negotiation,
};

/// What has to be signed before a transfer can be granted.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantFacts {
    /// Our process id of the transfer that would be granted.
    pub transfer: Pid,
    /// The consumer's process id of it.
    pub consumer_pid: Pid,
    /// The generation of its access token.
    pub generation: u32,
    /// Who asks.
    pub partner: Partner,
    /// Under which agreement.
    pub agreement: Agreement,
    /// For which dataset version.
    pub dataset: Dataset,
    /// The epoch of the log that the grant's record would be in.
    pub epoch: u32,
    /// The instant of the decision.
    pub now: Timestamp,
}

/// What was signed for the facts of a grant.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The facts that it was signed for.
    pub facts: GrantFacts,
    /// The provenance token (JWS, compact).
    pub provenance: String,
    /// Its SHA-256, hexadecimal.
    pub provenance_sha256: String,
    /// SHA-256 of the access token of this transfer and generation, hexadecimal.
    pub token_sha256: String,
}

/// What a transfer request comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It would be granted: sign these facts and ask again with them. Nothing was changed.
    Prepare(Box<GrantFacts>),
    /// It is granted, or was before.
    Status(Status),
}

/// Takes a transfer request. `target` is its data address with the secret sealed, of a push.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
#[expect(clippy::too_many_arguments, reason = "a decision's inputs, each of another type")]
pub fn receive_request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    request: &TransferRequestMessage,
    target: Option<&Source>,
    inbound: &Inbound,
    prepared: Option<&Prepared>,
) -> Decided<Answer> {
    settle(try_receive_request(view, context, fresh, peer, request, target, inbound, prepared))
}

#[expect(clippy::too_many_arguments, reason = "a decision's inputs, each of another type")]
fn try_receive_request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    request: &TransferRequestMessage,
    target: Option<&Source>,
    inbound: &Inbound,
    prepared: Option<&Prepared>,
) -> Result<Decision<Answer>, Stop> {
    let partner = context::active_partner(view, fresh, peer)?;
    if let Some(known) = context::peer_process(view, &peer.participant, &request.consumer_pid)? {
        return repeated(view, fresh, peer, &known, inbound);
    }
    context::room(view, context, fresh, &partner, true)?;
    let agreement = granted_agreement(view, fresh, &peer.participant, &request.agreement_id)?;
    check_shape(fresh, &partner, request, target)?;
    // EDC connectors send the address of their caller's destination with a pull too; it is nothing to us.
    let target = target.filter(|_| request.format == HTTP_PUSH);
    let handling = handling::of(agreement.handling, &partner, None);
    let consumer_pid = request.consumer_pid.clone();
    let way = Way { format: &request.format, node: node_of(peer, target) };
    let grantable =
        Grantable::find(view, fresh, fresh.pid(), consumer_pid, partner, agreement, way)?;
    if handling == Handling::Auto
        && !prepared.is_some_and(|prepared| grantable.is_prepared(prepared))
    {
        return Ok(Decision::answer(Answer::Prepare(Box::new(grantable.facts))));
    }
    let agreement = &grantable.facts.agreement;
    let mut transfer = begin(view, fresh, peer, request, agreement, handling)?;
    transfer.target = target.cloned();
    transfer.node = node_of(peer, target).clone();
    remember(&mut transfer.accepted, inbound, 1);
    let status = status_of(&transfer);
    let mut records = negotiation::used(view, agreement)?;
    let requested = requested(peer, &transfer, inbound);
    let answered = match prepared.filter(|_| handling == Handling::Auto) {
        Some(prepared) => grant(view, context, fresh, &mut transfer, prepared, grantable.usage)?,
        None => await_decision(view, context, &mut transfer),
    };
    remembered(&mut transfer.accepted, transfer.transitions);
    records.extend(finish(vec![requested, answered], &mut transfer));
    Ok(Decision::commit(records, Answer::Status(status)))
}

/// The node that fetches: the one that asks. Of a push nothing is known of the node that takes it.
fn node_of<'p>(peer: &'p Peer, target: Option<&Source>) -> &'p BTreeSet<String> {
    static UNKNOWN: BTreeSet<String> = BTreeSet::new();
    if target.is_some() { &UNKNOWN } else { &peer.node }
}

/// What a transfer would be granted on, judged now.
pub(super) struct Grantable {
    pub(super) facts: GrantFacts,
    /// The use count so far.
    pub(super) usage: Usage,
}

impl Grantable {
    /// Judges one more use of an agreement.
    pub(super) fn find(
        view: &dyn View,
        fresh: &Fresh,
        transfer: Pid,
        consumer_pid: Pid,
        partner: Partner,
        agreement: Agreement,
        way: Way<'_>,
    ) -> Result<Self, Stop> {
        let now = context::trusted_time(view, fresh)?;
        let dataset = available(view, fresh, &agreement)?;
        let usage = judge_use(view, fresh, &partner, &agreement, way, now)?;
        let facts = GrantFacts {
            transfer,
            consumer_pid,
            generation: 1,
            partner,
            agreement,
            dataset,
            epoch: context::epoch(view)?,
            now,
        };
        Ok(Self { facts, usage })
    }

    /// Whether this is what was signed for: everything but the instant is equal.
    pub(super) fn is_prepared(&self, prepared: &Prepared) -> bool {
        GrantFacts { now: self.facts.now, ..prepared.facts.clone() } == self.facts
    }
}

fn repeated(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    known: &PeerProcess,
    inbound: &Inbound,
) -> Result<Decision<Answer>, Stop> {
    let text = "consumerPid belongs to another process of yours; draw a new one";
    if !known.transfer {
        return Err(fresh.refuse(RefusalKind::Invalid, text, text));
    }
    let transfer = of_peer(view, fresh, &peer.participant, &known.pid)?;
    if transfer.accepted.first().is_none_or(|first| first.content != inbound.content) {
        return Err(fresh.refuse(RefusalKind::Invalid, text, text));
    }
    let status = Status { state: State::Requested, ..status_of(&transfer) };
    Ok(Decision::answer(Answer::Status(status)))
}

fn check_shape(
    fresh: &Fresh,
    partner: &Partner,
    request: &TransferRequestMessage,
    target: Option<&Source>,
) -> Result<(), Stop> {
    if !FORMATS.contains(&request.format.as_str()) {
        let text = format!("this node serves the formats {} only", FORMATS.join(", "));
        let internal = format!("{text}; asked for `{}`", request.format);
        return Err(fresh.refuse(RefusalKind::Invalid, text, internal));
    }
    if request.format == HTTP_PUSH {
        check_target(fresh, partner, request, target)?;
    }
    if !has_origin(request.callback_address.as_str(), partner.origins.iter()) {
        let text = "callbackAddress is not at one of your registered origins";
        let internal = format!("{text}: `{}`", request.callback_address.as_str());
        return Err(fresh.refuse(RefusalKind::Invalid, text, internal));
    }
    Ok(())
}

/// Bytes are pushed only to where we may dial, and only to an endpoint that asks for a secret of this transfer.
fn check_target(
    fresh: &Fresh,
    partner: &Partner,
    request: &TransferRequestMessage,
    target: Option<&Source>,
) -> Result<(), Stop> {
    let endpoint_type = request.data_address.as_ref().map(|address| address.endpoint_type.as_str());
    let refuse = |text: String| Err(fresh.refuse(RefusalKind::Invalid, text.clone(), text));
    let Some(target) = target else {
        return refuse(format!("the format `{HTTP_PUSH}` needs a dataAddress with an endpoint"));
    };
    if endpoint_type != Some(ENDPOINT_TYPE) {
        return refuse(format!("the endpointType of dataAddress must be `{ENDPOINT_TYPE}`"));
    }
    if target.sealed_token.is_none() {
        return refuse(
            "dataAddress has no `authorization` property, which a push needs".to_owned(),
        );
    }
    if !has_origin(&target.endpoint, partner.origins.iter()) {
        let text = "the endpoint of dataAddress is not at one of your registered origins";
        let internal =
            format!("{text}: `{}`", target.endpoint.chars().take(200).collect::<String>());
        return Err(fresh.refuse(RefusalKind::Invalid, text, internal));
    }
    Ok(())
}

/// The dataset of an agreement, where it may be served now.
pub(crate) fn available(
    view: &dyn View,
    fresh: &Fresh,
    agreement: &Agreement,
) -> Result<Dataset, Stop> {
    let Some(dataset) = context::dataset(view, &agreement.dataset)? else {
        return Err(fresh.not_found(format!("dataset `{}` does not exist", agreement.dataset)));
    };
    if let Some(when) = dataset.withdrawn {
        let text = format!("the dataset was withdrawn at {when}");
        return Err(fresh.refuse(RefusalKind::Policy, text.clone(), text));
    }
    if let Some(reason) = &dataset.damaged {
        return Err(fresh.refuse(
            RefusalKind::Unavailable,
            "the dataset cannot be served at present",
            format!("dataset `{}`: {reason}", dataset.id),
        ));
    }
    Ok(dataset)
}

/// Judges one more use under the policy as agreed. The answer is the use count so far.
fn judge_use(
    view: &dyn View,
    fresh: &Fresh,
    partner: &Partner,
    agreement: &Agreement,
    way: Way<'_>,
    now: Timestamp,
) -> Result<Usage, Stop> {
    let usage = context::usage(view, &partner.participant, &agreement.offer, &agreement.dataset)?
        .unwrap_or(Usage { v: 1, uses: 0, latest: None });
    duties::no_block(view, fresh, agreement)?;
    let previous = usage.latest.map_or(PreviousUse::Never, PreviousUse::At);
    let uses = Uses { earlier: usage.uses, previous, began: None, way };
    let evaluation = judge::agreed(view, partner, agreement, Phase::Transfer, uses, now)?;
    judge::permit_or_refuse(fresh, &judge::name(agreement), &evaluation)?;
    Ok(usage)
}

/// The transfer that a request begins; nothing is granted yet.
fn begin(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    request: &TransferRequestMessage,
    agreement: &Agreement,
    handling: Handling,
) -> Result<Transfer, Stop> {
    let process = Process::begun_by_peer(Role::Provider, MessageKind::Request)
        .map_err(|rejection| fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), ""))?;
    Ok(Transfer {
        v: 1,
        pid: fresh.pid(),
        peer_pid: Some(request.consumer_pid.clone()),
        participant: peer.participant.clone(),
        process,
        peer_base: request.callback_address.as_str().to_owned(),
        agreement: agreement.id.clone(),
        dataset: agreement.dataset.clone(),
        format: request.format.clone(),
        node: BTreeSet::new(),
        grant: None,
        source: None,
        target: None,
        upload: None,
        accepted: Vec::new(),
        transitions: 1,
        outbox: Vec::new(),
        withdrawn: Vec::new(),
        failure: None,
        created: view.now(),
        handling,
        awaiting: None,
        changed: view.now(),
    })
}

fn requested(peer: &Peer, transfer: &Transfer, inbound: &Inbound) -> RecordDraft {
    let record = RecordDraft::new(
        LogId::Relation(peer.participant.clone()),
        RecordKind::TransferRequested,
        Category::Communication,
    )
    .account(Account {
        agreement: Some(transfer.agreement.clone()),
        ..by_peer(peer).fact("transfer", transfer.pid.to_string())
    })
    .message(inbound.text.clone());
    let record = with_state(record, transfer);
    match &transfer.peer_pid {
        Some(peer_pid) => record.put(
            Key::PeerProcess(peer.participant.clone(), peer_pid.clone()),
            PeerProcess { v: 1, pid: transfer.pid.clone(), transfer: true, closed: false },
        ),
        None => record,
    }
}

/// Counts the use, grants, and owes the start: one record.
pub(super) fn grant(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
    prepared: &Prepared,
    usage: Usage,
) -> Result<RecordDraft, Stop> {
    let GrantFacts { generation, agreement, dataset, .. } = &prepared.facts;
    let (previous_use, granted) = (usage.latest, Some(view.now()));
    let usage = Usage { v: 1, uses: usage.uses.saturating_add(1), latest: granted };
    transfer.grant = Some(Grant {
        version: dataset.version.clone(),
        digests: dataset.digests.clone(),
        use_number: usage.uses,
        granted,
        previous_use,
        generation: *generation,
        token_sha256: prepared.token_sha256.clone(),
        provenance: prepared.provenance.clone(),
        provenance_sha256: prepared.provenance_sha256.clone(),
        served: 0,
        requests: 0,
    });
    let key = Key::Usage(transfer.participant.clone(), agreement.offer.clone(), dataset.id.clone());
    Ok(start(view, context, fresh, transfer)?
        .account(Account {
            policy: Some(agreement.policy_sha256.clone()),
            ..account(transfer, &agreement.purpose)
                .fact("version", dataset.version.clone())
                .fact("limitBytes", dataset.digests.size)
                .fact("use", usage.uses)
        })
        .digest("token", prepared.provenance_sha256.clone())
        .digest("dataset", dataset.digests.sha256.clone())
        .put(key, usage))
}

/// The record of a start that we send: with the token's hash, without the token.
pub(super) fn start(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
) -> Result<RecordDraft, Stop> {
    let Some(grant) = transfer.grant.clone() else {
        return Err(fresh.refuse(RefusalKind::IllegalState, "nothing was granted", "no grant"));
    };
    let id = fresh.message_id();
    // What is pushed is not asked for: nobody is told the access token.
    let is_push = transfer.target.is_some();
    let data_address = (!is_push).then(|| bearer_address(data_url(context, &transfer.pid)));
    let generation = (!is_push).then_some(grant.generation);
    let owed =
        send(view, context, fresh, transfer, MessageKind::Start, id.clone(), generation, |pids| {
            let start = TransferStartMessage { pids, data_address };
            message::to_json(&start, Some(&id))
        })?;
    let mut record = RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::TransferGranted,
        Category::Processing,
    )
    .put(
        Key::Token(grant.token_sha256.clone()),
        Token { v: 1, transfer: transfer.pid.clone(), generation: grant.generation },
    );
    if let Some(owed) = owed {
        record = record.put(owed.key, owed.entity).message(owed.text);
    }
    Ok(record)
}

/// Where the data of a transfer are served.
pub(super) fn data_url(context: &Context, pid: &Pid) -> String {
    let mut url = context.data_endpoint.clone();
    url.push('/');
    for byte in pid.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}
