//! The provider's side of a negotiation.

use jiff::Timestamp;
use policy::odrl::Policy;
use protocol::id::{AgreementId, ParticipantId};
use protocol::message::{
    self, AgreementTerms, ContractAgreementMessage, ContractNegotiationEventMessage,
    ContractRequestMessage, NegotiationEvent, RequestStage,
};
use protocol::negotiation::{MessageKind, Process, State};
use protocol::path::BaseUrl;
use protocol::process::Role;
use serde_json::Value;

use super::{Status, await_decision, finish, of_peer, send, status_of};
use crate::context::{self, Context, Decided, Fresh, Peer, Stop, settle};
use crate::entity::{Agreement, Dataset, Negotiation, Partner, PeerProcess, Rules, Side};
use crate::judge::{self, Offered};
use crate::process::{Inbound, by_peer, has_origin, remember, remembered, towards};
use crate::refusal::RefusalKind;
use crate::{
    Account, Category, Decision, Handling, Key, LogId, RecordDraft, RecordKind, View, handling,
};

/// Takes the first message of a negotiation: a request for one of our offers.
///
/// Whoever may not see the offer learns nothing: existing and not existing datasets are refused alike. An offer repeated
/// unchanged that its policy permits is agreed at once.
///
/// # Errors
/// [`crate::Need`] when an entity is not loaded.
pub fn receive_request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    request: &ContractRequestMessage,
    inbound: &Inbound,
) -> Decided<Status> {
    settle(try_receive_request(view, context, fresh, peer, request, inbound))
}

fn try_receive_request(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    peer: &Peer,
    request: &ContractRequestMessage,
    inbound: &Inbound,
) -> Result<Decision<Status>, Stop> {
    let partner = context::active_partner(view, fresh, peer)?;
    let RequestStage::Initial { callback_address } = &request.stage else {
        return Err(fresh.not_found("a counter-request without a process"));
    };
    if let Some(known) = context::peer_process(view, &peer.participant, &request.consumer_pid)? {
        return repeated(view, fresh, peer, &known, inbound);
    }
    context::room(view, context, fresh, &partner, false)?;
    if !has_origin(callback_address.as_str(), partner.origins.iter()) {
        let text = "callbackAddress is not at one of your registered origins";
        let internal = format!("{text}: `{}`", callback_address.as_str());
        return Err(fresh.refuse(RefusalKind::Invalid, text, internal));
    }
    let now = context::trusted_time(view, fresh)?;
    let asked = Asked::find(view, context, fresh, &partner, request, now)?;
    let purpose = asked.purpose(fresh, request)?;
    let terms = asked.agreed_terms(fresh, purpose.as_deref())?;
    asked.judge(context, fresh, &partner, &terms, purpose.as_deref(), now)?;

    let mut negotiation =
        asked.begin(fresh, &partner, request, callback_address, terms, purpose, now)?;
    remember(&mut negotiation.accepted, inbound, 1);
    let status = status_of(&negotiation);
    let requested = requested(peer, &negotiation, request, inbound);
    let mut records = vec![requested];
    match negotiation.handling {
        Handling::Auto => {
            records.extend(agree(view, context, fresh, &partner, &mut negotiation)?);
        }
        Handling::Manual => records.push(await_decision(view, context, &mut negotiation)),
    }
    remembered(&mut negotiation.accepted, negotiation.transitions);
    Ok(Decision::commit(finish(records, &mut negotiation), status))
}

fn requested(
    peer: &Peer,
    negotiation: &Negotiation,
    request: &ContractRequestMessage,
    inbound: &Inbound,
) -> RecordDraft {
    let account = Account {
        purpose: negotiation.purpose.clone(),
        ..by_peer(peer)
            .fact("negotiation", negotiation.pid.to_string())
            .fact("dataset", negotiation.dataset.to_string())
            .fact("offer", negotiation.offer.to_string())
    };
    RecordDraft::new(
        LogId::Relation(peer.participant.clone()),
        RecordKind::NegotiationRequested,
        Category::Communication,
    )
    .account(account)
    .message(inbound.text.clone())
    .put(
        Key::PeerProcess(peer.participant.clone(), request.consumer_pid.clone()),
        PeerProcess { v: 1, pid: negotiation.pid.clone(), transfer: false, closed: false },
    )
}

/// A first message again: the stored answer for the same one, a refusal for another under the same process id.
fn repeated(
    view: &dyn View,
    fresh: &Fresh,
    peer: &Peer,
    known: &PeerProcess,
    inbound: &Inbound,
) -> Result<Decision<Status>, Stop> {
    let taken = || {
        let text = "consumerPid belongs to another process of yours; draw a new one";
        fresh.refuse(RefusalKind::Invalid, text, text)
    };
    if known.transfer {
        return Err(taken());
    }
    let negotiation = of_peer(view, fresh, &peer.participant, &known.pid)?;
    if negotiation.accepted.first().is_none_or(|first| first.content != inbound.content) {
        return Err(taken());
    }
    // The answer of the first time: whatever happened since is told by its own messages.
    Ok(Decision::answer(Status { state: State::Requested, ..status_of(&negotiation) }))
}

/// What a request asks for, found among what the partner may see.
struct Asked {
    rules: std::sync::Arc<Rules>,
    dataset: Dataset,
    offered: Offered,
    requested: Value,
}

impl Asked {
    fn find(
        view: &dyn View,
        context: &Context,
        fresh: &Fresh,
        partner: &Partner,
        request: &ContractRequestMessage,
        now: Timestamp,
    ) -> Result<Self, Stop> {
        let rules = judge::rules_in_force(view)?;
        let target = request.offer.target();
        let hidden =
            || fresh.not_found(format!("dataset `{target}` is not visible to `{}`", partner.name));
        let provider = context.participant.as_str();
        let (dataset, offers) =
            judge::visible(view, &rules, provider, partner, target, now)?.ok_or_else(hidden)?;
        let offered = offers
            .into_iter()
            .find(|offered| offered.id == *request.offer.id())
            .ok_or_else(|| {
                fresh.not_found(format!(
                    "dataset `{target}` is visible to `{}`, offer `{}` is not",
                    partner.name,
                    request.offer.id()
                ))
            })?;
        policy::terms::same_terms(&offered.offer, request.offer.document()).map_err(
            |difference| {
                let text = format!("the requested terms are not those offered: {difference}");
                fresh.refuse(RefusalKind::Policy, text.clone(), text)
            },
        )?;
        Ok(Self { rules, dataset, offered, requested: request.offer.document().clone() })
    }

    /// The purpose that the consumer declares. An offer repeated without one declares every purpose that it names.
    fn purpose(
        &self,
        fresh: &Fresh,
        request: &ContractRequestMessage,
    ) -> Result<Option<String>, Stop> {
        let Some(declared) = &request.purpose else { return Ok(None) };
        let declared = declared.to_string();
        match policy::terms::with_declared_purpose(
            &self.offered.offer,
            &declared,
            self.rules.set.purposes(),
        ) {
            Ok(_) => Ok(Some(declared)),
            Err(error) => {
                let text = format!("policy `{}`: {error}", self.offered.policy);
                Err(fresh.refuse(RefusalKind::Policy, text.clone(), text))
            }
        }
    }

    /// The negotiation that the request begins.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a negotiation, each of another type"
    )]
    fn begin(
        &self,
        fresh: &Fresh,
        partner: &Partner,
        request: &ContractRequestMessage,
        callback_address: &BaseUrl,
        terms: Value,
        purpose: Option<String>,
        now: Timestamp,
    ) -> Result<Negotiation, Stop> {
        let process =
            Process::begun_by_peer(Role::Provider, MessageKind::Request).map_err(|rejection| {
                fresh.refuse(RefusalKind::IllegalState, rejection.to_string(), "")
            })?;
        Ok(Negotiation {
            v: 1,
            pid: fresh.pid(),
            peer_pid: Some(request.consumer_pid.clone()),
            participant: partner.participant.clone(),
            process,
            peer_base: callback_address.as_str().to_owned(),
            dataset: self.dataset.id.clone(),
            offer: self.offered.id.clone(),
            terms,
            purpose,
            agreement: None,
            accepted: Vec::new(),
            transitions: 1,
            outbox: Vec::new(),
            withdrawn: Vec::new(),
            failure: None,
            created: now,
            handling: handling::of(self.offered.handling, partner, None),
            awaiting: None,
            changed: now,
        })
    }

    fn agreed_terms(&self, fresh: &Fresh, purpose: Option<&str>) -> Result<Value, Stop> {
        let offer = policy::terms::message_offer(&self.offered.offer, self.dataset.id.as_str());
        let Some(purpose) = purpose else { return Ok(offer) };
        policy::terms::with_declared_purpose(&offer, purpose, self.rules.set.purposes()).map_err(
            |error| fresh.refuse(RefusalKind::Policy, error.to_string(), error.to_string()),
        )
    }

    /// Judges the terms as they would be agreed.
    fn judge(
        &self,
        context: &Context,
        fresh: &Fresh,
        partner: &Partner,
        terms: &Value,
        purpose: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Stop> {
        let agreement = agreement_json(
            terms,
            &fresh_agreement_id(fresh),
            &context.participant,
            partner,
            &self.dataset,
            now,
        );
        let policy = Policy::from_json(&agreement).map_err(|error| {
            fresh.refuse(RefusalKind::Policy, error.to_string(), error.to_string())
        })?;
        let purposes: Vec<String> = match purpose {
            Some(purpose) => vec![purpose.to_owned()],
            None => policy::terms::named_purposes(&policy),
        };
        let evaluation =
            judge::negotiable(&self.rules, partner, &self.dataset, &policy, &purposes, now);
        match policy::explain::refusal(&self.offered.policy, &evaluation) {
            None if evaluation.is_permit() => Ok(()),
            None => Err(fresh.refuse(RefusalKind::Policy, "denied by policy", "denied")),
            Some(explanation) => Err(fresh.refuse(
                RefusalKind::Policy,
                explanation.external,
                format!("{} (requested: {})", explanation.internal, self.requested),
            )),
        }
    }
}

/// Sends the agreement on the terms as they stand.
pub(super) fn agree(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    negotiation: &mut Negotiation,
) -> Result<Vec<RecordDraft>, Stop> {
    let now = view.now();
    let id = fresh_agreement_id(fresh);
    let terms = AgreementTerms {
        id: id.clone(),
        target: negotiation.dataset.clone(),
        assigner: context.participant.clone(),
        assignee: partner.participant.clone(),
        timestamp: now,
    };
    let body = message::Agreement::new(&terms, &negotiation.terms).map_err(|error| {
        fresh.refuse(RefusalKind::Policy, "the terms cannot be agreed", error.to_string())
    })?;
    let agreement =
        agreement_entity(fresh, negotiation, &id, Side::Provider, body.document().clone(), now)?;
    let (kind, message_id) = (MessageKind::Agreement, fresh.message_id());
    let owed = send(view, context, fresh, negotiation, kind, message_id.clone(), |pids| {
        message::to_json(&ContractAgreementMessage { pids, agreement: body }, Some(&message_id))
    })?;
    negotiation.agreement = Some(id.clone());
    let mut record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationAgreed,
        Category::Service,
    )
    .account(Account {
        agreement: Some(id.clone()),
        policy: Some(agreement.policy_sha256.clone()),
        purpose: agreement.purpose.clone(),
        ..towards(&negotiation.participant).fact("negotiation", negotiation.pid.to_string())
    })
    .digest("agreement", agreement.sha256.clone())
    .put(Key::Agreement(id), agreement);
    if let Some(owed) = owed {
        record = record.put(owed.key, owed.entity).message(owed.text);
    }
    Ok(vec![record])
}

/// Puts the agreement in force after the consumer verified it.
pub(super) fn finalize(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    negotiation: &mut Negotiation,
) -> Result<Vec<RecordDraft>, Stop> {
    let (kind, id) = (MessageKind::Finalized, fresh.message_id());
    let owed = send(view, context, fresh, negotiation, kind, id.clone(), |pids| {
        let event = NegotiationEvent::Finalized;
        message::to_json(&ContractNegotiationEventMessage { pids, event }, Some(&id))
    })?;
    let mut record = RecordDraft::new(
        LogId::Relation(negotiation.participant.clone()),
        RecordKind::NegotiationFinalized,
        Category::Service,
    );
    let mut account =
        towards(&negotiation.participant).fact("negotiation", negotiation.pid.to_string());
    if let Some(agreement_id) = &negotiation.agreement
        && let Some(mut agreement) = context::agreement(view, agreement_id)?
    {
        agreement.finalized = true;
        account.agreement = Some(agreement_id.clone());
        record = record.put(Key::Agreement(agreement_id.clone()), agreement);
    }
    record = record.account(account);
    if let Some(owed) = owed {
        record = record.put(owed.key, owed.entity).message(owed.text);
    }
    Ok(vec![record])
}

/// The entity of an agreement.
pub(crate) fn agreement_entity(
    fresh: &Fresh,
    negotiation: &Negotiation,
    id: &AgreementId,
    side: Side,
    terms: Value,
    created: Timestamp,
) -> Result<Agreement, Stop> {
    let digest = |value: &Value| {
        protocol::json::content_digest(value).map(hex::encode).map_err(|error| {
            fresh.refuse(
                RefusalKind::Invalid,
                "the agreement has no canonical form",
                error.to_string(),
            )
        })
    };
    let sha256 = digest(&terms)?;
    let policy_sha256 = digest(&rules_only(&terms))?;
    Ok(Agreement {
        v: 1,
        id: id.clone(),
        side,
        participant: negotiation.participant.clone(),
        dataset: negotiation.dataset.clone(),
        offer: negotiation.offer.clone(),
        terms,
        sha256,
        policy_sha256,
        purpose: negotiation.purpose.clone(),
        negotiation: negotiation.pid.clone(),
        created,
        finalized: false,
        handling: negotiation.handling,
        ended: None,
    })
}

/// The rules of terms, without parties, identifier and time.
fn rules_only(terms: &Value) -> Value {
    let mut rules = serde_json::Map::new();
    for name in ["permission", "prohibition", "obligation", "profile", "conflict"] {
        if let Some(member) = terms.get(name) {
            rules.insert(name.to_owned(), member.clone());
        }
    }
    Value::Object(rules)
}

fn fresh_agreement_id(fresh: &Fresh) -> AgreementId {
    AgreementId::from_uuid(fresh.agreement)
}

fn agreement_json(
    terms: &Value,
    id: &AgreementId,
    provider: &ParticipantId,
    partner: &Partner,
    dataset: &Dataset,
    now: Timestamp,
) -> Value {
    policy::terms::agreement(
        terms,
        &policy::terms::Parties {
            id: id.as_str(),
            assigner: provider.as_str(),
            assignee: partner.participant.as_str(),
            target: dataset.id.as_str(),
            timestamp: now,
        },
    )
}
