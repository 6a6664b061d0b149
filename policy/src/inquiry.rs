//! What would the node answer, and why? Questions of an administrator, judged as a request would be.
//!
//! A question is judged as if the partner agreed the offer and asked for the data: in the data phase, as use number `uses + 1`,
//! under an agreement of `agreed_at`. So the answer is that of a pull at that instant, not of a look into the catalog.

mod change;
mod render;
#[cfg(test)]
pub(crate) mod tests;

use crate::diagnostic::Spot;
use crate::evaluate::{
    Evaluation, Facts, Ground, Link, Performed, Phase, PreviousUse, Proof, Request, RuleKind,
    Status, Subject, World, evaluate,
};

use crate::file::expression;
use crate::odrl::Policy;
use crate::restrict::restrict;
use crate::set::{CompiledPolicy, RuleSet};
use crate::terms::{self, Bound};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use change::Change;
pub(crate) use change::atoms;
pub use render::answer as render;

/// A site as its policies see it: what rules, who may ask, and what may be asked for.
#[derive(Debug, Clone)]
pub struct Site {
    /// What rules.
    pub rules: RuleSet,
    /// The partners.
    pub partners: Vec<Partner>,
    /// The datasets.
    pub datasets: Vec<Dataset>,
}

/// What the site knows of a partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partner {
    /// Its short name.
    pub name: String,
    /// Whether it is not suspended.
    pub is_active: bool,
    /// Its participant id, groups and region.
    pub subject: Subject,
}

/// What the site knows of a dataset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    /// Its id.
    pub id: String,
    /// What policies compare of it and of its delivery: tags, size, media type and so on.
    pub facts: Facts,
    /// The policies that it was published under by name.
    pub policies: BTreeSet<String>,
    /// Whether it is not withdrawn.
    pub is_available: bool,
    /// What bounds the terms under which it may be offered, where it was made from received data.
    pub bounds: Vec<Bound>,
}

/// May this partner do this?
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The action, an ODRL term.
    pub action: String,
    /// The declared purpose. Without one, all that the offer names are declared, as by an offer repeated unchanged.
    pub purpose: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Uses made before.
    pub uses: u64,
    /// When the last of them was.
    pub previous: Option<Timestamp>,
    /// When the agreement was made.
    pub agreed_at: Timestamp,
    /// Duties done by then.
    pub done: BTreeSet<String>,
    /// The node that fetches the data: a name of its certificate.
    pub node: Option<String>,
    /// The application to which the partner's node would hand the data out: its identifier.
    pub application: Option<String>,
}

/// The answer to a question.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What would happen.
    pub verdict: Verdict,
    /// Every policy that was considered, in the order in which they are offered.
    pub judged: Vec<Judged>,
    /// Single changes that would turn a refusal into a permit, each tried.
    pub changes: Vec<Change>,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is permitted under a policy.
    Permit {
        /// The policy.
        policy: String,
        /// The permission.
        clause: Clause,
        /// When time alone may change the answer.
        until: Option<Timestamp>,
    },
    /// A policy that is offered denies it.
    Deny {
        /// The policy that comes closest.
        policy: String,
        /// The deciding clause.
        clause: Clause,
        /// Why.
        ground: Ground,
    },
    /// No policy offers the dataset to the partner: to it, the dataset does not exist.
    NotOffered {
        /// Policies for the dataset whose audience the partner is not.
        hidden: Vec<String>,
        /// Policies that would offer it and may not, each with the reason: it was made from received data, and they are weaker
        /// than the terms on those allow.
        barred: Vec<(String, String)>,
    },
    /// The partner is suspended, whatever the policies say.
    Suspended,
    /// The dataset is withdrawn.
    Withdrawn,
}

/// A clause and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The file.
    pub file: String,
    /// Where in the file.
    pub spot: Spot,
    /// The clause in short form.
    pub text: String,
}

/// What one policy says.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The policy.
    pub policy: Arc<CompiledPolicy>,
    /// Whether the partner may know of the offer.
    pub is_offered: bool,
    /// Why nobody may be offered the dataset under it: the terms on received data from which it was made.
    pub barred: Option<String>,
    /// What it says, restrictions of the site included.
    pub evaluation: Evaluation,
}

impl Question {
    /// May it be used, for the first time, at once after it was agreed, no purpose declared?
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self {
            action: "use".to_owned(),
            purpose: None,
            at,
            uses: 0,
            previous: None,
            agreed_at: at,
            done: BTreeSet::new(),
            node: None,
            application: None,
        }
    }
}

impl Answer {
    /// Whether it is permitted.
    #[must_use]
    pub fn is_permit(&self) -> bool {
        matches!(self.verdict, Verdict::Permit { .. })
    }
}

impl Verdict {
    /// The deciding clause, where a policy decides.
    #[must_use]
    pub fn clause(&self) -> Option<&Clause> {
        match self {
            Self::Permit { clause, .. } | Self::Deny { clause, .. } => Some(clause),
            Self::NotOffered { .. } | Self::Suspended | Self::Withdrawn => None,
        }
    }

    /// The deciding policy, where one decides.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        match self {
            Self::Permit { policy, .. } | Self::Deny { policy, .. } => Some(policy),
            Self::NotOffered { .. } | Self::Suspended | Self::Withdrawn => None,
        }
    }
}

impl Site {
    /// A partner by its short name or participant id.
    #[must_use]
    pub fn partner(&self, name: &str) -> Option<&Partner> {
        let mut partners = self.partners.iter();
        partners.find(|partner| partner.name == name || partner.subject.participant == name)
    }

    /// A dataset by its id. Of one that only policies name nothing is known but how it would be delivered.
    #[must_use]
    pub fn dataset(&self, id: &str) -> Option<Dataset> {
        if let Some(found) = self.datasets.iter().find(|dataset| dataset.id == id) {
            return Some(found.clone());
        }
        self.rules.policies().any(|policy| policy.datasets.contains(id)).then(|| Dataset {
            id: id.to_owned(),
            facts: Facts::unpublished(),
            is_available: true,
            ..Dataset::default()
        })
    }

    /// Every dataset that is published or named by a policy, by id.
    #[must_use]
    pub fn all_datasets(&self) -> Vec<Dataset> {
        let named = self.rules.policies().flat_map(|policy| policy.datasets.iter());
        let ids: BTreeSet<&String> =
            self.datasets.iter().map(|dataset| &dataset.id).chain(named).collect();
        ids.into_iter().filter_map(|id| self.dataset(id)).collect()
    }

    /// The policies under which a dataset is offered, in the order of the offers.
    #[must_use]
    pub fn policies_of(&self, dataset: &Dataset) -> Vec<&Arc<CompiledPolicy>> {
        self.rules.policies_for(
            &dataset.id,
            dataset.facts.collections.iter().map(String::as_str),
            dataset.policies.iter().map(String::as_str),
        )
    }
}

/// Answers a question about a partner and a dataset.
#[must_use]
pub fn ask(site: &Site, partner: &Partner, dataset: &Dataset, question: &Question) -> Answer {
    let mut answer = judge_all(site, partner, dataset, question);
    if !answer.is_permit() {
        answer.changes = change::find(site, partner, dataset, question, &answer);
    }
    answer
}

/// As [`ask`], without looking for changes.
#[must_use]
pub fn judge_all(site: &Site, partner: &Partner, dataset: &Dataset, question: &Question) -> Answer {
    let judged: Vec<_> = (site.policies_of(dataset).into_iter())
        .map(|policy| {
            let barred = terms::barred(&policy.template, &dataset.bounds, site.rules.purposes());
            Judged {
                policy: Arc::clone(policy),
                is_offered: barred.is_none() && policy.is_visible_to(&partner.subject),
                barred,
                evaluation: judge(&site.rules, partner, dataset, policy, question),
            }
        })
        .collect();
    let verdict = if !partner.is_active {
        Verdict::Suspended
    } else if !dataset.is_available {
        Verdict::Withdrawn
    } else {
        verdict(site, &judged)
    };
    Answer { verdict, judged, changes: Vec::new() }
}

fn verdict(site: &Site, judged: &[Judged]) -> Verdict {
    let mut offered = judged.iter().filter(|judged| judged.is_offered);
    if let Some(granting) = offered.clone().find(|judged| judged.evaluation.is_permit()) {
        return Verdict::Permit {
            policy: granting.policy.name.clone(),
            clause: granting_clause(granting),
            until: granting.evaluation.until,
        };
    }
    // The one that covers the request and fails by a condition is closer than one that has no permission for it.
    let is_close = |judged: &&Judged| {
        !matches!(judged.evaluation.ground, Some(Ground::NoPermission { .. }) | None)
    };
    let closest = offered.clone().find(is_close).or_else(|| offered.next());
    match closest.and_then(|judged| Some((judged, judged.evaluation.ground.clone()?))) {
        Some((judged, ground)) => Verdict::Deny {
            policy: judged.policy.name.clone(),
            clause: deciding_clause(&site.rules, judged, &ground),
            ground,
        },
        None => Verdict::NotOffered {
            hidden: (judged.iter().filter(|judged| judged.barred.is_none()))
                .map(|judged| judged.policy.name.clone())
                .collect(),
            barred: (judged.iter())
                .filter_map(|judged| Some((judged.policy.name.clone(), judged.barred.clone()?)))
                .collect(),
        },
    }
}

/// Judges one policy, and the restrictions of the site, as a pull would be.
pub(crate) fn judge(
    rules: &RuleSet,
    partner: &Partner,
    dataset: &Dataset,
    policy: &CompiledPolicy,
    question: &Question,
) -> Evaluation {
    let purposes = match &question.purpose {
        Some(purpose) => vec![purpose.clone()],
        None => terms::named_purposes(&policy.template),
    };
    judge_terms(rules, partner, dataset, &policy.template, &purposes, question)
}

/// The restriction of the site that stands against a question about these purposes, whatever a policy says.
pub(crate) fn restriction(
    rules: &RuleSet,
    partner: &Partner,
    dataset: &Dataset,
    purposes: &[String],
    question: &Question,
) -> Option<Ground> {
    let everything = serde_json::json!({ "permission": [{ "action": question.action }] });
    let everything = Policy::from_json(&everything).ok()?;
    judge_terms(rules, partner, dataset, &everything, purposes, question).ground
}

fn judge_terms(
    rules: &RuleSet,
    partner: &Partner,
    dataset: &Dataset,
    policy: &Policy,
    purposes: &[String],
    question: &Question,
) -> Evaluation {
    let performed: Vec<_> = (question.done.iter())
        .map(|action| Performed {
            action: action.clone(),
            target: dataset.id.clone(),
            at: question.at,
            facts: BTreeMap::new(),
        })
        .collect();
    let asking = question.node.as_ref().map(|node| Subject {
        node: Some(Link::new(node, Proof::Connection)),
        ..partner.subject.clone()
    });
    let subject = asking.as_ref().unwrap_or(&partner.subject);
    let world = World {
        earlier_uses: Some(question.uses),
        previous_use: question.previous.map_or(PreviousUse::Never, PreviousUse::At),
        agreed_at: Some(question.agreed_at),
        performed: &performed,
        facts: &dataset.facts,
        ..World::new(question.at, subject, rules.purposes())
    };
    let request =
        Request { action: &question.action, target: &dataset.id, purposes, phase: Phase::Data };
    let evaluation = evaluate(policy, &request, &world);
    let evaluation = restrict(rules, &dataset.facts.collections, &request, &world, evaluation);
    let Some(application) = question.application.as_ref().filter(|_| evaluation.is_permit()) else {
        return evaluation;
    };
    // What the partner's node will find: it knows the application, and the time.
    let application = Some(Link::new(application, Proof::Key));
    let subject = Subject { application, ..subject.clone() };
    let request = Request { phase: Phase::HandOver, ..request };
    let handed = evaluate(policy, &request, &World { subject: &subject, ..world });
    if handed.is_permit() { evaluation } else { handed }
}

/// The permission that grants.
fn granting_clause(judged: &Judged) -> Clause {
    let policy = &judged.policy;
    let granting = judged.evaluation.rules.iter().find(|report| {
        report.kind == RuleKind::Permission
            && [report.concerns, report.active]
                .iter()
                .all(|status| matches!(status, Status::Satisfied | Status::Elsewhere))
    });
    let index = granting.map(|report| report.index).unwrap_or_default();
    let rule = policy.template.permissions.get(index);
    Clause {
        file: policy.file.clone(),
        spot: policy.places.permissions.get(index).map(|place| place.rule).unwrap_or_default(),
        text: rule.map(expression::write_rule).unwrap_or_default(),
    }
}

/// The clause that denies, and where it stands.
fn deciding_clause(rules: &RuleSet, judged: &Judged, ground: &Ground) -> Clause {
    let policy = &judged.policy;
    let (template, places) = (&policy.template, &policy.places);
    let at = |spot: Option<Spot>, text: String| Clause {
        file: policy.file.clone(),
        spot: spot.unwrap_or_default(),
        text,
    };
    match ground {
        Ground::Condition { permission, report } => {
            let rule = template.permissions.get(*permission);
            let index = rule.and_then(|rule| {
                rule.constraints.iter().position(|c| expression::write(c) == report.clause)
            });
            let place = places.permissions.get(*permission);
            let spot = place.map(|place| index.map_or(place.rule, |index| place.constraint(index)));
            at(spot, report.clause.clone())
        }
        Ground::Duty { permission, report } => {
            let rule = template.permissions.get(*permission);
            let index = rule.and_then(|rule| {
                rule.duties.iter().position(|duty| expression::write_duty(duty) == report.clause)
            });
            let place = places.permissions.get(*permission);
            at(
                place.map(|place| index.map_or(place.rule, |index| place.duty(index))),
                report.clause.clone(),
            )
        }
        Ground::Prohibited { prohibition, clause } => {
            at(places.prohibitions.get(*prohibition).map(|place| place.rule), clause.clone())
        }
        Ground::Conflict { prohibition, .. } => {
            let rule = template.prohibitions.get(*prohibition);
            at(
                places.prohibitions.get(*prohibition).map(|place| place.rule),
                rule.map(expression::write_rule).unwrap_or_default(),
            )
        }
        Ground::Restricted { clause, reason } => {
            let mut list = rules.restrictions().list.iter();
            let found = list.find(|restriction| {
                restriction.reason == *reason
                    && restriction
                        .terms
                        .prohibitions
                        .iter()
                        .any(|rule| expression::write_rule(rule) == *clause)
            });
            Clause {
                file: crate::file::RESTRICTIONS_FILE.to_owned(),
                spot: found.map(|restriction| restriction.spot).unwrap_or_default(),
                text: clause.clone(),
            }
        }
        Ground::NoPermission { .. } => {
            at(places.permissions.first().map(|place| place.rule), ground.to_string())
        }
        other => at(None, other.to_string()),
    }
}
