//! What a provider stands for: its published offers, terms that its administrator gives, and whether they may be agreed.

use std::sync::Arc;

use jiff::Timestamp;
use policy::odrl::Policy;
use policy::terms::Bound;
use protocol::id::{AgreementId, DatasetId, OfferId, ParticipantId};
use serde_json::Value;

use super::readable;
use crate::context::{self, Context, Fresh, Stop};
use crate::entity::{Dataset, Negotiation, Partner, Rules};
use crate::judge::{self, Offered};
use crate::refusal::RefusalKind;
use crate::{View, derived, duties};

/// An offer that we publish and a partner may see, with its dataset and the rules behind it.
pub(super) struct Standing {
    rules: Arc<Rules>,
    pub(super) dataset: Dataset,
    pub(super) offered: Offered,
    /// What bounds any terms, where the dataset was made from received data.
    bounds: Vec<Bound>,
}

impl Standing {
    /// The offer, or any offer of the dataset where none is named. What may not be seen and what does not exist are
    /// refused alike; what may be seen is not agreed upon while a duty of the partner on it is overdue.
    pub(super) fn find(
        view: &dyn View,
        context: &Context,
        fresh: &Fresh,
        partner: &Partner,
        target: &DatasetId,
        offer: Option<&OfferId>,
        now: Timestamp,
    ) -> Result<Self, Stop> {
        let rules = judge::rules_in_force(view)?;
        let hidden =
            || fresh.not_found(format!("dataset `{target}` is not visible to `{}`", partner.name));
        let provider = context.participant.as_str();
        let (dataset, offers) =
            judge::visible(view, &rules, provider, partner, target, now)?.ok_or_else(hidden)?;
        let wanted = |offered: &Offered| offer.is_none_or(|offer| offered.id == *offer);
        let offered = offers.into_iter().find(wanted).ok_or_else(|| {
            let offer = offer.map(ToString::to_string).unwrap_or_default();
            fresh.not_found(format!(
                "dataset `{target}` is visible to `{}`, offer `{offer}` is not",
                partner.name
            ))
        })?;
        duties::unblocked(view, fresh, &partner.participant, target)?;
        let bounds = derived::bounds(&dataset, &derived::lapsed(view, [&dataset])?);
        Ok(Self { rules, dataset, offered, bounds })
    }

    /// How terms differ from the offer as it is published.
    pub(super) fn differs(&self, terms: &Value) -> Option<String> {
        policy::terms::same_terms(&self.offered.offer, terms)
            .err()
            .map(|difference| format!("the requested terms are not those offered: {difference}"))
    }

    /// The published terms, narrowed to a declared purpose. An offer repeated without one declares every purpose that it
    /// names.
    pub(super) fn terms(&self, fresh: &Fresh, purpose: Option<&str>) -> Result<Value, Stop> {
        let offer = policy::terms::message_offer(&self.offered.offer, self.dataset.id.as_str());
        self.narrow(fresh, &offer, purpose)
    }

    /// Terms, narrowed to a declared purpose.
    pub(super) fn narrow(
        &self,
        fresh: &Fresh,
        terms: &Value,
        purpose: Option<&str>,
    ) -> Result<Value, Stop> {
        let Some(purpose) = purpose else { return Ok(terms.clone()) };
        policy::terms::with_declared_purpose(terms, purpose, self.rules.set.purposes()).map_err(
            |error| {
                let text = format!("policy `{}`: {error}", self.offered.policy);
                fresh.refuse(RefusalKind::Policy, text.clone(), text)
            },
        )
    }

    /// Judges terms as they would be agreed now.
    pub(super) fn judge(
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
        derived::within_bounds(fresh, &self.rules.set, &self.bounds, &policy)?;
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
                format!("{} (terms: {terms})", explanation.internal),
            )),
        }
    }
    /// Terms that our administrator gives, readable and narrowed to the declared purpose.
    pub(super) fn given(
        &self,
        fresh: &Fresh,
        terms: &Value,
        purpose: Option<&str>,
    ) -> Result<Value, Stop> {
        readable(fresh, terms)?;
        let offer = policy::terms::message_offer(terms, self.dataset.id.as_str());
        self.narrow(fresh, &offer, purpose)
    }
}

/// The offer that a negotiation rests on, while it is published; any offer of the dataset where our administrator gave
/// terms of its own.
pub(super) fn published(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    negotiation: &Negotiation,
    now: Timestamp,
) -> Result<Standing, Stop> {
    let offer = (!negotiation.bargained).then_some(&negotiation.offer);
    Standing::find(view, context, fresh, partner, &negotiation.dataset, offer, now)
}

/// Whether the terms as they stand may be agreed now: they are ours, still offered, and their policy permits it.
///
/// Terms that the partner proposed become ours when `confirmed` repeats them.
pub(super) fn agreeable(
    view: &dyn View,
    context: &Context,
    fresh: &Fresh,
    partner: &Partner,
    negotiation: &mut Negotiation,
    confirmed: Option<&Value>,
) -> Result<(), Stop> {
    let now = context::trusted_time(view, fresh)?;
    let purpose = negotiation.purpose.clone();
    if let Some(confirmed) = confirmed {
        policy::terms::same_terms(&negotiation.terms, confirmed).map_err(|difference| {
            let text = format!("the terms given are not those that stand: {difference}");
            fresh.refuse(RefusalKind::Invalid, text.clone(), text)
        })?;
        negotiation.bargained = true;
    }
    let standing = published(view, context, fresh, partner, negotiation, now)?;
    if !negotiation.bargained {
        let published = standing.terms(fresh, purpose.as_deref())?;
        policy::terms::same_terms(&published, &negotiation.terms).map_err(|difference| {
            let text = format!(
                "the terms that stand are the partner's, not those published: {difference}"
            );
            let help = format!(
                "{text}; offer the published ones, or agree with these terms given in the command"
            );
            fresh.refuse(RefusalKind::Policy, text, help)
        })?;
    }
    standing.judge(context, fresh, partner, &negotiation.terms, purpose.as_deref(), now)
}

pub(super) fn fresh_agreement_id(fresh: &Fresh) -> AgreementId {
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

/// The id of an offer on terms that our administrator gives: they are not those of the published offer.
pub(super) fn fresh_offer_id(fresh: &Fresh) -> OfferId {
    OfferId::from_uuid(fresh.agreement)
}
