//! Pulls: what this site wants from a partner, from the first request to verified bytes.

use policy::evaluate::is_for_applications;
use policy::explain::{self, Language};
use protocol::id::{AgreementId, DatasetId, ParticipantId, Pid};
use protocol::negotiation::State as NegotiationState;
use protocol::transfer::State as TransferState;

use crate::agreements::ENDED_CODE;
use crate::context::{self, Context, Decided, Fresh, Stop, settle};
use crate::entity::{
    Agreement, Digests, Failure, Partner, PartnerState, Pull, PullStep, Source, Transfer, Upload,
};
use crate::negotiation::Choice;
use crate::process::{DUTY_CODE, is_terminating, towards};
use crate::refusal::RefusalKind;
use crate::{
    Account, Category, Decision, Key, LogId, Need, RecordDraft, RecordKind, View, duties, judge,
    negotiation, transfer,
};

/// The code of a refusal or termination because the dataset was published again with other bytes.
pub const NEW_VERSION_CODE: &str = "new-version";

/// How often one pull goes on with a new version of its dataset.
const RENEWALS_MAX: u32 = 3;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The pull's id.
    pub id: String,
    /// The provider.
    pub participant: ParticipantId,
    /// The dataset.
    pub dataset: DatasetId,
    /// The declared purpose.
    pub purpose: Option<String>,
    /// The person who asked.
    pub person: Option<String>,
    /// Whether the provider shall push the bytes.
    pub push: bool,
}

/// How a pull begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Begun {
    /// It runs.
    Running(Pull),
    /// No agreement stands: choose an offer from the provider's catalog and ask again with it.
    NeedOffer,
}

/// Begins a pull: under a standing agreement for the same purpose, or with a negotiation for the chosen offer.
///
/// `avoid` is an agreement that did not do, such as one whose count is used up. `upload_token` makes the SHA-256 of the token
/// that a provider pushes with.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn begin(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    wanted: &Wanted,
    choice: Option<&Choice>,
    avoid: Option<&AgreementId>,
    upload_token: impl Fn(&Pid, u32) -> String,
) -> Decided<Begun> {
    settle(try_begin(view, context, fresh, wanted, choice, avoid, upload_token))
}

fn try_begin(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    wanted: &Wanted,
    choice: Option<&Choice>,
    avoid: Option<&AgreementId>,
    upload_token: impl Fn(&Pid, u32) -> String,
) -> Result<Decision<Begun>, Stop> {
    let partner = context::exchanging(view, fresh, &wanted.participant)?;
    let mut pull = Pull {
        v: 1,
        id: wanted.id.clone(),
        participant: wanted.participant.clone(),
        dataset: wanted.dataset.clone(),
        purpose: wanted.purpose.clone(),
        push: wanted.push,
        step: PullStep::Failed { failure: failure("not-begun", "not begun") },
        renewals: 0,
        created: view.now(),
        received: None,
    };
    let (step, mut records) = match (standing(view, wanted, avoid)?, choice) {
        (Some(agreement), _) => {
            let upload = upload_of(&pull, fresh, upload_token);
            let (transfer, records) =
                request_transfer(view, context, fresh, &partner, &agreement, upload)?;
            (PullStep::Transferring { transfer: transfer.pid }, records)
        }
        (None, None) => return Ok(Decision::answer(Begun::NeedOffer)),
        (None, Some(choice)) => {
            duties::unblocked(view, fresh, &wanted.participant, &wanted.dataset)?;
            let (negotiation, records) =
                negotiation::request(view, context, fresh, &partner, choice, None)
                    .map_err(Stop::Refuse)?;
            (PullStep::Negotiating { negotiation: negotiation.pid }, records)
        }
    };
    pull.step = step;
    let record = RecordDraft::new(
        LogId::Relation(wanted.participant.clone()),
        RecordKind::PullRequested,
        Category::Service,
    )
    .account(Account {
        purpose: wanted.purpose.clone(),
        ..towards(&wanted.participant)
            .fact("pull", pull.id.clone())
            .fact("dataset", pull.dataset.to_string())
    })
    .person(wanted.person.clone())
    .put(Key::Pull(pull.id.clone()), pull.clone());
    records.insert(0, record);
    Ok(Decision::commit(records, Begun::Running(pull)))
}

/// What the worker of a pull has to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Wait until one of these entities changes.
    Wait(Vec<Key>),
    /// Download from here; the transfer is started.
    Download {
        /// The transfer.
        transfer: Box<Transfer>,
        /// The agreement it rests on.
        agreement: Box<Agreement>,
        /// Where from.
        source: Source,
    },
    /// Nothing: it is received, delivered or failed.
    Closed(Pull),
}

/// Moves a pull on as far as the state allows. `upload_token` is as for [`begin`].
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn advance(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    id: &str,
    upload_token: impl Fn(&Pid, u32) -> String,
) -> Decided<Next> {
    settle((|| {
        let pull = existing(view, fresh, id)?;
        match pull.step.clone() {
            PullStep::Negotiating { negotiation: pid } => {
                let Some(negotiation) = context::negotiation(view, &pid)? else {
                    return fail_with(pull, failure("lost", "the negotiation is gone"));
                };
                match negotiation.process.state() {
                    Some(NegotiationState::Finalized) => {
                        let agreement = negotiation.agreement.as_ref();
                        transfer_next(view, context, fresh, pull, agreement, upload_token)
                    }
                    Some(NegotiationState::Terminated) => {
                        let reason = negotiation.failure.unwrap_or_else(|| {
                            failure("terminated", "the provider ended the negotiation")
                        });
                        fail_with(pull, reason)
                    }
                    // We ended it; the pull does not wait for the provider to hear so.
                    _ if is_terminating(&negotiation.process) => {
                        let reason = negotiation
                            .failure
                            .unwrap_or_else(|| failure("terminated", "the negotiation was ended"));
                        fail_with(pull, reason)
                    }
                    _ => Ok(Decision::answer(Next::Wait(vec![
                        Key::Negotiation(pid),
                        Key::Pull(pull.id),
                    ]))),
                }
            }
            PullStep::Transferring { transfer: pid } => {
                let Some(transfer) = context::transfer(view, &pid)? else {
                    return fail_with(pull, failure("lost", "the transfer is gone"));
                };
                download_next(view, context, fresh, pull, transfer)
            }
            PullStep::Received { .. } | PullStep::Delivered { .. } | PullStep::Failed { .. } => {
                Ok(Decision::answer(Next::Closed(pull)))
            }
        }
    })())
}

fn transfer_next(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    mut pull: Pull,
    agreement: Option<&AgreementId>,
    upload_token: impl Fn(&Pid, u32) -> String,
) -> Result<Decision<Next>, Stop> {
    let agreement = match agreement {
        Some(id) => context::agreement(view, id)?,
        None => None,
    };
    let Some(agreement) = agreement else {
        return fail_with(pull, failure("lost", "the negotiation ended without an agreement"));
    };
    let Some(partner) = context::partner(view, &pull.participant)? else {
        return fail_with(pull, failure("unregistered", "the partner is not registered any more"));
    };
    if partner.state == PartnerState::Offboarded {
        return fail_with(pull, failure("offboarded", "the partner was offboarded"));
    }
    if partner.state == PartnerState::Suspended {
        // It goes on when the partner is resumed.
        let wait = vec![Key::Partner(pull.participant.clone()), Key::Pull(pull.id)];
        return Ok(Decision::answer(Next::Wait(wait)));
    }
    let upload = upload_of(&pull, fresh, upload_token);
    let requested = request_transfer(view, context, fresh, &partner, &agreement, upload);
    let (transfer, mut records) = match requested {
        Ok(requested) => requested,
        Err(Stop::Refuse(refusal)) => {
            let by_policy = refusal.kind == RefusalKind::DutyOverdue;
            let code = if by_policy { DUTY_CODE } else { "not-requested" };
            return fail_with(pull, Failure { by_policy, ..failure(code, &refusal.internal) });
        }
        Err(need) => return Err(need),
    };
    pull.step = PullStep::Transferring { transfer: transfer.pid.clone() };
    let wait = Next::Wait(vec![Key::Transfer(transfer.pid), Key::Pull(pull.id.clone())]);
    if let Some(last) = records.pop() {
        records.push(last.put(Key::Pull(pull.id.clone()), pull));
    }
    Ok(Decision::commit(records, wait))
}

fn download_next(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pull: Pull,
    mut transfer: Transfer,
) -> Result<Decision<Next>, Stop> {
    if is_terminating(&transfer.process) {
        let reason =
            transfer.failure.unwrap_or_else(|| failure("terminated", "the transfer was ended"));
        return fail_with(pull, reason);
    }
    let wait = vec![Key::Transfer(transfer.pid.clone()), Key::Pull(pull.id.clone())];
    if transfer.process.pending().is_some() {
        // What we are about to suspend ourselves brings nothing more.
        return Ok(Decision::answer(Next::Wait(wait)));
    }
    if transfer.process.state() == Some(TransferState::Started) && transfer.upload.is_some() {
        // The bytes come by themselves.
        return Ok(Decision::answer(Next::Wait(wait)));
    }
    match (transfer.process.state(), transfer.source.clone()) {
        (Some(TransferState::Started), Some(source)) => {
            let Some(agreement) = context::agreement(view, &transfer.agreement)? else {
                return fail_with(pull, failure("lost", "the agreement is gone"));
            };
            Ok(Decision::answer(Next::Download {
                transfer: Box::new(transfer),
                agreement: Box::new(agreement),
                source,
            }))
        }
        (Some(TransferState::Started), None) => {
            let reason = "the provider's start does not say where the data are";
            let failure = failure("no-data-address", reason);
            let mut records = end(view, context, fresh, &mut transfer, &failure)?;
            let (record, pull) = failed(pull, failure);
            records.push(record);
            Ok(Decision::commit(records, Next::Closed(pull)))
        }
        (Some(TransferState::Terminated), _) => {
            let reason = transfer
                .failure
                .unwrap_or_else(|| failure("terminated", "the provider ended the transfer"));
            match renew(view, context, fresh, &pull, &transfer.agreement, &reason)? {
                Some((records, transfer)) => {
                    let wait = vec![Key::Transfer(transfer.pid), Key::Pull(pull.id)];
                    Ok(Decision::commit(records, Next::Wait(wait)))
                }
                None => fail_with(pull, reason),
            }
        }
        (Some(TransferState::Completed), _) => {
            let reason = "the transfer was completed before every byte was here";
            fail_with(pull, failure("completed-early", reason))
        }
        _ => Ok(Decision::answer(Next::Wait(wait))),
    }
}

/// What arrived, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Size and digests of what arrived, equal to what the provenance token names.
    pub digests: Digests,
    /// The name that the provider gave the file.
    pub file_name: String,
    /// SHA-256 of the provenance token, hexadecimal; absent where the provider gives none.
    pub provenance_sha256: Option<String>,
}

/// Records what arrived, and completes the transfer.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn received(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    id: &str,
    arrival: &Arrival,
) -> Decided<Pull> {
    settle((|| {
        let mut pull = existing(view, fresh, id)?;
        let PullStep::Transferring { transfer: pid } = pull.step.clone() else {
            return Ok(Decision::answer(pull));
        };
        let Some(mut transfer) = context::transfer(view, &pid)? else {
            return Err(fresh.not_found("the transfer is gone"));
        };
        pull.received = Some(view.now());
        pull.step = PullStep::Received {
            transfer: pid,
            digests: arrival.digests.clone(),
            file_name: arrival.file_name.clone(),
        };
        let mut record = RecordDraft::new(
            LogId::Relation(pull.participant.clone()),
            RecordKind::PullReceived,
            Category::Processing,
        )
        .account(
            transfer::account(&transfer, &pull.purpose)
                .fact("pull", pull.id.clone())
                .fact("size", arrival.digests.size)
                .fact("blake3", arrival.digests.blake3.clone()),
        )
        .digest("dataset", arrival.digests.sha256.clone())
        .put(Key::Pull(pull.id.clone()), pull.clone());
        if let Some(token) = &arrival.provenance_sha256 {
            record = record.digest("token", token.clone());
        }
        let mut records = vec![record];
        if transfer.process.pending().is_none()
            && transfer.process.state() == Some(TransferState::Started)
        {
            records.push(transfer::complete(view, context, fresh, &mut transfer)?);
            records = transfer::finish(records, &mut transfer);
        } else {
            // Suspended meanwhile, it cannot be completed, and nobody needs it any more.
            let failure = failure("received", "every byte has arrived");
            records.extend(end(view, context, fresh, &mut transfer, &failure)?);
        }
        Ok(Decision::commit(records, pull))
    })())
}

/// Whether received bytes go to the one who asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOver {
    /// They do.
    Permitted,
    /// The agreement stands, but its terms do not let this application have them. Says which clause, and why.
    NotToThisOne(String),
}

/// Whether the bytes that a pull brought may be handed over now, by what is known here: the partner, the agreement, the time
/// that its terms set, its duties, and the application that asks. `application` is the identifier of the key by which it
/// authenticated. Whether the rest of the terms hold was for the provider to judge, and is for the one who uses the data.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn hand_over(
    view: &dyn View,
    fresh: &Fresh,
    id: &str,
    application: Option<&str>,
) -> Decided<HandOver> {
    settle((|| {
        let pull = existing(view, fresh, id)?;
        let (PullStep::Received { transfer, .. } | PullStep::Delivered { transfer, .. }) =
            &pull.step
        else {
            return Err(fresh.not_found("nothing was received"));
        };
        context::exchanging(view, fresh, &pull.participant)?;
        let over = |kind, why: String| {
            let text = format!("what was received may not be used any more; {why}");
            Err(fresh.refuse(kind, text.clone(), text))
        };
        let transfer = context::transfer(view, transfer)?;
        let agreement = match transfer {
            Some(transfer) => context::agreement(view, &transfer.agreement)?,
            None => None,
        };
        let Some(agreement) = agreement else {
            return over(RefusalKind::Policy, "its agreement is not known".to_owned());
        };
        let id = &agreement.id;
        if let Some((when, why)) = &agreement.ended {
            let why = format!("agreement `{id}` ended at {when}: {why}");
            return over(RefusalKind::Policy, why);
        }
        let came = pull.received.unwrap_or(pull.created);
        if let Some(duty) = duties::deletion(view, id, came)? {
            let why =
                format!("it was recorded that they were deleted, as agreement `{id}` asks: {duty}");
            return over(RefusalKind::Policy, why);
        }
        let now = context::trusted_time(view, fresh)?;
        let Some(policy) = agreement.policy() else {
            return over(RefusalKind::Policy, format!("the terms of `{id}` cannot be read"));
        };
        let terms = explain::terms(policy, agreement.created, now, Language::English);
        let uses: Vec<_> = (terms.permitted.iter())
            .filter(|allowed| allowed.actions.iter().any(|action| action == judge::ACTION))
            .collect();
        if !uses.is_empty() && uses.iter().all(|allowed| allowed.is_over) {
            let ended = uses.iter().filter_map(|allowed| allowed.until).max();
            let ended = ended.map(|until| until.to_string()).unwrap_or_default();
            let why = format!("the time that agreement `{id}` gives for it was over at {ended}");
            return over(RefusalKind::Policy, why);
        }
        duties::no_block(view, fresh, &agreement)?;
        let Some(denied) = judge::hand_over(view, &agreement, application, now)? else {
            return Ok(Decision::answer(HandOver::Permitted));
        };
        let ground = denied.ground.map(|ground| ground.to_string()).unwrap_or_default();
        if !is_for_applications(policy) {
            return over(
                RefusalKind::Policy,
                format!("agreement `{id}` does not allow it: {ground}"),
            );
        }
        let who = application.map_or_else(
            || "one who is not known as an application".to_owned(),
            |name| format!("the application `{name}`"),
        );
        let text = format!("agreement `{id}` does not let {who} have what was received: {ground}");
        Ok(Decision::answer(HandOver::NotToThisOne(text)))
    })())
}

/// The bytes were handed over to the one who asked.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn delivered(view: &dyn View, fresh: &Fresh, id: &str) -> Decided<Pull> {
    settle((|| {
        let mut pull = existing(view, fresh, id)?;
        let PullStep::Received { transfer, digests, file_name } = pull.step.clone() else {
            return Ok(Decision::answer(pull));
        };
        pull.step =
            PullStep::Delivered { transfer, digests: Some(digests), file_name: Some(file_name) };
        let record = RecordDraft::new(
            LogId::Relation(pull.participant.clone()),
            RecordKind::PullDelivered,
            Category::Processing,
        )
        .account(towards(&pull.participant).fact("pull", pull.id.clone()))
        .put(Key::Pull(pull.id.clone()), pull.clone());
        Ok(Decision::commit(vec![record], pull))
    })())
}

/// A pull cannot go on. Where the dataset was published again, it goes on with the new version.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn fail(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    id: &str,
    failure: &Failure,
) -> Decided<()> {
    settle(try_end(view, context, fresh, id, failure, None).map(|decision| decision.map(|_| ())))
}

/// Somebody of ours does not want it any more: what runs for it is terminated, and what was received goes. A pull that has
/// ended stays as it ended.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn cancel(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    id: &str,
    reason: &str,
    person: Option<&str>,
) -> Decided<Pull> {
    settle(try_end(view, context, fresh, id, &failure("cancelled", reason), person))
}

fn try_end(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    id: &str,
    failure: &Failure,
    person: Option<&str>,
) -> Result<Decision<Pull>, Stop> {
    let pull = existing(view, fresh, id)?;
    if pull.is_closed() {
        return Ok(Decision::answer(pull));
    }
    let mut records = Vec::new();
    match &pull.step {
        PullStep::Negotiating { negotiation: pid } => {
            let (code, reason) = (&failure.code, &failure.reason);
            let ended = negotiation::terminate(view, context, fresh, pid, true, code, reason)?;
            records.extend(ended.records);
        }
        PullStep::Transferring { transfer: pid } => {
            if let Some(mut transfer) = context::transfer(view, pid)? {
                records.extend(end(view, context, fresh, &mut transfer, failure)?);
                let renewed = renew(view, context, fresh, &pull, &transfer.agreement, failure)?;
                if let Some((renewed, _)) = renewed {
                    records.extend(renewed);
                    return Ok(Decision::commit(records, pull));
                }
                // The data endpoint's refusal says as much of the agreement as a message does.
                records.extend(refused(view, &transfer, failure)?);
            }
        }
        _ => {}
    }
    let (record, pull) = failed(pull, failure.clone());
    records.push(record.person(person.map(str::to_owned)));
    Ok(Decision::commit(records, pull))
}

/// A transfer of the new version, under the same agreement, where that is why the one before ended. It is another use. `None`
/// where it ended for something else, or versions follow each other faster than they can be pulled.
fn renew(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    pull: &Pull,
    agreement: &AgreementId,
    failure: &Failure,
) -> Result<Option<(Vec<RecordDraft>, Transfer)>, Stop> {
    // The bytes of a push come by themselves: those of two versions must not meet.
    if failure.code != NEW_VERSION_CODE || pull.renewals >= RENEWALS_MAX || pull.push {
        return Ok(None);
    }
    let partner = context::partner(view, &pull.participant)?;
    let agreement = context::agreement(view, agreement)?;
    let (Some(partner), Some(agreement)) = (
        partner.filter(|partner| partner.state == PartnerState::Active),
        agreement.filter(|agreement| agreement.ended.is_none()),
    ) else {
        return Ok(None);
    };
    let (transfer, mut records) =
        match request_transfer(view, context, fresh, &partner, &agreement, None) {
            Ok(requested) => requested,
            Err(Stop::Refuse(_)) => return Ok(None),
            Err(need) => return Err(need),
        };
    let pull = Pull {
        step: PullStep::Transferring { transfer: transfer.pid.clone() },
        renewals: pull.renewals + 1,
        ..pull.clone()
    };
    if let Some(last) = records.pop() {
        records.push(last.put(Key::Pull(pull.id.clone()), pull));
    }
    Ok(Some((records, transfer)))
}

/// Ends the transfer of a pull, where it is not over or ending already. Any message of ours may have reached the provider.
fn end(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    transfer: &mut Transfer,
    failure: &Failure,
) -> Result<Vec<RecordDraft>, Stop> {
    if transfer.process.is_closed() {
        return Ok(Vec::new());
    }
    transfer.process = transfer.process.attempted();
    match transfer::terminate_with(view, context, fresh, transfer, failure.clone()) {
        Ok(record) => Ok(transfer::finish(vec![record], transfer)),
        Err(Stop::Need(need)) => Err(Stop::Need(need)),
        // A termination is on its way already.
        Err(Stop::Refuse(_)) => Ok(Vec::new()),
    }
}

/// A provider refused data under an agreement: it stands no longer, and the next pull asks for today's offers. What only
/// keeps the provider from answering now, and a duty that can still be made good, say nothing of the agreement.
pub(crate) fn refused(
    view: &dyn View,
    transfer: &Transfer,
    failure: &Failure,
) -> Result<Option<RecordDraft>, Need> {
    let is_over = failure.by_policy && failure.code != DUTY_CODE
        || matches!(failure.code.as_str(), "not-found" | "refused" | ENDED_CODE);
    if !is_over {
        return Ok(None);
    }
    let Some(mut held) = context::held(view, &transfer.participant, &transfer.dataset)? else {
        return Ok(None);
    };
    let before = held.agreements.len();
    held.agreements.retain(|(id, _)| *id != transfer.agreement);
    if held.agreements.len() == before {
        return Ok(None);
    }
    let record = RecordDraft::new(
        LogId::Relation(transfer.participant.clone()),
        RecordKind::AgreementHeld,
        Category::Service,
    )
    .account(Account {
        reason: Some(failure.reason.clone()),
        reference: failure.reference.clone(),
        ..transfer::account(transfer, &None).fact("stands", false)
    })
    .put(Key::Held(transfer.participant.clone(), transfer.dataset.clone()), held);
    Ok(Some(record))
}

/// A standing agreement for the same dataset and purpose.
fn standing(
    view: &dyn View,
    wanted: &Wanted,
    avoid: Option<&AgreementId>,
) -> Result<Option<Agreement>, Need> {
    let Some(held) = context::held(view, &wanted.participant, &wanted.dataset)? else {
        return Ok(None);
    };
    for (id, purpose) in held.agreements.iter().rev() {
        if *purpose != wanted.purpose || avoid == Some(id) {
            continue;
        }
        if let Some(agreement) = context::agreement(view, id)?
            && agreement.ended.is_none()
            && agreement.finalized
        {
            return Ok(Some(agreement));
        }
    }
    Ok(None)
}

fn request_transfer(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    agreement: &Agreement,
    upload: Option<Upload>,
) -> Result<(Transfer, Vec<RecordDraft>), Stop> {
    duties::no_block(view, fresh, agreement)?;
    let mut wanted = transfer::Wanted::default();
    if upload.is_some() {
        wanted.format = transfer::HTTP_PUSH.to_owned();
        wanted.upload = upload;
    }
    transfer::request(view, context, fresh, partner, agreement, &wanted).map_err(Stop::Refuse)
}

/// What a provider's push is for, where it shall push.
fn upload_of(
    pull: &Pull,
    fresh: &Fresh,
    upload_token: impl Fn(&Pid, u32) -> String,
) -> Option<Upload> {
    let token_sha256 = || upload_token(&fresh.pid(), transfer::UPLOAD_GENERATION);
    pull.push.then(|| Upload { pull: pull.id.clone(), token_sha256: token_sha256() })
}

fn existing(view: &dyn View, fresh: &Fresh, id: &str) -> Result<Pull, Stop> {
    context::pull(view, id)?.ok_or_else(|| {
        let text = format!("there is no pull `{id}`");
        fresh.refuse(RefusalKind::NotFound, text.clone(), text)
    })
}

fn failure(code: &str, reason: &str) -> Failure {
    Failure { code: code.to_owned(), reason: reason.to_owned(), reference: None, by_policy: false }
}

/// The record of a failed pull, and the pull.
fn failed(mut pull: Pull, failure: Failure) -> (RecordDraft, Pull) {
    let account = Account {
        reason: Some(failure.reason.clone()),
        reference: failure.reference.clone(),
        ..towards(&pull.participant).fact("pull", pull.id.clone())
    };
    pull.step = PullStep::Failed { failure };
    let record = RecordDraft::new(
        LogId::Relation(pull.participant.clone()),
        RecordKind::PullFailed,
        Category::Service,
    )
    .account(account)
    .put(Key::Pull(pull.id.clone()), pull.clone());
    (record, pull)
}

fn fail_with(pull: Pull, failure: Failure) -> Result<Decision<Next>, Stop> {
    let (record, pull) = failed(pull, failure);
    Ok(Decision::commit(vec![record], Next::Closed(pull)))
}
