//! Requests for data: admitted with a [`Permit`], checked again while bytes flow, cut when their ground is gone.

use std::collections::BTreeSet;

use policy::evaluate::Phase;
use protocol::id::Pid;
use protocol::transfer::{Process, State};

use crate::agreements::ENDED_CODE;
use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{Dataset, Failure, Grant, Partner, PartnerState, Transfer};
use crate::judge::{self, Uses, Way};
use crate::permit::{EndReason, Permit};
use crate::process::{POLICY_CODE, is_terminating};
use crate::pull::NEW_VERSION_CODE;
use crate::refusal::{Refusal, RefusalKind};
use crate::transfer::{self, account, finish, granted_agreement, of_peer, outbox_key};
use crate::{Account, Category, Decision, Entity, Key, LogId, Need, RecordDraft, RecordKind, View};

/// What an admitted request may read, beside its permit.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// The transfer, with its grant.
    pub transfer: Transfer,
    /// The dataset as published now.
    pub dataset: Dataset,
}

/// Judges one data request. The access token proves which transfer it is for, the connection who asks; everything that the
/// grant rests on is looked at again.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn admit(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    pid: &Pid,
    token_sha256: &str,
    attempted: bool,
) -> Decided<Admitted> {
    settle(try_admit(view, fresh, peer, pid, token_sha256, attempted))
}

fn try_admit(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    pid: &Pid,
    token_sha256: &str,
    attempted: bool,
) -> Result<Decision<Admitted>, Stop> {
    context::active_partner(view, fresh, peer)?;
    let mut transfer = of_peer(view, fresh, &peer.participant, pid)?;
    let grant = transfer.grant.clone().filter(|grant| grant.token_sha256 == token_sha256);
    let (Some(grant), Some(_)) = (grant, context::token(view, token_sha256)?) else {
        if is_renewing(&transfer) {
            let text = "the transfer is resumed with a new access token, which is on its way";
            return Err(fresh.refuse(RefusalKind::Unavailable, text, text));
        }
        if let Some(failure) = &transfer.failure {
            let kind = if failure.by_policy { RefusalKind::Policy } else { RefusalKind::NotFound };
            return Err(fresh.refuse(kind, failure.reason.clone(), failure.reason.clone()));
        }
        return Err(fresh.not_found("the access token does not open this transfer"));
    };
    let records = started(fresh, &mut transfer, attempted)?;
    permitted(view, fresh, transfer, peer.node.clone(), &grant, records)
}

/// Judges one attempt to push. Everything that the grant rests on is looked at again.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn admit_push(view: &dyn View, fresh: &Fresh, pid: &Pid) -> Decided<Admitted> {
    settle((|| {
        let Some(transfer) = context::transfer(view, pid)? else {
            return Err(fresh.not_found("the transfer is gone"));
        };
        let (Some(grant), Some(_)) = (transfer.grant.clone(), &transfer.target) else {
            return Err(fresh.not_found("no push was granted"));
        };
        // INVARIANT: bytes follow a start that the consumer has acknowledged, and no message of ours that ends it.
        if transfer.process.state() != Some(State::Started) || transfer.process.pending().is_some()
        {
            let text = "the transfer is not started at present";
            return Err(fresh.refuse(RefusalKind::IllegalState, text, text));
        }
        // Which node takes it is known only once it is dialled.
        permitted(view, fresh, transfer, BTreeSet::new(), &grant, Vec::new())
    })())
}

/// A permit for a transfer that is started, where everything that it rests on holds.
fn permitted(
    view: &dyn View,
    fresh: &Fresh,
    transfer: Transfer,
    node: BTreeSet<String>,
    grant: &Grant,
    records: Vec<RecordDraft>,
) -> Result<Decision<Admitted>, Stop> {
    let holds = holds(view, fresh, &transfer, &node)?;
    let dataset = transfer::available_dataset(view, fresh, &holds.agreement)?;
    if dataset.digests != grant.digests {
        let text = "the dataset has a new version; request a new transfer";
        return Err(fresh.refuse(RefusalKind::NewVersion, text, text));
    }
    let permit = Permit {
        transfer: transfer.pid.clone(),
        participant: transfer.participant.clone(),
        agreement: transfer.agreement.clone(),
        dataset: transfer.dataset.clone(),
        node,
        digests: grant.digests.clone(),
        generation: grant.generation,
        until: holds.until,
    };
    Ok(Decision { records, reply: Admitted { transfer, dataset }, permit: Some(permit) })
}

/// Whether a start with a token of a later generation is not acknowledged yet: who comes with the one before will have it.
fn is_renewing(transfer: &Transfer) -> bool {
    transfer.grant.as_ref().is_some_and(|grant| grant.generation > 1)
        && transfer.process.pending().is_some_and(|pending| pending.target == State::Started)
}

/// Whether data stopped for now: the transfer is suspended, or about to be.
fn is_held(process: &Process) -> bool {
    let next = process.pending().map(|pending| pending.target).or(process.state());
    matches!(next, Some(State::Suspended(_)))
}

/// Data flow in STARTED only, and not once we decided to end the transfer, whether or not the partner has heard it. A
/// request with the token of a start that is under way acknowledges that start.
fn started(
    fresh: &Fresh,
    transfer: &mut Transfer,
    attempted: bool,
) -> Result<Vec<RecordDraft>, Stop> {
    let process = if attempted { transfer.process.attempted() } else { transfer.process };
    if is_held(&process) && !is_terminating(&process) {
        // It may go on: who asks shall come again.
        let text = "the transfer is suspended";
        return Err(fresh.refuse(RefusalKind::Unavailable, text, text));
    }
    let process = process.witness(State::Started).map_err(|rejection| {
        fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), rejection.to_string())
    })?;
    if process.pending().is_some() || process.termination_queued() {
        let (kind, text) = match &transfer.failure {
            Some(failure) if failure.by_policy => (RefusalKind::Policy, failure.reason.clone()),
            Some(failure) => (RefusalKind::IllegalState, failure.reason.clone()),
            None => (RefusalKind::IllegalState, "the transfer is about to end".to_owned()),
        };
        return Err(fresh.refuse(kind, text.clone(), text));
    }
    if transfer.process.state() == Some(State::Started) {
        return Ok(Vec::new());
    }
    transfer.process = process;
    transfer.transitions += 1;
    let mut record = RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::MessageDelivered,
        Category::Communication,
    )
    .account(account(transfer, &None));
    if let Some(number) = crate::process::first(&mut transfer.outbox) {
        record = record.remove(outbox_key(transfer, number));
    }
    Ok(finish(vec![record], transfer))
}

/// What a permit rests on, when it holds.
struct Holds {
    agreement: crate::entity::Agreement,
    until: Option<jiff::Timestamp>,
}

/// Judges everything that a running transfer rests on, for the node that reads.
fn holds(
    view: &dyn View,
    fresh: &Fresh,
    transfer: &Transfer,
    node: &BTreeSet<String>,
) -> Result<Holds, Stop> {
    let now = context::trusted_time(view, fresh)?;
    let agreement = granted_agreement(view, fresh, &transfer.participant, &transfer.agreement)?;
    let away = match context::partner(view, &transfer.participant)? {
        Some(partner) if partner.state == PartnerState::Active => Ok(partner),
        Some(Partner { name, state: PartnerState::Offboarded, .. }) => {
            Err(format!("partner `{name}` was offboarded"))
        }
        Some(Partner { name, .. }) => Err(format!("partner `{name}` is suspended")),
        None => Err(format!("`{}` is not registered any more", transfer.participant)),
    };
    let partner = away.map_err(|internal| {
        let external = "this participant may not exchange data here";
        fresh.refuse(RefusalKind::Suspended, external, internal)
    })?;
    let Some(grant) = &transfer.grant else {
        return Err(fresh.not_found("nothing was granted"));
    };
    let uses = Uses::in_progress(grant, Way { format: &transfer.format, node });
    let evaluation = judge::agreed(view, &partner, &agreement, Phase::Data, uses, now)?;
    judge::permit_or_refuse(fresh, &judge::name(&agreement), &evaluation)?;
    Ok(Holds { agreement, until: evaluation.until })
}

pub(crate) fn recheck(view: &dyn View, permit: &Permit) -> Result<Option<EndReason>, Need> {
    let fresh = Fresh::none();
    let outcome = (|| {
        let Some(transfer) = context::transfer(view, &permit.transfer)? else {
            return Err(fresh.not_found("the transfer is gone"));
        };
        let current = transfer.grant.as_ref().map(|grant| grant.generation);
        if transfer.process.state() != Some(State::Started)
            || transfer.process.pending().is_some_and(|pending| pending.target != State::Started)
            || current != Some(permit.generation)
        {
            let text = match &transfer.failure {
                Some(failure) => failure.reason.clone(),
                None => "the transfer is no longer started".to_owned(),
            };
            return Err(fresh.refuse(RefusalKind::IllegalState, text.clone(), text));
        }
        let holds = holds(view, &fresh, &transfer, &permit.node)?;
        let dataset = transfer::available_dataset(view, &fresh, &holds.agreement)?;
        if dataset.digests != permit.digests {
            let text = "the dataset has a new version";
            return Err(fresh.refuse(RefusalKind::NewVersion, text, text));
        }
        // INVARIANT: an answer that changes before the instant that the permit says ends the permit; the next request
        // gets one with the right instant. One that changes later does not: at its instant the permit is decided again.
        Ok(match (holds.until, permit.until) {
            (None, _) => true,
            (Some(changes), Some(until)) => changes >= until,
            (Some(_), None) => false,
        })
    })();
    match outcome {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(EndReason {
            external: "the permit has to be decided again".to_owned(),
            internal: "the permit ends earlier than it says".to_owned(),
            terminates: false,
            by_policy: false,
        })),
        Err(Stop::Need(need)) => Err(need),
        Err(Stop::Refuse(refusal)) => Ok(Some(ended_by(refusal))),
    }
}

fn ended_by(refusal: Refusal) -> EndReason {
    EndReason {
        terminates: matches!(
            refusal.kind,
            RefusalKind::Policy
                | RefusalKind::AgreementEnded
                | RefusalKind::Suspended
                | RefusalKind::NotFound
                | RefusalKind::NewVersion
        ),
        by_policy: matches!(refusal.kind, RefusalKind::Policy),
        external: refusal.external,
        internal: refusal.internal,
    }
}

pub(crate) fn cut(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    permit: &Permit,
    reason: &EndReason,
) -> Result<Vec<RecordDraft>, Need> {
    let Some(mut transfer) = context::transfer(view, &permit.transfer)? else {
        return Ok(Vec::new());
    };
    let said = Account { reason: Some(reason.internal.clone()), ..account(&transfer, &None) };
    let cut = RecordDraft::new(
        LogId::Relation(permit.participant.clone()),
        RecordKind::TransferCut,
        Category::Processing,
    )
    .account(said)
    .essential();
    let open = transfer.process.state() == Some(State::Started)
        && transfer.process.pending().is_none_or(|pending| pending.target == State::Started);
    if !reason.terminates || !open {
        return Ok(vec![cut]);
    }
    let agreement = context::agreement(view, &permit.agreement)?;
    let dataset = context::dataset(view, &permit.dataset)?;
    let is_replaced =
        |dataset: &Dataset| dataset.is_available() && dataset.digests != permit.digests;
    let code = match agreement {
        Some(agreement) if agreement.ended.is_some() => ENDED_CODE,
        _ if reason.by_policy => POLICY_CODE,
        _ if dataset.as_ref().is_some_and(is_replaced) => NEW_VERSION_CODE,
        _ => "ended",
    };
    let failure = Failure {
        code: code.to_owned(),
        reason: reason.external.clone(),
        reference: None,
        by_policy: reason.by_policy,
    };
    // A start may be under way: the partner may have it.
    transfer.process = transfer.process.attempted();
    let mut records = vec![cut];
    match transfer::terminate_with(view, context, fresh, &mut transfer, failure) {
        Ok(record) => records.push(record),
        Err(Stop::Need(need)) => return Err(need),
        Err(Stop::Refuse(_)) => return Ok(records),
    }
    Ok(finish(records, &mut transfer))
}

/// Records that a stream ended because its partner's certificate is no longer good. The transfer goes on: with a good
/// certificate it may be read again.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn disowned(view: &dyn View, pid: &Pid, reason: &EndReason) -> Result<Decision<()>, Need> {
    let Some(transfer) = context::transfer(view, pid)? else { return Ok(Decision::answer(())) };
    let said = Account { reason: Some(reason.internal.clone()), ..account(&transfer, &None) };
    let cut = RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::TransferCut,
        Category::Processing,
    )
    .account(said)
    .essential();
    Ok(Decision::commit(vec![cut], ()))
}

/// Records what was served under a grant since the last summary.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn served(view: &dyn View, pid: &Pid, bytes: u64, requests: u64) -> Result<Decision<()>, Need> {
    let Some(mut transfer) = context::transfer(view, pid)? else { return Ok(Decision::answer(())) };
    let Some(grant) = transfer.grant.as_mut() else { return Ok(Decision::answer(())) };
    grant.served = grant.served.saturating_add(bytes);
    grant.requests = grant.requests.saturating_add(requests);
    let (total, all) = (grant.served, grant.requests);
    transfer.changed = view.now();
    let record = RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::TransferServed,
        Category::Processing,
    )
    .account(
        account(&transfer, &None)
            .fact("bytes", bytes)
            .fact("requests", requests)
            .fact("totalBytes", total)
            .fact("totalRequests", all),
    )
    .put(Key::Transfer(pid.clone()), transfer);
    Ok(Decision::commit(vec![record], ()))
}

/// After a stop without its mark: what was served since the last summary of a grant is unknown, so it is recorded as at
/// most what was granted.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn interrupted(view: &dyn View, pid: &Pid) -> Result<Decision<()>, Need> {
    let entity = view.entity(&Key::Transfer(pid.clone()))?;
    let Some(Entity::Transfer(transfer)) = entity.as_deref() else {
        return Ok(Decision::answer(()));
    };
    let Some(grant) = transfer.grant.as_ref().filter(|_| !transfer.process.is_closed()) else {
        return Ok(Decision::answer(()));
    };
    let record = RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::TransferServed,
        Category::Processing,
    )
    .account(
        account(transfer, &None)
            .fact("atMostBytes", grant.digests.size)
            .fact("totalBytes", grant.served),
    );
    Ok(Decision::commit(vec![record], ()))
}

/// What evidence of a grant is built from.
#[derive(Debug, Clone, PartialEq)]
pub struct Granted {
    /// The transfer, with its grant.
    pub transfer: Transfer,
    /// The record of the grant, whose leaf has the provenance token's SHA-256.
    pub record: crate::Position,
}

/// The grant behind an access token, for its evidence. It asks only that the token is this partner's: evidence of what was
/// granted outlives the permission to read more.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn granted(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    pid: &Pid,
    token_sha256: &str,
) -> Decided<Granted> {
    settle((|| {
        context::active_partner(view, fresh, peer)?;
        let transfer = of_peer(view, fresh, &peer.participant, pid)?;
        let hidden = || fresh.not_found("the access token does not open this transfer");
        let opens = context::token(view, token_sha256)?.is_some_and(|token| token.transfer == *pid);
        if !opens {
            return Err(hidden());
        }
        let record = view.version(&Key::Token(token_sha256.to_owned()))?.ok_or_else(hidden)?;
        Ok(Decision::answer(Granted { transfer, record }))
    })())
}

/// The record of a transfer's grant, or of its latest start, which has the same digests.
pub(crate) fn grant_record(
    view: &dyn View,
    transfer: &Transfer,
) -> Result<Option<crate::Position>, Need> {
    match &transfer.grant {
        Some(grant) => view.version(&Key::Token(grant.token_sha256.clone())),
        None => Ok(None),
    }
}
