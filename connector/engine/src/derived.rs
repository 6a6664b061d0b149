//! Datasets that were made from received data: what the agreements on those let us offer (`nextPolicy`, IDS class 17).
//!
//! The bounds are taken from the agreements when the dataset is published and are part of it. Terms that are not shown to be
//! within the bounds of every parent are neither offered nor agreed upon, whichever way they came about: by a policy of the
//! set in force, by a counter-offer, or by an agreement made elsewhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use policy::odrl::Policy;
use policy::set::RuleSet;
use policy::terms::{self, Bound, Named};
use protocol::id::{AgreementId, DatasetId, ParticipantId};
use serde_json::Value;

use crate::context::{self, Fresh, Stop};
use crate::entity::{Agreement, Dataset, Parent, Side};
use crate::refusal::RefusalKind;
use crate::{Decision, Need, View, duties, judge};

/// Verified evidence of received data that a dataset was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Who released the data.
    pub provider: ParticipantId,
    /// The agreement that the evidence names.
    pub agreement: AgreementId,
    /// SHA-256 of the RFC 8785 form of its terms, hexadecimal.
    pub agreement_sha256: String,
    /// The dataset that was released.
    pub dataset: DatasetId,
    /// SHA-256 of the provenance token, hexadecimal.
    pub token_sha256: String,
    /// SHA-256 of the data, hexadecimal.
    pub sha256: String,
    /// 32 random bytes, hexadecimal: the salt of the commitment in our tokens.
    pub salt: String,
}

/// Agreements on received data that have ended since something made of them was published, with when and why.
pub type Lapsed = BTreeMap<AgreementId, String>;

/// The agreements on what datasets were made from that have ended: those datasets are no longer offered.
///
/// # Errors
/// [`Need`] when an agreement is not loaded.
pub fn lapsed<'d>(
    view: &dyn View,
    datasets: impl IntoIterator<Item = &'d Dataset>,
) -> Result<Lapsed, Need> {
    lapsed_at(view, datasets, Timestamp::MAX)
}

/// The same, of those that had ended at an instant.
///
/// # Errors
/// As [`lapsed`].
pub fn lapsed_at<'d>(
    view: &dyn View,
    datasets: impl IntoIterator<Item = &'d Dataset>,
    at: Timestamp,
) -> Result<Lapsed, Need> {
    let mut lapsed = Lapsed::new();
    for parent in datasets.into_iter().flat_map(|dataset| &dataset.derived_from) {
        if lapsed.contains_key(&parent.agreement) {
            continue;
        }
        let why = match context::agreement(view, &parent.agreement)? {
            Some(Agreement { ended: Some((when, reason)), .. }) if when <= at => {
                format!("ended at {when:.0}: {reason}")
            }
            Some(_) => continue,
            None => "is not held any more".to_owned(),
        };
        lapsed.insert(parent.agreement.clone(), why);
    }
    Ok(lapsed)
}

/// What bounds the terms under which a dataset may be offered: nothing where it was not made from received data.
pub fn bounds(dataset: &Dataset, lapsed: &Lapsed) -> Vec<Bound> {
    let read = |any_of: &Vec<Value>| any_of.iter().map(judge::terms).collect::<Option<Vec<_>>>();
    let parents = dataset.derived_from.iter();
    parents
        .map(|parent| Bound {
            source: format!("agreement {}", parent.agreement),
            lapsed: lapsed.get(&parent.agreement).cloned(),
            // What cannot be read bounds everything.
            all_of: parent.bounds.iter().map(read).collect::<Option<_>>().unwrap_or_default(),
        })
        .collect()
}

/// The policies that may not offer a dataset, by name, each with the reason: they are not shown to be as strict as the terms
/// of what it was made from.
pub fn barred(rules: &RuleSet, dataset: &Dataset, lapsed: &Lapsed) -> Vec<(String, String)> {
    let bounds = bounds(dataset, lapsed);
    if bounds.is_empty() {
        return Vec::new();
    }
    let policies = rules.policies_for(
        dataset.id.as_str(),
        dataset.tags.iter().map(String::as_str),
        dataset.policies.iter().map(String::as_str),
    );
    let bar = |template: &Policy| terms::barred(template, &bounds, rules.purposes());
    let policies = policies.into_iter();
    policies.filter_map(|policy| Some((policy.name.clone(), bar(&policy.template)?))).collect()
}

/// Refuses terms under which a dataset may not be given, because of what it was made from. Who asks for them is told no more
/// than that: a recipient does not learn of our suppliers.
///
/// # Errors
/// A refusal.
pub(crate) fn within_bounds(
    fresh: &Fresh,
    rules: &RuleSet,
    bounds: &[Bound],
    offered: &Policy,
) -> Result<(), Stop> {
    match terms::barred(offered, bounds, rules.purposes()) {
        None => Ok(()),
        Some(reason) => {
            let text = "it was made from data that may not be passed on under these terms";
            Err(fresh.refuse(RefusalKind::Policy, text, format!("{text}: {reason}")))
        }
    }
}

/// What a dataset to be published is made from, checked: the agreements let it be passed on, and every policy that would
/// offer it is shown to be within their bounds.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn check(
    view: &dyn View,
    fresh: &Fresh,
    dataset: &Dataset,
    received: &[Received],
) -> context::Decided<Dataset> {
    context::settle((|| {
        let derived_from = parents(view, fresh, dataset, received)?;
        Ok(Decision::answer(Dataset { derived_from, ..dataset.clone() }))
    })())
}

/// What a dataset to be published is made from; a refusal where it may not be published so. The same content, published
/// again without saying what it is made from, is made from the same.
pub(crate) fn parents(
    view: &dyn View,
    fresh: &Fresh,
    dataset: &Dataset,
    received: &[Received],
) -> Result<Vec<Parent>, Stop> {
    let earlier = context::dataset(view, &dataset.id)?;
    let earlier = earlier.filter(|earlier| earlier.digests == dataset.digests);
    let known = earlier.map(|earlier| earlier.derived_from).unwrap_or_default();
    let is_known = |one: &&Received| known.iter().any(|parent| is_same(parent, one));
    let derived_from = match received.iter().all(|one| is_known(&one)) {
        true => known,
        false => {
            let rules = judge::rules_in_force(view)?;
            let taken = received.iter().map(|one| parent(view, fresh, &rules.set, one));
            let kept = known.iter().filter(|known| !received.iter().any(|one| is_same(known, one)));
            let taken = taken.collect::<Result<Vec<_>, _>>()?;
            kept.cloned().chain(taken).collect()
        }
    };
    if derived_from.is_empty() {
        return Ok(derived_from);
    }
    let published = Dataset { derived_from, ..dataset.clone() };
    let rules = judge::rules_in_force(view)?;
    let lapsed = lapsed(view, [&published])?;
    if let Some((id, why)) = lapsed.first_key_value() {
        return Err(kept(fresh, id, why));
    }
    if let Some((name, reason)) = barred(&rules.set, &published, &lapsed).into_iter().next() {
        let text = format!("policy `{name}` may not offer it: {reason}");
        return Err(fresh.refuse(RefusalKind::Policy, text.clone(), text));
    }
    Ok(published.derived_from)
}

/// Whether a dataset is known to be made from received data.
pub(crate) fn is_of(dataset: &Dataset, received: &Received) -> bool {
    dataset.derived_from.iter().any(|parent| is_same(parent, received))
}

fn is_same(parent: &Parent, received: &Received) -> bool {
    (&parent.agreement, &parent.token_sha256) == (&received.agreement, &received.token_sha256)
}

fn kept(fresh: &Fresh, id: &AgreementId, reason: &str) -> Stop {
    let text = format!(
        "what is made from data of agreement `{id}` may not be published: the agreement {reason}"
    );
    fresh.refuse(RefusalKind::Policy, text.clone(), text)
}

/// What an agreement on received data lets us offer of what was made from them.
///
/// # Errors
/// A refusal where it lets nothing be passed on, or names a policy that is not here.
fn parent(
    view: &dyn View,
    fresh: &Fresh,
    rules: &RuleSet,
    received: &Received,
) -> Result<Parent, Stop> {
    let id = &received.agreement;
    let held = |found: &Agreement| {
        found.side == Side::Consumer
            && found.finalized
            && found.participant == received.provider
            && found.dataset == received.dataset
            && found.sha256 == received.agreement_sha256
    };
    let Some(agreement) = context::agreement(view, id)?.filter(held) else {
        let text = format!(
            "agreement `{id}`, under which the data came, is none that this node holds with `{}` on `{}`",
            received.provider, received.dataset
        );
        return Err(fresh.refuse(RefusalKind::NotFound, text.clone(), text));
    };
    if let Some((when, reason)) = &agreement.ended {
        return Err(kept(fresh, id, &format!("ended at {when:.0}: {reason}")));
    }
    // A duty that is overdue, such as to delete the data, is a reason to do nothing more with them.
    duties::no_block(view, fresh, &agreement)?;
    let unreadable = || kept(fresh, id, "has terms that cannot be read");
    let agreed = judge::terms(&agreement.terms).ok_or_else(unreadable)?;
    let next = terms::next(&agreed)
        .map_err(|reason| kept(fresh, id, &format!("keeps them here: {reason}")))?;
    let named = |next: &Named| {
        let name = &next.id;
        let policy = rules.by_uid(name).ok_or_else(|| {
            let reason = format!(
                "names `{name}` as the next policy, which is none of the policies here; put the provider's file beside them as NAME.jsonld"
            );
            kept(fresh, id, &reason)
        })?;
        match next.sha256 {
            Some(agreed) if agreed != policy.own_sha256 => {
                let reason = format!(
                    "names `{name}` as the next policy with the SHA-256 {}, and `{}` here says something else: its SHA-256 is {}; put the provider's file in its place",
                    hex::encode(agreed),
                    policy.file,
                    hex::encode(policy.own_sha256)
                );
                Err(kept(fresh, id, &reason))
            }
            _ => Ok(policy.terms.clone()),
        }
    };
    let alternatives: Vec<Value> = (next.own.iter().map(|own| Ok(own.to_json())))
        .chain(next.named.iter().map(named))
        .collect::<Result<_, _>>()?;
    let always = next.always.iter().map(|name| Ok(vec![named(name)?]));
    let bounds: Vec<Vec<Value>> =
        std::iter::once(Ok(alternatives)).chain(always).collect::<Result<_, Stop>>()?;
    Ok(Parent {
        agreement: id.clone(),
        token_sha256: received.token_sha256.clone(),
        sha256: received.sha256.clone(),
        salt: received.salt.clone(),
        bounds,
    })
}
