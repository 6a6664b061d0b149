//! Asking the policies: which offers a partner sees, and whether terms allow an action now.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use policy::classify::Class;
use policy::evaluate::{
    Evaluation, Facts, Ground, Link, Phase, PreviousUse, Proof, Request, Statement, Subject, World,
    decide, evaluate, is_for_applications,
};
use policy::odrl::Policy;
use policy::restrict::restrict;
use policy::set::RuleSet;
use policy::terms::barred;
use protocol::id::{DatasetId, OfferId};
use protocol::message::NOT_HONOURED_MAX;
use serde_json::Value;

use crate::context::{self, Fresh, Stop};
use crate::derived::{self, Lapsed};
use crate::entity::{
    Agreement, Credential, Dataset, Digests, Grant, Location, Partner, Rules, Side,
};
use crate::refusal::RefusalKind;
use crate::{Handling, Need, View, duties};

/// The action that a pull is.
pub const ACTION: &str = "use";

/// An offer of a dataset that a partner may see.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// Its id.
    pub id: OfferId,
    /// The name of the policy behind it.
    pub policy: String,
    /// The DSP Offer, as it stands in a catalog (without target).
    pub offer: Value,
    /// Who decides on requests for it.
    pub handling: Handling,
}

/// The extension of a node that hands received data only to applications for which the agreed terms hold.
pub const HAND_OVER: &str = "hand-over/1";

/// By which data are delivered in whatever format.
const SCHEME: &str = "https";

/// The partner as policies see it.
pub fn subject(partner: &Partner) -> Subject {
    Subject {
        participant: partner.participant.to_string(),
        node: None,
        application: None,
        person: None,
        groups: partner.groups.clone(),
        region: partner.region.clone(),
        locations: partner.origins.clone(),
        attributes: (partner.attributes.clone().into_iter())
            .chain(partner.operator_id.as_deref().map(operator_id))
            .collect(),
        statements: partner.credentials.iter().flat_map(statements).collect(),
        asks_applications: partner.extensions.contains(HAND_OVER),
    }
}

/// What a credential says, operand by operand.
fn statements(credential: &Credential) -> impl Iterator<Item = Statement> {
    credential.says.iter().map(|(operand, values)| Statement {
        operand: operand.clone(),
        values: values.clone(),
        source: format!("{} of {}", credential.kind, credential.issuer),
        node: credential.node.clone(),
        from: credential.valid_from,
        until: credential.valid_until,
    })
}

fn operator_id(id: &str) -> (String, BTreeSet<String>) {
    ("operatorId".to_owned(), BTreeSet::from([id.to_owned()]))
}

/// A dataset as policies see it, and how we deliver.
pub fn facts(dataset: &Dataset) -> Facts {
    Facts {
        collections: dataset.tags.clone(),
        media_type: Some(dataset.media_type.clone()),
        size: Some(dataset.digests.size),
        version: Some(dataset.version.clone()),
        language: dataset.language.clone(),
        ..Facts::unpublished()
    }
}

/// The offers of a dataset that a partner may see: its audience names the partner, and what can be judged without a
/// request holds. What was made from received data is offered within the bounds of the agreements on those that have not
/// ended.
pub fn offers(
    rules: &Rules,
    provider: &str,
    partner: &Partner,
    dataset: &Dataset,
    lapsed: &Lapsed,
    now: Timestamp,
) -> Vec<Offered> {
    if !dataset.is_available() {
        return Vec::new();
    }
    let bounds = derived::bounds(dataset, lapsed);
    let subject = subject(partner);
    let facts = facts(dataset);
    let world = World { facts: &facts, ..World::new(now, &subject, rules.set.purposes()) };
    let request = Request {
        action: ACTION,
        target: dataset.id.as_str(),
        purposes: &[],
        phase: Phase::Catalog,
    };
    rules
        .set
        .offered_to(
            &subject,
            dataset.id.as_str(),
            dataset.tags.iter().map(String::as_str),
            dataset.policies.iter().map(String::as_str),
            ACTION,
        )
        .into_iter()
        .filter(|policy| {
            let evaluation = decide(&policy.template, &request, &world);
            restrict(&rules.set, &dataset.tags, &request, &world, evaluation).is_permit()
                && barred(&policy.template, &bounds, rules.set.purposes()).is_none()
        })
        .filter_map(|policy| {
            let id = policy.offer_id(dataset.id.as_str());
            Some(Offered {
                id: id.parse().ok()?,
                policy: policy.name.clone(),
                offer: policy.offer_for(dataset.id.as_str(), provider),
                handling: policy.handling,
            })
        })
        .collect()
}

/// A dataset by its id with the offers that a partner may see of it; nothing where there are none.
///
/// One that does not exist is judged like one that does, so that the time an answer takes says as little as its text.
///
/// # Errors
/// [`Need`] when the dataset is not loaded.
pub(crate) fn visible(
    view: &dyn View,
    rules: &Rules,
    provider: &str,
    partner: &Partner,
    id: &DatasetId,
    now: Timestamp,
) -> Result<Option<(Dataset, Vec<Offered>)>, Need> {
    let found = context::dataset(view, id)?;
    let exists = found.is_some();
    let dataset = found.unwrap_or_else(|| nothing(rules, id, now));
    let lapsed = derived::lapsed(view, [&dataset])?;
    let offers = offers(rules, provider, partner, &dataset, &lapsed, now);
    Ok((exists && !offers.is_empty()).then_some((dataset, offers)))
}

/// What stands for a dataset that does not exist while it is judged.
fn nothing(rules: &Rules, id: &DatasetId, now: Timestamp) -> Dataset {
    Dataset {
        v: 1,
        id: id.clone(),
        title: String::new(),
        description: None,
        version: String::new(),
        last_number: 0,
        language: None,
        licence: None,
        confidentiality: None,
        tags: BTreeSet::new(),
        policies: rules.set.policies().take(1).map(|policy| policy.name.clone()).collect(),
        media_type: String::new(),
        file_name: String::new(),
        digests: Digests { sha256: String::new(), blake3: String::new(), size: 0 },
        location: Location::Stored,
        published: now,
        withdrawn: None,
        damaged: None,
        derived_from: Vec::new(),
    }
}

/// Judges terms for a phase before there is an agreement, with a declared purpose.
pub fn negotiable(
    rules: &Rules,
    partner: &Partner,
    dataset: &Dataset,
    terms: &Policy,
    purposes: &[String],
    now: Timestamp,
) -> Evaluation {
    let subject = subject(partner);
    let facts = facts(dataset);
    let world = World { facts: &facts, ..World::new(now, &subject, rules.set.purposes()) };
    let request = Request {
        action: ACTION,
        target: dataset.id.as_str(),
        purposes,
        phase: Phase::Negotiation,
    };
    restrict(&rules.set, &dataset.tags, &request, &world, evaluate(terms, &request, &world))
}

/// A use as policies see it: they count and time it, and ask how the data are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uses<'a> {
    /// Uses granted before this one.
    pub earlier: u64,
    /// When the latest of them was granted.
    pub previous: PreviousUse,
    /// When this one was granted; `None` where it is asked for now.
    pub began: Option<Timestamp>,
    /// How the data are fetched.
    pub way: Way<'a>,
}

/// How data are fetched, as policies see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way<'a> {
    /// The DSP transfer format.
    pub format: &'a str,
    /// The names of the node's certificate; empty where the node is not known.
    pub node: &'a BTreeSet<String>,
}

impl Way<'_> {
    /// The node as a member of the subject's chain, proven by its connection.
    fn link(self) -> Option<Link> {
        let names = self.node.clone();
        (!names.is_empty()).then_some(Link { names, proof: Proof::Connection })
    }
}

impl<'a> Uses<'a> {
    /// The use in progress under a grant: the uses before it, and not itself once more.
    pub fn in_progress(grant: &Grant, way: Way<'a>) -> Self {
        let previous = match (grant.granted, grant.previous_use) {
            (None, _) => PreviousUse::Unknown,
            (Some(_), None) => PreviousUse::Never,
            (Some(_), Some(at)) => PreviousUse::At(at),
        };
        let earlier = grant.use_number.saturating_sub(1);
        Self { earlier, previous, began: grant.granted, way }
    }
}

/// Judges a running agreement by its policy as agreed and, where the data are ours, the site's restrictions of now.
///
/// # Errors
/// [`Stop::Need`] when the rule set is not loaded.
pub(crate) fn agreed(
    view: &dyn View,
    partner: &Partner,
    agreement: &Agreement,
    phase: Phase,
    uses: Uses<'_>,
    now: Timestamp,
) -> Result<Evaluation, Stop> {
    let rules = rules_in_force(view)?;
    let subject = Subject { node: uses.way.link(), ..subject(partner) };
    let Some(policy) = agreement.policy() else {
        return Err(Fresh::none().not_found("the agreement's terms cannot be read"));
    };
    let purposes = purposes(agreement, policy);
    let dataset = match agreement.side {
        Side::Provider => context::dataset(view, &agreement.dataset)?,
        // What a partner publishes is not ours to know.
        Side::Consumer => None,
    };
    let facts = Facts {
        delivery_channels: [uses.way.format, SCHEME].map(str::to_owned).into(),
        ..dataset.as_ref().map(facts).unwrap_or_default()
    };
    let (performed, past) = duties::past(view, agreement, now)?;
    let world = World {
        earlier_uses: Some(uses.earlier),
        previous_use: uses.previous,
        use_began: uses.began,
        agreed_at: Some(agreement.created),
        performed: &performed,
        past: &past,
        facts: &facts,
        ..World::new(now, &subject, rules.set.purposes())
    };
    let request =
        Request { action: ACTION, target: agreement.dataset.as_str(), purposes: &purposes, phase };
    let mut evaluation = decide(policy, &request, &world);
    if !evaluation.is_permit() {
        // Only a refusal needs words.
        evaluation = evaluate(policy, &request, &world);
    }
    if agreement.side != Side::Provider {
        return Ok(evaluation);
    }
    Ok(restrict(&rules.set, &facts.collections, &request, &world, evaluation))
}

/// The purposes that the consumer declared: by an offer repeated unchanged, all that it names.
fn purposes(agreement: &Agreement, policy: &Policy) -> Vec<String> {
    match &agreement.purpose {
        Some(purpose) => vec![purpose.clone()],
        None => policy::terms::named_purposes(policy),
    }
}

/// Judges, on the recipient's node, whether data received under an agreement may be handed out: by its policy as agreed, for the
/// application that asks and at this instant. `application` is the identifier of the key by which it authenticated.
///
/// A clause that is not understood, a contradiction, and who and what the terms are for, were for the provider to judge when it
/// gave the data; they refuse here only where the terms are for applications, so that such a clause may be one of those.
///
/// # Errors
/// [`Stop::Need`] when the rule set is not loaded; a refusal where the terms cannot be read.
pub(crate) fn hand_over(
    view: &dyn View,
    agreement: &Agreement,
    application: Option<&str>,
    now: Timestamp,
) -> Result<Option<Evaluation>, Stop> {
    let rules = rules_in_force(view)?;
    let Some(policy) = agreement.policy() else {
        return Err(Fresh::none().not_found("the agreement's terms cannot be read"));
    };
    let subject = Subject {
        participant: policy.assignee.as_ref().map(|party| party.id.clone()).unwrap_or_default(),
        application: application.map(|name| Link::new(name, Proof::Key)),
        ..Subject::default()
    };
    let purposes = purposes(agreement, policy);
    let (performed, past) = duties::past(view, agreement, now)?;
    let world = World {
        agreed_at: Some(agreement.created),
        performed: &performed,
        past: &past,
        ..World::new(now, &subject, rules.set.purposes())
    };
    let target = agreement.dataset.as_str();
    let request = Request { action: ACTION, target, purposes: &purposes, phase: Phase::HandOver };
    let evaluation = evaluate(policy, &request, &world);
    let decides = match &evaluation.ground {
        None => false,
        Some(Ground::Condition { .. } | Ground::Prohibited { .. }) => true,
        Some(_) => is_for_applications(policy),
    };
    Ok(decides.then_some(evaluation))
}

/// What the terms of an agreement are called in refusals.
pub(crate) fn name(agreement: &Agreement) -> String {
    format!("agreement {}", agreement.id)
}

/// A refusal with the deciding clause unless an evaluation permits. `name` is that of the terms.
pub(crate) fn permit_or_refuse(
    fresh: &Fresh,
    name: &str,
    evaluation: &Evaluation,
) -> Result<(), Stop> {
    if evaluation.is_permit() {
        return Ok(());
    }
    let (external, internal) = match policy::explain::refusal(name, evaluation) {
        Some(explanation) => (explanation.external, explanation.internal),
        None => ("denied by policy".to_owned(), format!("{name} denies")),
    };
    Err(fresh.refuse(RefusalKind::Policy, external, internal))
}

/// The rule set in force; an empty one before the first activation.
pub(crate) fn rules_in_force(view: &dyn View) -> Result<Arc<Rules>, Need> {
    Ok(context::rules(view)?.unwrap_or_else(|| {
        Arc::new(Rules { v: 1, hash: String::new(), set: Arc::new(RuleSet::empty()) })
    }))
}

/// The clauses of a DSP offer or agreement that this node cannot honour, in short form.
pub fn not_honoured(value: &Value) -> Vec<String> {
    let clauses = terms(value).map(|policy| policy::classify::classify(&policy));
    let refused = clauses.into_iter().flatten().filter(|clause| clause.class == Class::Refused);
    refused.map(|clause| clause.clause).take(NOT_HONOURED_MAX).collect()
}

/// The policy in a DSP offer or agreement.
pub(crate) fn terms(value: &Value) -> Option<Policy> {
    Policy::from_json(value).ok()
}
