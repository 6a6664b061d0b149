//! Under which terms a recipient may pass on what it makes of received data: `nextPolicy` (ODRL vocabulary; IDS class 17).
//!
//! To permit `use` is not to permit passing on, though the vocabulary has `distribute` included in it: every pull rests on
//! a permission to use. An agreement lets data go further only by naming an action of passing on. The bound is then the
//! policy that a duty `nextPolicy` of that permission names, or, where none does, the agreement's own terms.

use super::{Weaker, no_weaker};
use crate::file::expression;
use crate::odrl::{Action, Conflict, Duty, Policy, Rule};
use crate::set::Purposes;
use crate::vocabulary;

#[cfg(test)]
mod tests;

/// The actions by which others come to have the data.
const PASSING_ON: [&str; 7] =
    ["distribute", "share", "grantUse", "nextPolicy", "transfer", "give", "sell"];

/// The action of making something of data, which whoever passes on a result has done.
const DERIVE: &str = "derive";

/// What bounds the terms under which received data may be passed on.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// The agreement's own terms, as terms for others.
    pub own: Option<Policy>,
    /// Policies named by a duty `nextPolicy` of a permission to pass on: an alternative to the own terms.
    pub named: Vec<Named>,
    /// Policies named by an obligation `nextPolicy` of the agreement as a whole: each of them bounds besides.
    pub always: Vec<Named>,
}

/// A policy that a duty `nextPolicy` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its identifier.
    pub id: String,
    /// What it says: the SHA-256 of its terms ([`crate::set::CompiledPolicy::own_sha256`]). Nothing where whoever granted did
    /// not say.
    pub sha256: Option<[u8; 32]>,
}

/// An agreement does not let data be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Kept {
    /// No permission names it.
    #[error("it permits no passing on: no permission names `distribute`, `share` or `grantUse`")]
    NotPermitted,
    /// No permission lets anything be made of the data.
    #[error("it does not permit `derive`, nor `use` as a whole")]
    NotDerivable,
    /// A prohibition does.
    #[error("it prohibits `{clause}`")]
    Prohibited {
        /// The prohibition in short.
        clause: String,
    },
    /// A duty `nextPolicy` names no policy.
    #[error(
        "its duty `nextPolicy` does not name the policy, so that none can be shown to be as strict"
    )]
    Unnamed,
}

/// The terms that others may be given of what was made of received data.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// What gave the bound, such as `agreement urn:uuid:…`.
    pub source: String,
    /// Why nothing may be offered any more, whatever the terms.
    pub lapsed: Option<String>,
    /// Of each of these, one alternative has to allow the terms. Without any, nothing does.
    pub all_of: Vec<Vec<Policy>>,
}

impl Bound {
    /// Why terms may not be offered; nothing where they are shown to be within the bound.
    #[must_use]
    pub fn bars(&self, offered: &Policy, purposes: &Purposes) -> Option<String> {
        if let Some(lapsed) = &self.lapsed {
            return Some(format!("{} {lapsed}", self.source));
        }
        if self.all_of.is_empty() {
            return Some(format!("the terms of {} cannot be read", self.source));
        }
        let weaker =
            self.all_of.iter().find_map(|any_of| within(offered, any_of, purposes).err())?;
        Some(format!("weaker than {} allows for what is made of its data: {weaker}", self.source))
    }
}

/// The first reason for which terms may not be offered under bounds; nothing where all of them allow it.
#[must_use]
pub fn barred(offered: &Policy, bounds: &[Bound], purposes: &Purposes) -> Option<String> {
    bounds.iter().find_map(|bound| bound.bars(offered, purposes))
}

/// What bounds the terms for others that an agreement leaves open.
///
/// # Errors
/// [`Kept`] when it lets nothing be passed on.
pub fn next(agreed: &Policy) -> Result<Next, Kept> {
    derivable(agreed)?;
    let mut forbidden = None;
    let mut named = Vec::new();
    let mut own = Vec::new();
    for rule in &agreed.permissions {
        for action in rule.actions.iter().filter(|action| is_passing_on(&action.name)) {
            if let Some(prohibition) = prohibiting(agreed, &action.name, is_passing_on) {
                forbidden = Some(expression::write_rule(prohibition));
                continue;
            }
            let (nexts, duties): (Vec<&Duty>, Vec<&Duty>) =
                rule.duties.iter().partition(is_next_policy);
            if nexts.is_empty() {
                let duties = duties.into_iter().map(for_others).collect();
                own.push(Rule { duties, ..for_use(rule, action) });
            }
            named.extend(policies_named(nexts)?);
        }
    }
    if own.is_empty() && named.is_empty() {
        return Err(forbidden.map_or(Kept::NotPermitted, |clause| Kept::Prohibited { clause }));
    }
    let (nexts, obligations): (Vec<&Duty>, Vec<&Duty>) =
        agreed.obligations.iter().partition(is_next_policy);
    let own = (!own.is_empty()).then(|| Policy {
        permissions: own,
        prohibitions: (agreed.prohibitions.iter())
            .map(|rule| Rule { target: None, assigner: None, assignee: None, ..rule.clone() })
            .collect(),
        obligations: obligations.into_iter().map(for_others).collect(),
        assigner: None,
        assignee: None,
        target: None,
        ..agreed.clone()
    });
    Ok(Next { own, named, always: policies_named(nexts)? })
}

/// Passes where something may be made of the data.
fn derivable(agreed: &Policy) -> Result<(), Kept> {
    let mut actions = agreed.permissions.iter().flat_map(|rule| &rule.actions);
    if !actions.any(|action| vocabulary::is_included_in(DERIVE, &action.name)) {
        return Err(Kept::NotDerivable);
    }
    match prohibiting(agreed, DERIVE, |name| name == DERIVE) {
        Some(prohibition) => Err(Kept::Prohibited { clause: expression::write_rule(prohibition) }),
        None => Ok(()),
    }
}

/// The policies that duties `nextPolicy` name.
fn policies_named(duties: Vec<&Duty>) -> Result<Vec<Named>, Kept> {
    let name = |duty: &Duty| {
        let target = duty.target.as_ref()?;
        Some(Named { id: target.id.clone(), sha256: duty.target_sha256 })
    };
    duties.into_iter().map(|duty| name(duty).ok_or(Kept::Unnamed)).collect()
}

/// Shows that terms for others are within what bounds them. `bounds` are alternatives.
fn within(offered: &Policy, bounds: &[Policy], purposes: &Purposes) -> Result<(), Weaker> {
    let mut outcome = Err(Weaker::Permits { clause: String::new() });
    for bound in bounds {
        outcome = no_weaker(offered, bound, purposes);
        if outcome.is_ok() {
            return Ok(());
        }
    }
    outcome
}

fn is_passing_on(name: &str) -> bool {
    PASSING_ON.contains(&name)
}

/// The prohibition of an action, by the actions of it that count, whatever its conditions: whether they hold for a third
/// party is not known here. One of `use` as a whole goes into the bound instead.
fn prohibiting<'p>(
    agreed: &'p Policy,
    permitted: &str,
    counts: impl Fn(&str) -> bool,
) -> Option<&'p Rule> {
    if agreed.conflict == Conflict::Perm {
        return None;
    }
    agreed.prohibitions.iter().find(|rule| {
        let mut actions = rule.actions.iter();
        actions.any(|prohibited| {
            counts(&prohibited.name) && vocabulary::overlap(permitted, &prohibited.name)
        })
    })
}

fn is_next_policy(duty: &&Duty) -> bool {
    duty.is_next_policy()
}

/// The permission that others may be given: to use, under the conditions of passing on.
fn for_use(rule: &Rule, action: &Action) -> Rule {
    Rule {
        actions: vec![Action { name: "use".to_owned(), refinements: action.refinements.clone() }],
        target: None,
        assigner: None,
        assignee: None,
        ..rule.clone()
    }
}

fn for_others(duty: &Duty) -> Duty {
    let consequences = duty.consequences.iter().map(for_others).collect();
    Duty { target: None, target_sha256: None, assignee: None, consequences, ..duty.clone() }
}
