//! Judges constraints: one fact, one operator, one expected value; and the four connectives over them.

use super::{ConstraintReport, Phase, PreviousUse, Request, Status, World};
use crate::file::expression;
use crate::odrl::{
    Atomic, Connective, Constraint, LeftOperand, Logical, Operator, Party, RightOperand,
};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use std::cmp::Ordering;

/// One evaluation in progress: its arguments, and the next instant at which time changes something.
pub(super) struct Scope<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) world: &'a World<'a>,
    purpose: Option<&'a str>,
    /// Leave every fact but the purpose open.
    only_purpose: bool,
    until: Option<Timestamp>,
}

/// The verdict on an atomic constraint, before it becomes a report.
struct Finding {
    status: Status,
    found: String,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        request: &'a Request<'a>,
        world: &'a World<'a>,
        purpose: Option<&'a str>,
    ) -> Self {
        Self { request, world, purpose, only_purpose: false, until: None }
    }

    /// An evaluation that leaves every fact but the purpose open.
    pub(super) fn only_purpose(self) -> Self {
        Self { only_purpose: true, ..self }
    }

    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether facts exist that come with a transfer.
    pub(super) fn is_transfer(&self) -> bool {
        self.request.phase >= Phase::Transfer
    }

    /// Whether the subject is the party.
    pub(super) fn party(&mut self, party: &Party) -> Status {
        if !self.world.subject.is_named(&party.id) {
            return Status::Unsatisfied;
        }
        let refinements = self.all(&party.refinements);
        conjunction(refinements.iter().map(|report| report.status))
    }

    pub(super) fn all(&mut self, constraints: &[Constraint]) -> Vec<ConstraintReport> {
        constraints.iter().map(|constraint| self.judge(constraint)).collect()
    }

    fn judge(&mut self, constraint: &Constraint) -> ConstraintReport {
        let (finding, operands) = match constraint {
            Constraint::Atomic(atomic) => (self.atomic(atomic), Vec::new()),
            Constraint::Logical(logical) => self.logical(logical),
            Constraint::NotUnderstood(part) => (
                Finding {
                    status: Status::NotUnderstood,
                    found: format!("the condition {}", part.reason),
                },
                Vec::new(),
            ),
        };
        ConstraintReport {
            clause: expression::write(constraint),
            status: finding.status,
            found: finding.found,
            operands,
        }
    }

    fn logical(&mut self, logical: &Logical) -> (Finding, Vec<ConstraintReport>) {
        let operands = self.all(&logical.operands);
        let statuses = operands.iter().map(|report| report.status);
        let status = match logical.connective {
            // The order of `andSequence` is one of establishing; a state of the world has no order
            // left, so all must hold.
            Connective::And | Connective::AndSequence => conjunction(statuses),
            Connective::Or => disjunction(statuses),
            Connective::Xone => exactly_one(statuses),
        };
        let hold = operands.iter().filter(|report| report.status == Status::Satisfied).count();
        let found = format!("{hold} of {} hold", operands.len());
        (Finding { status, found }, operands)
    }

    fn atomic(&mut self, atomic: &Atomic) -> Finding {
        if self.only_purpose && atomic.left != LeftOperand::Purpose {
            return later("it is not about the purpose");
        }
        match (&atomic.right, atomic.left) {
            (RightOperand::Instant(bound), _) => self.instant(atomic.operator, *bound),
            (RightOperand::Number(limit), _) => self.count(atomic, *limit),
            (RightOperand::Duration(span), left) => self.duration(left, atomic.operator, span.0),
            (RightOperand::Terms(terms), LeftOperand::Purpose) => {
                self.purpose(atomic.operator, terms)
            }
            (RightOperand::Terms(terms), LeftOperand::Spatial) => {
                self.region(atomic.operator, terms)
            }
            (RightOperand::Terms(terms), _) => self.recipient(atomic.operator, terms),
        }
    }

    fn instant(&mut self, operator: Operator, bound: Timestamp) -> Finding {
        let status = self.compare_now(operator, bound);
        let may_come = self.world.now < bound
            && matches!(operator, Operator::Gt | Operator::Gteq | Operator::Eq)
            || operator == Operator::Neq
            || operator == Operator::Gt && self.world.now == bound;
        let status = match status {
            Status::Unsatisfied if may_come && !self.is_transfer() => Status::AppliesLater,
            status => status,
        };
        Finding { status, found: format!("it is {}", self.world.now) }
    }

    fn count(&self, atomic: &Atomic, limit: u64) -> Finding {
        if !self.is_transfer() {
            return later("uses are counted when a transfer starts");
        }
        let uses = self
            .world
            .earlier_uses
            .and_then(|earlier| earlier.checked_add(atomic.status)?.checked_add(1));
        match uses {
            Some(uses) => Finding {
                status: decided(holds(atomic.operator, uses.cmp(&limit))),
                found: format!("this would be use {uses}"),
            },
            None => undecidable("the number of earlier uses is not known"),
        }
    }

    fn duration(&mut self, left: LeftOperand, operator: Operator, span: Span) -> Finding {
        if !self.is_transfer() {
            return later("time is measured once an agreement stands");
        }
        let anchor = match (left, self.world.previous_use, self.world.agreed_at) {
            (LeftOperand::TimeInterval, PreviousUse::Never, _) => {
                // Without a use before, any time has passed.
                let operator = period(left, operator);
                return Finding {
                    status: decided(holds(operator, Ordering::Greater)),
                    found: "this is the first use".to_owned(),
                };
            }
            (LeftOperand::TimeInterval, PreviousUse::At(at), _) => at,
            (LeftOperand::TimeInterval, PreviousUse::Unknown, _) => {
                return undecidable("the time of the use before is not known");
            }
            (_, _, Some(at)) => at,
            (_, _, None) => return undecidable("the time of the agreement is not known"),
        };
        let operator = period(left, operator);
        match after(anchor, span) {
            Some(bound) => {
                let status = self.compare_now(operator, bound);
                Finding {
                    status,
                    found: format!(
                        "counted from {anchor} that is {bound}; it is {}",
                        self.world.now
                    ),
                }
            }
            None => undecidable("the period ends beyond the calendar"),
        }
    }

    /// Compares now with an instant, and notes when the answer changes.
    fn compare_now(&mut self, operator: Operator, bound: Timestamp) -> Status {
        let now = self.world.now;
        let next = bound.checked_add(Span::new().nanoseconds(1)).ok();
        let change = match operator {
            Operator::Lt | Operator::Gteq => Some(bound),
            Operator::Lteq | Operator::Gt => next,
            _ if now < bound => Some(bound),
            _ => next,
        };
        self.note(change);
        decided(holds(operator, now.cmp(&bound)))
    }

    fn note(&mut self, change: Option<Timestamp>) {
        if let Some(change) = change.filter(|change| *change > self.world.now) {
            self.until = super::earliest(self.until, Some(change));
        }
    }

    fn purpose(&self, operator: Operator, terms: &[String]) -> Finding {
        if self.request.phase == Phase::Catalog {
            return later("a purpose is declared when the contract is negotiated");
        }
        let Some(declared) = self.purpose else {
            return undecidable("no purpose was declared");
        };
        let purposes = self.world.purposes;
        let status = match operator {
            // The one operator that looks at all declared purposes together.
            Operator::IsAllOf => decided(terms.iter().all(|term| {
                self.request.purposes.iter().any(|purpose| purposes.is_within(purpose, term))
            })),
            operator => named(
                operator,
                terms,
                |term| purposes.is_within(declared, term),
                |term| purposes.is_within(term, declared),
            ),
        };
        Finding { status, found: format!("the declared purpose is `{declared}`") }
    }

    fn region(&self, operator: Operator, terms: &[String]) -> Finding {
        let region = self.world.subject.region.as_deref();
        let Some(region) = region.and_then(crate::odrl::canonical_region) else {
            return undecidable("no region is declared for the partner");
        };
        let status = named(
            operator,
            terms,
            |term| is_region_within(&region, term),
            |term| is_region_within(term, &region),
        );
        Finding { status, found: format!("the partner's region is `{region}`") }
    }

    fn recipient(&self, operator: Operator, terms: &[String]) -> Finding {
        let subject = self.world.subject;
        let status =
            named(operator, terms, |term| subject.is_named(term), |term| subject.is_named(term));
        Finding { status, found: format!("the recipient is `{}`", subject.participant) }
    }
}

/// Compares a fact that has a name and wider names: `within` says whether it is (part of) a term,
/// `contains` the reverse.
fn named(
    operator: Operator,
    terms: &[String],
    within: impl Fn(&str) -> bool,
    contains: impl Fn(&str) -> bool,
) -> Status {
    let mut terms = terms.iter().map(String::as_str);
    match operator {
        Operator::Eq | Operator::IsA | Operator::IsPartOf | Operator::IsAnyOf => {
            decided(terms.any(within))
        }
        Operator::Neq | Operator::IsNoneOf => decided(!terms.any(within)),
        Operator::IsAllOf => decided(terms.all(within)),
        Operator::HasPart => decided(terms.all(contains)),
        Operator::Gt | Operator::Gteq | Operator::Lt | Operator::Lteq => Status::NotUnderstood,
    }
}

/// Whether an order satisfies an operator; set operators have none, and reading refuses them here.
fn holds(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Eq => order.is_eq(),
        Operator::Neq => order.is_ne(),
        Operator::Gt => order.is_gt(),
        Operator::Gteq => order.is_ge(),
        Operator::Lt => order.is_lt(),
        Operator::Lteq => order.is_le(),
        _ => false,
    }
}

/// The instant a period after another, by the calendar in UTC.
pub(super) fn after(anchor: Timestamp, span: Span) -> Option<Timestamp> {
    let end = anchor.to_zoned(TimeZone::UTC).checked_add(span).ok()?;
    Some(end.timestamp())
}

/// `eq` on a period states the period itself (vocabulary 4.5): use within it, or not before it is over.
const fn period(left: LeftOperand, operator: Operator) -> Operator {
    match (left, operator) {
        (LeftOperand::ElapsedTime, Operator::Eq) => Operator::Lteq,
        (_, Operator::Eq) => Operator::Gteq,
        (_, operator) => operator,
    }
}

fn is_region_within(narrow: &str, wide: &str) -> bool {
    narrow == wide || narrow.strip_prefix(wide).is_some_and(|rest| rest.starts_with('-'))
}

fn decided(holds: bool) -> Status {
    if holds { Status::Satisfied } else { Status::Unsatisfied }
}

fn later(why: &str) -> Finding {
    Finding { status: Status::AppliesLater, found: why.to_owned() }
}

fn undecidable(why: &str) -> Finding {
    Finding { status: Status::Undecidable, found: why.to_owned() }
}

/// All hold. What is not understood outweighs everything, then one that fails decides.
pub(super) fn conjunction(statuses: impl Iterator<Item = Status> + Clone) -> Status {
    if let Some(unclear) = not_understood(statuses.clone()) {
        return unclear;
    }
    if statuses.clone().any(|status| status == Status::Unsatisfied) {
        return Status::Unsatisfied;
    }
    open(statuses).unwrap_or(Status::Satisfied)
}

/// At least one holds.
fn disjunction(statuses: impl Iterator<Item = Status> + Clone) -> Status {
    if let Some(unclear) = not_understood(statuses.clone()) {
        return unclear;
    }
    if statuses.clone().any(|status| status == Status::Satisfied) {
        return Status::Satisfied;
    }
    open(statuses).unwrap_or(Status::Unsatisfied)
}

/// Exactly one holds.
fn exactly_one(statuses: impl Iterator<Item = Status> + Clone) -> Status {
    if let Some(unclear) = not_understood(statuses.clone()) {
        return unclear;
    }
    let hold = statuses.clone().filter(|status| *status == Status::Satisfied).count();
    if hold > 1 {
        return Status::Unsatisfied;
    }
    open(statuses).unwrap_or_else(|| decided(hold == 1))
}

fn not_understood(mut statuses: impl Iterator<Item = Status>) -> Option<Status> {
    statuses.find(|status| *status == Status::NotUnderstood)
}

/// What keeps a connective open, the graver first: a missing fact, then a later phase.
fn open(statuses: impl Iterator<Item = Status> + Clone) -> Option<Status> {
    [Status::Undecidable, Status::AppliesLater]
        .into_iter()
        .find(|kind| statuses.clone().any(|status| status == *kind))
}
