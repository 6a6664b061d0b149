//! Agreements made elsewhere, and the end of agreements.
//!
//! DSP has no message that ends an agreement whose negotiation is finalized. So its transfers are terminated, which the
//! partner hears, and whatever it asks for later is refused with the code [`ENDED_CODE`].

use std::sync::Arc;

use policy::classify::{Class, classify};
use policy::odrl::Policy;
use protocol::id::{AgreementId, OfferId, ParticipantId, Pid};
use protocol::message;
use protocol::negotiation::{Process, State};
use protocol::process::Role;

use crate::context::{self, Context, Decided, Fresh, Stop, settle};
use crate::entity::{Agreement, Failure, Held, Negotiation, Partner, PeerProcess, Side};
use crate::process::towards;
use crate::refusal::RefusalKind;
use crate::{
    Account, Category, Decider, Decision, Handling, Key, LogId, Need, RecordDraft, RecordKind,
    View, derived, duties, judge, negotiation, transfer,
};

/// The code by which a partner is told that an agreement was ended.
pub const ENDED_CODE: &str = "agreement-ended";

/// An agreement that was made elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// Our side.
    pub side: Side,
    /// The agreement as both parties have it.
    pub agreement: message::Agreement,
    /// The consumer's process id of the negotiation that made it, where there was one.
    pub consumer_pid: Option<Pid>,
    /// The provider's.
    pub provider_pid: Option<Pid>,
    /// The purpose that was declared; without, every purpose that the agreement names.
    pub purpose: Option<String>,
    /// Who takes our steps in transfers under it.
    pub handling: Handling,
}

/// Takes an agreement that was made elsewhere into the state, as though it had been negotiated here: finalized. One that is
/// here already with the same content is answered as it is.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn import(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    participant: &ParticipantId,
    import: &Import,
    by: &Decider,
) -> Decided<Agreement> {
    settle(try_import(view, context, fresh, participant, import, by))
}

fn try_import(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    participant: &ParticipantId,
    import: &Import,
    by: &Decider,
) -> Result<Decision<Agreement>, Stop> {
    let partner = context::exchanging(view, fresh, participant)?;
    check_parties(context, fresh, participant, import)?;
    let (process, peer_pid) = process_ids(fresh, import);
    let behind = negotiated(view, fresh, &partner, import, &process, peer_pid)?;
    let agreement = Agreement {
        finalized: true,
        ..negotiation::agreement_entity(
            fresh,
            &behind,
            import.agreement.id(),
            import.side,
            import.agreement.document().clone(),
            import.agreement.timestamp().unwrap_or_else(|| view.now()),
        )?
    };
    if let Some(known) = context::agreement(view, &agreement.id)? {
        let is_same = known.sha256 == agreement.sha256
            && (&known.participant, known.side) == (participant, import.side)
            && known.ended.is_none();
        if is_same {
            return Ok(Decision::answer(known));
        }
        return Err(invalid(fresh, format!("there is an agreement `{}` already", known.id)));
    }
    check_unused(view, fresh, &behind)?;
    check_terms(view, fresh, &partner, import)?;
    let mut record = RecordDraft::new(
        LogId::Relation(participant.clone()),
        RecordKind::AgreementImported,
        Category::Service,
    )
    .account(Account {
        agreement: Some(agreement.id.clone()),
        policy: Some(agreement.policy_sha256.clone()),
        purpose: agreement.purpose.clone(),
        reason: by.reason.clone(),
        ..towards(participant)
            .fact("side", serde_json::to_value(import.side).unwrap_or_default())
            .fact("dataset", agreement.dataset.to_string())
            .fact("negotiation", behind.pid.to_string())
    })
    .person(by.person.clone())
    .digest("agreement", agreement.sha256.clone())
    .put(Key::Agreement(agreement.id.clone()), agreement.clone());
    if let (Side::Provider, Some(peer_pid)) = (import.side, &behind.peer_pid) {
        record = record.put(
            Key::PeerProcess(participant.clone(), peer_pid.clone()),
            PeerProcess { v: 1, pid: behind.pid.clone(), transfer: false, closed: true },
        );
    }
    if let Some(duties) = duties::arising(view, &agreement)? {
        record = duties::put(view, record, &agreement, duties)?;
    }
    if import.side == Side::Consumer {
        let key = Key::Held(participant.clone(), agreement.dataset.clone());
        let mut held = context::held(view, participant, &agreement.dataset)?
            .unwrap_or(Held { v: 1, agreements: Vec::new() });
        held.add(agreement.id.clone(), agreement.purpose.clone());
        record = record.put(key, held);
    }
    record = record.put(Key::Negotiation(behind.pid.clone()), behind);
    Ok(Decision::commit(vec![record], agreement))
}

fn invalid(fresh: &Fresh, text: String) -> Stop {
    fresh.refuse(RefusalKind::Invalid, text.clone(), text)
}

fn check_parties(
    context: &Context,
    fresh: &Fresh,
    participant: &ParticipantId,
    import: &Import,
) -> Result<(), Stop> {
    let (provider, consumer) = match import.side {
        Side::Provider => (&context.participant, participant),
        Side::Consumer => (participant, &context.participant),
    };
    let named = [
        ("assigner", import.agreement.assigner(), provider),
        ("assignee", import.agreement.assignee(), consumer),
    ];
    for (member, found, expected) in named {
        if found != expected {
            let text = format!("the agreement's {member} is `{found}` and should be `{expected}`");
            return Err(invalid(fresh, text));
        }
    }
    Ok(())
}

/// Our process id of the negotiation, and the partner's.
fn process_ids(fresh: &Fresh, import: &Import) -> (Pid, Option<Pid>) {
    let (own, theirs) = match import.side {
        Side::Provider => (&import.provider_pid, &import.consumer_pid),
        Side::Consumer => (&import.consumer_pid, &import.provider_pid),
    };
    (own.clone().unwrap_or_else(|| fresh.pid()), theirs.clone())
}

/// The negotiation that made it, as far as it is known: finalized, with nothing under way.
fn negotiated(
    view: &dyn View,
    fresh: &Fresh,
    partner: &Partner,
    import: &Import,
    pid: &Pid,
    peer_pid: Option<Pid>,
) -> Result<Negotiation, Stop> {
    let agreement = &import.agreement;
    // Uses are counted by offer. It came from none of ours, so they are counted for it alone.
    let offer = OfferId::new(agreement.id().as_str())
        .map_err(|error| invalid(fresh, format!("the agreement's id: {error}")))?;
    let role = match import.side {
        Side::Provider => Role::Provider,
        Side::Consumer => Role::Consumer,
    };
    Ok(Negotiation {
        v: 1,
        pid: pid.clone(),
        peer_pid,
        participant: partner.participant.clone(),
        process: Process::in_state(role, State::Finalized),
        peer_base: partner.dsp_endpoint.clone(),
        dataset: agreement.target().clone(),
        offer,
        terms: Arc::new(agreement.document().clone()),
        purpose: import.purpose.clone(),
        agreement: Some(agreement.id().clone()),
        accepted: Vec::new(),
        transitions: 0,
        outbox: Vec::new(),
        withdrawn: Vec::new(),
        failure: None,
        created: view.now(),
        handling: import.handling,
        awaiting: None,
        changed: view.now(),
        initiator: Role::Consumer,
        bargained: true,
        rounds: 0,
    })
}

fn check_unused(view: &dyn View, fresh: &Fresh, behind: &Negotiation) -> Result<(), Stop> {
    let (participant, pid) = (&behind.participant, &behind.pid);
    let is_ours =
        context::negotiation(view, pid)?.is_some() || context::transfer(view, pid)?.is_some();
    let is_theirs = match &behind.peer_pid {
        Some(peer_pid) => context::peer_process(view, participant, peer_pid)?.is_some(),
        None => false,
    };
    if is_ours || is_theirs {
        let text = "one of the process ids is that of another process".to_owned();
        return Err(invalid(fresh, text));
    }
    Ok(())
}

/// Validates the terms as those of an agreement that is negotiated here: no clause may be unknown, and what we provide must
/// be published, and permitted as far as that can be judged now.
fn check_terms(
    view: &dyn View,
    fresh: &Fresh,
    partner: &Partner,
    import: &Import,
) -> Result<(), Stop> {
    let agreement = &import.agreement;
    let terms = Policy::from_json(agreement.document())
        .map_err(|error| invalid(fresh, format!("the agreement's terms: {error}")))?;
    let refused = classify(&terms).into_iter().find(|clause| clause.class == Class::Refused);
    if let Some(clause) = refused {
        let text = format!("{}: `{}`: {}", clause.place, clause.clause, clause.note);
        return Err(fresh.refuse(RefusalKind::Policy, text.clone(), text));
    }
    if import.side == Side::Consumer {
        return Ok(());
    }
    let Some(dataset) = context::dataset(view, agreement.target())? else {
        let text = format!("this node publishes no dataset `{}`", agreement.target());
        return Err(fresh.refuse(RefusalKind::NotFound, text.clone(), text));
    };
    let purposes = match &import.purpose {
        Some(purpose) => vec![purpose.clone()],
        None => policy::terms::named_purposes(&terms),
    };
    let rules = judge::rules_in_force(view)?;
    let bounds = derived::bounds(&dataset, &derived::lapsed(view, [&dataset])?);
    derived::within_bounds(fresh, &rules.set, &bounds, &terms)?;
    let evaluation = judge::negotiable(&rules, partner, &dataset, &terms, &purposes, view.now());
    let name = format!("agreement {}", agreement.id());
    judge::permit_or_refuse(fresh, &name, &evaluation)
}

/// A process that an end takes along, with identifiers for its messages.
#[derive(Debug, Clone)]
pub struct Along {
    /// Our process id.
    pub pid: Pid,
    /// Identifiers of its own.
    pub fresh: Fresh,
    /// Whether an attempt to send its pending message has begun.
    pub attempted: bool,
}

/// What an end came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The agreement.
    pub agreement: Agreement,
    /// Whether it had ended before.
    pub before: bool,
    /// The transfers that were terminated with it.
    pub transfers: Vec<Pid>,
}

/// Ends an agreement: its transfers, which the caller has found, are terminated in the same commit, and permits under it end.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn end(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    id: &AgreementId,
    by: &Decider,
    open: &[Along],
) -> Decided<Ended> {
    settle(try_end(view, context, fresh, id, by, open))
}

fn try_end(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    id: &AgreementId,
    by: &Decider,
    open: &[Along],
) -> Result<Decision<Ended>, Stop> {
    let Some(mut agreement) = context::agreement(view, id)? else {
        let text = format!("there is no agreement `{id}`");
        return Err(fresh.refuse(RefusalKind::NotFound, text.clone(), text));
    };
    let before = agreement.ended.is_some();
    let reason = by.reason.clone().unwrap_or_else(|| "ended by hand".to_owned());
    let mut records = Vec::new();
    if !before {
        // One that is not finalized yet ends with its negotiation, which its partner can be told.
        let process = &agreement.negotiation;
        let ended =
            negotiation::terminate(view, context, fresh, process, true, ENDED_CODE, &reason)?;
        records.extend(ended.records);
        agreement.ended = Some((view.now(), reason.clone()));
        records.push(ending(&agreement, &reason).person(by.person.clone()));
    }
    let mut transfers = Vec::new();
    for along in open {
        let failure = ended_failure(&reason);
        let ended = transfer::terminate(
            view,
            context,
            &along.fresh,
            &along.pid,
            along.attempted,
            &failure,
        )?;
        if ended.reply {
            transfers.push(along.pid.clone());
        }
        records.extend(ended.records);
    }
    Ok(Decision::commit(records, Ended { agreement, before, transfers }))
}

fn ended_failure(reason: &str) -> Failure {
    Failure {
        code: ENDED_CODE.to_owned(),
        reason: reason.to_owned(),
        reference: None,
        by_policy: false,
    }
}

/// The record of an agreement that ended.
fn ending(agreement: &Agreement, reason: &str) -> RecordDraft {
    RecordDraft::new(
        LogId::Relation(agreement.participant.clone()),
        RecordKind::AgreementEnded,
        Category::Service,
    )
    .account(Account {
        agreement: Some(agreement.id.clone()),
        reason: Some(reason.to_owned()),
        ..towards(&agreement.participant).fact("dataset", agreement.dataset.to_string())
    })
    .put(Key::Agreement(agreement.id.clone()), agreement.clone())
    .essential()
}

/// The partner said that it has ended an agreement: for us it has ended as well.
pub(crate) fn ended_by_partner(
    view: &dyn View,
    id: &AgreementId,
    failure: &Failure,
) -> Result<Option<RecordDraft>, Need> {
    if failure.code != ENDED_CODE {
        return Ok(None);
    }
    let Some(mut agreement) = context::agreement(view, id)? else { return Ok(None) };
    if agreement.ended.is_some() {
        return Ok(None);
    }
    let reason = format!("the partner ended it: {}", failure.reason);
    agreement.ended = Some((view.now(), reason.clone()));
    Ok(Some(ending(&agreement, &reason)))
}
