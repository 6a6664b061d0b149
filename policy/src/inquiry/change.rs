//! What would turn a refusal into a permit: single changes, each tried by judging again.

use super::{Answer, Dataset, Partner, Question, Site, Verdict, judge_all};
use crate::evaluate::DutyState;
use crate::odrl::{Atomic, Constraint, LeftOperand, Policy, RightOperand};
use crate::set::CompiledPolicy;
use jiff::{Span, Timestamp};
use std::collections::BTreeSet;

/// One thing that, were it otherwise, would give a permit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Another declared purpose.
    Purpose(String),
    /// Another instant.
    At(Timestamp),
    /// These duties done before.
    Done(BTreeSet<String>),
    /// The partner in this group.
    Group(String),
    /// The partner in this region.
    Region(String),
    /// Fewer uses made: a new agreement does not help, a higher limit does.
    FewerUses,
    /// The partner not suspended.
    Resumed,
    /// The partner named by the policy's `[who]`.
    Named {
        /// The policy.
        policy: String,
    },
}

/// How many variations are tried at most for each kind; a policy that names more has no short answer.
const MAX_TRIED: usize = 200;

/// Every single change of the request or of what the site says of the partner that gives a permit.
pub(super) fn find(
    site: &Site,
    partner: &Partner,
    dataset: &Dataset,
    question: &Question,
    answer: &Answer,
) -> Vec<Change> {
    let permits = |partner: &Partner, question: &Question| {
        judge_all(site, partner, dataset, question).is_permit()
    };
    if answer.verdict == Verdict::Suspended {
        let resumed = Partner { is_active: true, ..partner.clone() };
        return if permits(&resumed, question) { vec![Change::Resumed] } else { Vec::new() };
    }
    let policies: Vec<&CompiledPolicy> =
        answer.judged.iter().map(|judged| judged.policy.as_ref()).collect();
    let mut atoms: Vec<&Atomic> = Vec::new();
    for policy in &policies {
        atoms.extend(super::atoms(&policy.template));
    }
    for restriction in &site.rules.restrictions().list {
        atoms.extend(super::atoms(&restriction.terms));
    }
    let mut found = Vec::new();
    found.extend(purposes(site, &atoms).into_iter().filter_map(|purpose| {
        let other = Question { purpose: Some(purpose.clone()), ..question.clone() };
        permits(partner, &other).then_some(Change::Purpose(purpose))
    }));
    found.extend(instant(question, answer, &atoms, |at| {
        permits(partner, &Question { at, ..question.clone() })
    }));
    let done = pending_duties(answer);
    let with_duties =
        Question { done: question.done.union(&done).cloned().collect(), ..question.clone() };
    if !done.is_empty() && permits(partner, &with_duties) {
        found.push(Change::Done(done));
    }
    for group in groups(site, &policies, &atoms) {
        let mut other = partner.clone();
        if other.subject.groups.insert(group.clone()) && permits(&other, question) {
            found.push(Change::Group(group));
        }
    }
    for region in terms_of(&atoms, LeftOperand::Spatial) {
        let mut other = partner.clone();
        other.subject.region = Some(region.clone());
        if permits(&other, question) {
            found.push(Change::Region(region));
        }
    }
    if question.uses > 0 && permits(partner, &Question { uses: 0, ..question.clone() }) {
        found.push(Change::FewerUses);
    }
    found.extend(answer.judged.iter().filter(|judged| !judged.is_offered).filter_map(|judged| {
        let is_permit =
            judged.evaluation.is_permit() && dataset.is_available && judged.barred.is_none();
        is_permit.then(|| Change::Named { policy: judged.policy.name.clone() })
    }));
    found
}

/// The instant nearest to the one asked for at which it is permitted, among those at which time changes something.
fn instant(
    question: &Question,
    answer: &Answer,
    atoms: &[&Atomic],
    permits: impl Fn(Timestamp) -> bool,
) -> Option<Change> {
    let mut candidates: Vec<Timestamp> =
        answer.judged.iter().filter_map(|judged| judged.evaluation.until).collect();
    for atomic in atoms.iter().take(MAX_TRIED) {
        if let RightOperand::Instant(bound) = atomic.right {
            candidates.push(bound);
            candidates.extend(bound.checked_add(Span::new().seconds(1)).ok());
            candidates.extend(bound.checked_sub(Span::new().seconds(1)).ok());
        }
    }
    candidates.sort_by_key(|at| at.duration_since(question.at).abs());
    candidates.dedup();
    candidates.into_iter().find(|at| *at != question.at && permits(*at)).map(Change::At)
}

fn pending_duties(answer: &Answer) -> BTreeSet<String> {
    let rules = answer.judged.iter().flat_map(|judged| &judged.evaluation.rules);
    rules
        .flat_map(|report| &report.duties)
        .filter(|duty| duty.is_condition && duty.state == DutyState::Pending)
        .flat_map(|duty| duty.actions.iter().cloned())
        .collect()
}

/// The purposes that policies name or the site lists.
fn purposes(site: &Site, atoms: &[&Atomic]) -> BTreeSet<String> {
    let listed = site.rules.purposes().iter().map(|(name, _)| name.clone());
    listed.chain(terms_of(atoms, LeftOperand::Purpose)).take(MAX_TRIED).collect()
}

/// The groups of the site that policies name.
fn groups(site: &Site, policies: &[&CompiledPolicy], atoms: &[&Atomic]) -> BTreeSet<String> {
    let audiences = policies.iter().flat_map(|policy| policy.audience.groups.iter().cloned());
    audiences
        .chain(terms_of(atoms, LeftOperand::Recipient))
        .filter(|group| site.rules.groups().contains_key(group))
        .take(MAX_TRIED)
        .collect()
}

fn terms_of(atoms: &[&Atomic], left: LeftOperand) -> BTreeSet<String> {
    let mut terms = BTreeSet::new();
    for atomic in atoms.iter().filter(|atomic| atomic.left == left) {
        if let RightOperand::Terms(names) = &atomic.right {
            terms.extend(names.iter().take(MAX_TRIED).cloned());
        }
    }
    terms
}

/// The comparisons of a policy's rules and of their actions, those in groups included.
pub(crate) fn atoms(policy: &Policy) -> impl Iterator<Item = &Atomic> {
    let rules = policy.permissions.iter().chain(&policy.prohibitions);
    let mut pending: Vec<&Constraint> = rules
        .flat_map(|rule| {
            rule.constraints
                .iter()
                .chain(rule.actions.iter().flat_map(|action| &action.refinements))
        })
        .collect();
    std::iter::from_fn(move || {
        loop {
            match pending.pop()? {
                Constraint::Atomic(atomic) => return Some(atomic),
                Constraint::Logical(logical) => pending.extend(&logical.operands),
                Constraint::NotUnderstood(_) => {}
            }
        }
    })
}
