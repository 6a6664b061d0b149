//! May this subject do this, now? A pure function of policy, request and state of the world.
//!
//! The meaning is that of the W3C ODRL Formal Semantics with a closed world: what no permission
//! grants is denied. Three points are ours:
//!
//! - A rule with any part that is not understood never grants, and if it prohibits it always
//!   prohibits. A part outside of all permissions and prohibitions makes the whole policy deny.
//! - A duty before a permission that is past its deadline leaves the permission inactive for good.
//! - A purpose, region or subject counts as each of its wider terms, whatever the operator:
//!   prohibiting a purpose prohibits all that is part of it. Of a fact that is wider than what a condition names, such as
//!   a country under `spatial neq` one of its regions, it is not known which part it is.
//!
//! A fact is judged in the phases where it exists. Before that, a constraint on it *applies later*:
//! it neither refuses the catalog entry nor the negotiation, and it is judged before the first
//! byte. From [`Phase::Transfer`] on nothing applies later.
//!
//! | operand | catalog | negotiation | transfer, data |
//! |---|---|---|---|
//! | `recipient`, `spatial`, what the partner's file says | judged | judged | judged |
//! | `systemDevice`, `idsc:CONNECTOR` | applies later | applies later | judged |
//! | `idsc:APPLICATION` of a partner whose node asks its applications | left to its node | left to its node | left to its node |
//! | `dateTime` | refuses what is over; what has not begun applies later | as catalog | judged |
//! | `purpose` | applies later | judged | judged |
//! | `count`, `elapsedTime`, `delayPeriod`, `timeInterval` | applies later | applies later | judged |
//! | `duty` of a permission | applies later | applies later | judged |

mod compliance;
mod constraint;
mod duty;
mod hand_over;
mod report;
mod rule;
#[cfg(test)]
mod tests;
mod world;

use crate::file::expression;
use crate::odrl::{Conflict, Kind, Policy};
use crate::profile;
use crate::set::Purposes;
use crate::vocabulary;
use jiff::Timestamp;

pub use compliance::compliance;
pub(crate) use constraint::after;
pub use report::{Activation, Attempt, Concept, Deontic, Performance, deontic};
pub(crate) use world::NO_PAST;
pub use world::{
    Behaviour, Facts, Happened, Link, Past, Performed, PreviousUse, Proof, Statement, Subject,
    World,
};

/// What somebody asks to do.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The action, an ODRL term; a pull is `use`.
    pub action: &'a str,
    /// The dataset.
    pub target: &'a str,
    /// The purposes declared for it. Every one of them must be allowed.
    pub purposes: &'a [String],
    /// How far the exchange has come.
    pub phase: Phase,
}

/// How far an exchange has come; it decides which facts exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// An offer is about to be shown.
    Catalog,
    /// A contract is being negotiated.
    Negotiation,
    /// A transfer is about to be granted.
    Transfer,
    /// Data is about to flow, or flows.
    Data,
    /// Received data are about to be handed to an application of the recipient. This is judged by the recipient's own node, which
    /// knows the application, and the time; what the provider knows was judged by it before the data came.
    HandOver,
}

/// The answer, with everything that led to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// May it be done?
    pub decision: Decision,
    /// Why not. `None` exactly when the decision is [`Decision::Permit`].
    pub ground: Option<Ground>,
    /// What the subject must do, or must have done, with deadlines.
    pub obligations: Vec<DutyReport>,
    /// One report for each rule, permissions first, in the order of the policy. With several
    /// purposes, those of the purpose that decided.
    pub rules: Vec<RuleReport>,
    /// The first instant, later than the decision, at which time alone may change the answer.
    pub until: Option<Timestamp>,
}

/// Permit or deny; there is no third.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Permit,
    /// It may not.
    Deny,
}

/// Why an evaluation denies: the deciding clause.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Ground {
    /// An offer is a proposal and grants nothing by itself.
    #[error("an offer grants nothing before it is agreed")]
    OnlyOffered,
    /// The policy is for somebody else.
    #[error("the policy is assigned to `{expected}`, not to `{found}`")]
    OtherAssignee {
        /// Whom the policy names.
        expected: String,
        /// Who asks.
        found: String,
    },
    /// The policy is about another dataset.
    #[error("the policy is about `{expected}`, not about `{found}`")]
    OtherTarget {
        /// The dataset the policy names.
        expected: String,
        /// The dataset asked for.
        found: String,
    },
    /// The requested action is no ODRL action.
    #[error("`{action}` is not an action of the ODRL vocabulary")]
    UnknownAction {
        /// The action asked for.
        action: String,
    },
    /// A part of the policy is not understood.
    #[error("`{clause}` is not understood: it {reason}")]
    NotUnderstood {
        /// The part, as JSON.
        clause: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No permission names this action, dataset and subject.
    #[error("no permission covers `{action}`")]
    NoPermission {
        /// The action asked for.
        action: String,
    },
    /// A permission covers the request, but this condition does not hold.
    #[error("`{}` does not hold: {}", report.clause, report.found)]
    Condition {
        /// Index of the permission.
        permission: usize,
        /// The condition.
        report: ConstraintReport,
    },
    /// A permission covers the request, but this duty was not fulfilled before.
    #[error("`{}` must be done before", report.clause)]
    Duty {
        /// Index of the permission.
        permission: usize,
        /// The duty.
        report: DutyReport,
    },
    /// A prohibition covers the request.
    #[error("prohibited by `{clause}`")]
    Prohibited {
        /// Index of the prohibition.
        prohibition: usize,
        /// The prohibition in short.
        clause: String,
    },
    /// The site prohibits it to everybody, whatever the policy says.
    #[error("restricted by the site: `{clause}` ({reason})")]
    Restricted {
        /// The prohibition in short.
        clause: String,
        /// Why, as the site's administrator wrote it; not for the partner.
        reason: String,
    },
    /// A permission and a prohibition contradict each other and the policy names no winner.
    #[error(
        "permission {permission} and prohibition {prohibition} contradict each other, which voids the policy"
    )]
    Conflict {
        /// Index of the permission.
        permission: usize,
        /// Index of the prohibition.
        prohibition: usize,
    },
}

/// What became of one rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleReport {
    /// Permission or prohibition.
    pub kind: RuleKind,
    /// Place in the policy's list of its kind, from 0.
    pub index: usize,
    /// The rule's actions.
    pub action: String,
    /// Whether it is about this action, dataset and subject, refinements included.
    pub concerns: Status,
    /// Whether the dataset is the rule's.
    pub target: Status,
    /// Whether the subject is the rule's.
    pub party: Status,
    /// Whether the requested action is the rule's, refinements included.
    pub performs: Status,
    /// Whether its constraints hold and its duties are done (formal semantics: *active*).
    pub active: Status,
    /// Whether the subject did it before.
    pub performance: Performance,
    /// One report for each constraint.
    pub constraints: Vec<ConstraintReport>,
    /// One report for each duty of a permission; for a prohibition that was infringed, for each remedy.
    pub duties: Vec<DutyReport>,
}

/// The kind of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Grants.
    Permission,
    /// Forbids.
    Prohibition,
}

/// What became of one constraint.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstraintReport {
    /// The constraint in the short form of policy files, such as `count lteq 10`: what was expected.
    pub clause: String,
    /// Whether it holds.
    pub status: Status,
    /// What was found, or why nothing could be.
    pub found: String,
    /// Reports of the operands of a logical constraint.
    pub operands: Vec<ConstraintReport>,
}

/// What became of a constraint, a duty or a whole rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Holds.
    Satisfied,
    /// Does not hold.
    Unsatisfied,
    /// Is judged in a later phase.
    AppliesLater,
    /// Is for the other side's node to judge: by that of the recipient when it hands the data out, or by that of the provider
    /// before it gave them.
    Elsewhere,
    /// Cannot be decided: a fact is missing. Does not grant.
    Undecidable,
    /// Is not understood. Does not grant.
    NotUnderstood,
}

/// What became of one duty.
#[derive(Debug, Clone, PartialEq)]
pub struct DutyReport {
    /// The duty in the short form of policy files, such as `delete when elapsedTime lteq P30D`.
    pub clause: String,
    /// What must be done.
    pub actions: Vec<String>,
    /// How far it is.
    pub state: DutyState,
    /// Whether its conditions hold. One that cannot be decided counts as holding.
    pub applies: Status,
    /// One report for each condition that is no deadline.
    pub conditions: Vec<ConstraintReport>,
    /// Since when it is owed, where it is.
    pub since: Option<Timestamp>,
    /// Until when it must be done. Periods count from the agreement; those of a consequence or remedy from when it is owed.
    pub deadline: Option<Timestamp>,
    /// When it was violated, also when it was made good since.
    pub violated: Option<Timestamp>,
    /// Whether it must be done before the permission holds, rather than after.
    pub is_condition: bool,
    /// Once it was not done in time: what must be done besides.
    pub consequences: Vec<DutyReport>,
}

/// What becomes of the duties of a policy between uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracking {
    /// Every duty, in the order of the policy: of the policy, of its permissions, the remedies of its prohibitions; after each
    /// its consequences.
    pub duties: Vec<TrackedDuty>,
    /// The first instant, later than now, at which time alone may change what is said of them.
    pub until: Option<Timestamp>,
}

/// A duty of a policy: what it is called, who bears it, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackedDuty {
    /// Its name: its place in the policy, counted from 1. One of `obligation-1`, `permission-1-duty-2` and
    /// `prohibition-1-remedy-1`, followed by `-consequence-1` for what follows from it. It is the same wherever the policy is read.
    pub name: String,
    /// Whom it binds, when the policy says so; otherwise its assignee.
    pub bearer: Option<String>,
    /// To whom it is owed, when the duty says so; otherwise the policy's assigner.
    pub creditor: Option<String>,
    /// What it must be done to, when that is not the policy's target.
    pub target: Option<String>,
    /// Whether it asks for its action and nothing besides, from the agreement on: no refinement, deadline, condition or other
    /// target, and it is neither a consequence nor a remedy.
    pub is_plain: bool,
    /// Whether it has conditions besides deadlines, so that not time alone may change its state.
    pub is_conditional: bool,
    /// Whether something must be done besides once it was not done in time.
    pub has_consequences: bool,
    /// How far it is.
    pub report: DutyReport,
}

/// The state of a duty (formal semantics: *fulfilled*, *violated*, *not set*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DutyState {
    /// Its constraints do not hold: nothing need be done.
    Inactive,
    /// Has to be done.
    Pending,
    /// Was done in time.
    Fulfilled,
    /// Was not done, and its deadline is over.
    Violated,
    /// Is not understood.
    NotUnderstood,
}

impl Evaluation {
    /// Whether the decision is [`Decision::Permit`].
    #[must_use]
    pub fn is_permit(&self) -> bool {
        self.decision == Decision::Permit
    }
}

/// Judges a request by a policy. Never panics; denies whatever is unknown.
///
/// With several declared purposes each is judged as if it were the only one, and the answer is a
/// permit only when every one is: data may be used for all of them.
#[must_use]
pub fn evaluate(policy: &Policy, request: &Request<'_>, world: &World<'_>) -> Evaluation {
    for_purposes(policy, request, world, true)
}

/// The same decision, obligations, reports and instant without texts: the clauses and findings in it are empty.
/// For the path of every data request; whoever has to explain a refusal evaluates again.
#[must_use]
pub fn decide(policy: &Policy, request: &Request<'_>, world: &World<'_>) -> Evaluation {
    for_purposes(policy, request, world, false)
}

fn for_purposes(
    policy: &Policy,
    request: &Request<'_>,
    world: &World<'_>,
    explain: bool,
) -> Evaluation {
    if world.behaviour == Behaviour::Open && !is_about(policy, request, world) {
        return Evaluation {
            decision: Decision::Permit,
            ground: None,
            obligations: Vec::new(),
            rules: Vec::new(),
            until: None,
        };
    }
    if let Some(ground) = unfit(policy, request, world) {
        return Evaluation {
            decision: Decision::Deny,
            ground: Some(ground),
            obligations: Vec::new(),
            rules: Vec::new(),
            until: None,
        };
    }
    let scope = |purpose| {
        let scope = constraint::Scope::new(request, world, purpose);
        if explain { scope } else { scope.silent() }
    };
    let Some((first, others)) = request.purposes.split_first() else {
        return for_purpose(policy, scope(None));
    };
    let mut answer = for_purpose(policy, scope(Some(first)));
    for purpose in others {
        let other = for_purpose(policy, scope(Some(purpose)));
        let until = earliest(answer.until, other.until);
        let (mut all, more) = (answer.obligations.clone(), other.obligations.clone());
        all.extend(more.into_iter().filter(|duty| !answer.obligations.contains(duty)));
        if answer.is_permit() {
            answer = other;
        }
        (answer.until, answer.obligations) = (until, all);
    }
    answer
}

/// Whether a policy says anything of the application that gets the data, so that it is judged anew for each to which received
/// data are handed out.
#[must_use]
pub fn is_for_applications(policy: &Policy) -> bool {
    hand_over::is_for_applications(policy)
}

/// Every duty of a policy, owed or not, of permissions that do not concern the request as well. It is looked at between uses:
/// `count` is the number of uses so far.
#[must_use]
pub fn duties(policy: &Policy, request: &Request<'_>, world: &World<'_>) -> Tracking {
    let purpose = request.purposes.first().map(String::as_str);
    let mut scope = constraint::Scope::new(request, world, purpose).tracking();
    let duties = duty::track(&mut scope, policy);
    Tracking { duties, until: scope.until() }
}

/// The name of an obligation, counted from 0.
pub(crate) fn obligation_name(index: usize) -> String {
    duty::Place::Obligation(index).to_string()
}

/// The name of a duty of a permission, both counted from 0.
pub(crate) fn condition_name(permission: usize, index: usize) -> String {
    duty::Place::Condition(permission, index).to_string()
}

/// The prohibitions of a policy by name, such as `prohibition-1`, with their clauses in short form.
#[must_use]
pub fn prohibitions(policy: &Policy) -> Vec<(String, String)> {
    let named = policy.prohibitions.iter().enumerate();
    named
        .map(|(index, rule)| {
            (duty::Place::Prohibition(index).to_string(), expression::write_rule(rule))
        })
        .collect()
}

/// Whether a policy may say anything about a request at all; what is not known may.
fn is_about(policy: &Policy, request: &Request<'_>, world: &World<'_>) -> bool {
    let mut scope = constraint::Scope::new(request, world, None).silent();
    let target = policy
        .target
        .as_ref()
        .map_or(Status::Satisfied, |target| scope.asset(RuleKind::Permission, target));
    let party = policy
        .assignee
        .as_ref()
        .map_or(Status::Satisfied, |party| scope.party(RuleKind::Permission, party));
    target != Status::Unsatisfied && party != Status::Unsatisfied
}

/// Whether conditions hold for a purpose when every other fact is left open:
/// [`Status::AppliesLater`] says that they may.
pub(crate) fn judge_purpose(
    constraints: &[crate::odrl::Constraint],
    purpose: &str,
    purposes: &Purposes,
) -> Status {
    let declared = [purpose.to_owned()];
    let request =
        Request { action: "use", target: "", purposes: &declared, phase: Phase::Negotiation };
    let subject = Subject::default();
    let world = World::new(Timestamp::UNIX_EPOCH, &subject, purposes);
    let mut scope = constraint::Scope::new(&request, &world, Some(purpose)).only_purpose().silent();
    let reports = scope.all(RuleKind::Permission, constraints);
    constraint::conjunction(reports.iter().map(|report| report.status))
}

/// What makes a policy unfit for the request as a whole, whatever its rules.
fn unfit(policy: &Policy, request: &Request<'_>, world: &World<'_>) -> Option<Ground> {
    if let Some(part) = policy.not_understood.first() {
        return Some(rule::part_ground(part));
    }
    if let Some(profile) = policy.profiles.iter().find(|profile| !profile::is_known(profile)) {
        return Some(Ground::NotUnderstood {
            clause: format!("profile: {profile}"),
            reason: "is a profile this connector does not know".to_owned(),
        });
    }
    if let Some(parent) = policy.inherits.first() {
        return Some(Ground::NotUnderstood {
            clause: format!("inheritFrom: {parent}"),
            reason: "is a policy this connector does not have".to_owned(),
        });
    }
    if let Some(breach) = profile::breach(policy) {
        return Some(Ground::NotUnderstood { clause: breach.clause, reason: breach.reason });
    }
    if policy.kind == Kind::Offer && request.phase >= Phase::Transfer {
        return Some(Ground::OnlyOffered);
    }
    if !vocabulary::is_action(request.action) {
        return Some(Ground::UnknownAction { action: request.action.to_owned() });
    }
    let mut scope = constraint::Scope::new(request, world, None).silent();
    let fits = |status, refinements: &[crate::odrl::Constraint]| match status {
        Status::Satisfied => true,
        Status::AppliesLater => request.phase < Phase::Transfer,
        // Only of a rule it is told apart what each of the two nodes judges.
        Status::Elsewhere => {
            request.phase == Phase::HandOver
                && !refinements.iter().any(hand_over::is_on_application)
        }
        // What a policy that restricts is about may stay open: its prohibitions then stand.
        _ => world.behaviour == Behaviour::Open,
    };
    if let Some(target) = policy
        .target
        .as_ref()
        .filter(|target| !fits(scope.asset(RuleKind::Permission, target), &target.refinements))
    {
        let (expected, found) = (target.id.clone(), request.target.to_owned());
        return Some(Ground::OtherTarget { expected, found });
    }
    let assignee = policy.assignee.as_ref().filter(|assignee| {
        !fits(scope.party(RuleKind::Permission, assignee), &assignee.refinements)
    })?;
    Some(Ground::OtherAssignee {
        expected: assignee.id.clone(),
        found: world.subject.participant.clone(),
    })
}

fn for_purpose(policy: &Policy, mut scope: constraint::Scope<'_>) -> Evaluation {
    let mut permissions: Vec<_> = (policy.permissions.iter().enumerate())
        .map(|(index, rule)| rule::judge(&mut scope, RuleKind::Permission, index, rule))
        .collect();
    let mut prohibitions: Vec<_> = (policy.prohibitions.iter().enumerate())
        .map(|(index, rule)| rule::judge(&mut scope, RuleKind::Prohibition, index, rule))
        .collect();
    if scope.request.phase == Phase::HandOver {
        hand_over::close(policy, &mut permissions, &mut prohibitions);
    }
    let mut obligations: Vec<_> = (policy.obligations.iter().enumerate())
        .filter_map(|(index, duty)| duty::obligation(&mut scope, index, duty))
        .collect();
    let ground = denial(&mut scope, policy, &permissions, &prohibitions, &obligations);
    let conditions = permissions
        .iter()
        .filter(|report| report.concerns == Status::Satisfied)
        .flat_map(|report| report.duties.iter())
        .filter(|duty| duty.state == DutyState::Pending);
    obligations.extend(conditions.cloned());
    Evaluation {
        decision: if ground.is_none() { Decision::Permit } else { Decision::Deny },
        ground,
        obligations,
        rules: permissions.into_iter().chain(prohibitions).collect(),
        until: scope.until(),
    }
}

/// The reason to deny, or none.
fn denial(
    scope: &mut constraint::Scope<'_>,
    policy: &Policy,
    permissions: &[RuleReport],
    prohibitions: &[RuleReport],
    obligations: &[DutyReport],
) -> Option<Ground> {
    if let Some(ground) = rule::unclear_obligation(policy, obligations) {
        return Some(ground);
    }
    if policy.conflict == Conflict::Invalid {
        let conflict = rule::contradiction(scope, policy, permissions, prohibitions);
        if conflict.is_some() {
            return conflict;
        }
    }
    let stands = |report: &&RuleReport| match policy.conflict {
        // Even where permissions win, a prohibition that is not understood is not known to be harmless.
        Conflict::Perm => rule::is_unclear(report),
        Conflict::Prohibit | Conflict::Invalid => rule::prohibits(report),
    };
    if let Some(report) = prohibitions.iter().find(stands) {
        return Some(rule::prohibition_ground(policy, report));
    }
    if scope.world.behaviour == Behaviour::Open
        || permissions.iter().any(|report| rule::grants(report, scope.request.phase))
    {
        return None;
    }
    Some(rule::missing_permission(policy, scope.request, permissions))
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
