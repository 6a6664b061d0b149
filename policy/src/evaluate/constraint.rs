//! Judges constraints: one fact, one operator, one expected value; and the four connectives over them.

use super::duty::Place;
use super::{
    Behaviour, ConstraintReport, Happened, Phase, PreviousUse, Proof, Request, RuleKind, Status,
    World,
};
use crate::file::expression;
use crate::odrl::{
    Asset, Atomic, Connective, Constraint, Decimal, LeftOperand, Logical, Operator, Party,
    RightOperand,
};
use crate::vocabulary::{Fact, Operand};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

/// What `count` counts here.
const COUNTED: &str = "transfer";

/// One evaluation in progress: its arguments, and the next instant at which time changes something.
pub(super) struct Scope<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) world: &'a World<'a>,
    purpose: Option<&'a str>,
    /// Leave every fact but the purpose open.
    only_purpose: bool,
    /// Write texts into the reports.
    explains: bool,
    /// No use is at hand: duties are looked at between uses.
    tracks: bool,
    /// What periods count from: the agreement, or since when a consequence is owed.
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// The verdict on an atomic constraint, before it becomes a report.
struct Finding {
    status: Status,
    found: String,
}

/// Why a credential does not count.
#[derive(Clone, Copy)]
enum Lack {
    Begins(Timestamp),
    Ended(Timestamp),
    OtherNode,
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins(from) => write!(formatter, "is valid from {from} only"),
            Self::Ended(until) => write!(formatter, "ended at {until}"),
            Self::OtherNode => formatter.write_str("is about another node"),
        }
    }
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        request: &'a Request<'a>,
        world: &'a World<'a>,
        purpose: Option<&'a str>,
    ) -> Self {
        Self {
            request,
            world,
            purpose,
            only_purpose: false,
            explains: true,
            tracks: false,
            from: world.agreed_at,
            until: None,
        }
    }

    /// An evaluation that leaves every fact but the purpose open.
    pub(super) fn only_purpose(self) -> Self {
        Self { only_purpose: true, ..self }
    }

    /// An evaluation whose reports have no texts.
    pub(super) fn silent(self) -> Self {
        Self { explains: false, ..self }
    }

    /// A look at duties between uses: `count` is the number of uses so far.
    pub(super) fn tracking(self) -> Self {
        Self { tracks: true, ..self }
    }

    pub(super) fn tracks(&self) -> bool {
        self.tracks
    }

    /// What is known of the past of a duty or prohibition.
    pub(super) fn past(&self, place: &Place<'_>) -> Happened {
        // A policy without past, which is the rule, needs no names.
        match self.world.past.is_empty() {
            true => Happened::default(),
            false => self.world.past.get(&place.to_string()).copied().unwrap_or_default(),
        }
    }

    /// Sets what periods count from; the answer is what they did.
    pub(super) fn count_from(&mut self, from: Option<Timestamp>) -> Option<Timestamp> {
        std::mem::replace(&mut self.from, from)
    }

    pub(super) fn counted_from(&self) -> Option<Timestamp> {
        self.from
    }

    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether facts exist that come with a transfer.
    pub(super) fn is_transfer(&self) -> bool {
        self.request.phase >= Phase::Transfer
    }

    /// Whether this node is the recipient's, about to hand received data to an application.
    pub(super) fn is_hand_over(&self) -> bool {
        self.request.phase == Phase::HandOver
    }

    /// A text of a report, written only where one is wanted.
    pub(super) fn text(&self, write: impl FnOnce() -> String) -> String {
        if self.explains { write() } else { String::new() }
    }

    /// Whether the subject is the party. A member of its chain that is only declared makes it undecidable.
    pub(super) fn party(&mut self, kind: RuleKind, party: &Party) -> Status {
        let subject = self.world.subject;
        let named = match subject.is_named(&party.id) {
            true => decided_or_open(subject.is_proven(&party.id)),
            // In which groups the provider has the recipient is for it to know.
            false if self.is_hand_over() => Status::Elsewhere,
            false => return Status::Unsatisfied,
        };
        let refinements = self.all(kind, &party.refinements);
        conjunction(refinements.iter().map(|report| report.status).chain([named]))
    }

    /// Whether the dataset is the asset, or a member of the collection that it names.
    pub(super) fn asset(&mut self, kind: RuleKind, asset: &Asset) -> Status {
        let is_it =
            asset.id == self.request.target || self.world.facts.collections.contains(&asset.id);
        let named = match is_it {
            true => Status::Satisfied,
            // Which tags the provider gave the dataset is for it to know.
            false if self.is_hand_over() => Status::Elsewhere,
            false => return Status::Unsatisfied,
        };
        let refinements = self.all(kind, &asset.refinements);
        conjunction(refinements.iter().map(|report| report.status).chain([named]))
    }

    /// Judges the conditions of a rule of a kind, or of a duty, which counts as a permission: what the recipient agrees to
    /// comply with reads the other way round in a prohibition.
    pub(super) fn all(
        &mut self,
        kind: RuleKind,
        constraints: &[Constraint],
    ) -> Vec<ConstraintReport> {
        constraints.iter().map(|constraint| self.judge(kind, constraint)).collect()
    }

    /// Judges a constraint with all its operands, without recursion.
    fn judge(&mut self, kind: RuleKind, constraint: &Constraint) -> ConstraintReport {
        let mut open: Vec<(&Constraint, &Logical, Vec<ConstraintReport>)> = Vec::new();
        let mut current = constraint;
        loop {
            let finding = match current {
                Constraint::Atomic(atomic) => self.atomic(kind, atomic),
                Constraint::NotUnderstood(part) => Finding {
                    status: Status::NotUnderstood,
                    found: self.text(|| format!("the condition {}", part.reason)),
                },
                Constraint::Logical(logical) => match logical.operands.first() {
                    Some(first) => {
                        open.push((current, logical, Vec::with_capacity(logical.operands.len())));
                        current = first;
                        continue;
                    }
                    None => Finding {
                        status: Status::NotUnderstood,
                        found: self.text(|| "the condition has no operands".to_owned()),
                    },
                },
            };
            let mut report = self.report(current, finding, Vec::new());
            loop {
                let Some((whole, logical, mut operands)) = open.pop() else { return report };
                operands.push(report);
                if let Some(next) = logical.operands.get(operands.len()) {
                    open.push((whole, logical, operands));
                    current = next;
                    break;
                }
                let finding = self.connect(logical.connective, &operands);
                report = self.report(whole, finding, operands);
            }
        }
    }

    fn report(
        &self,
        constraint: &Constraint,
        finding: Finding,
        operands: Vec<ConstraintReport>,
    ) -> ConstraintReport {
        let clause = self.text(|| expression::write(constraint));
        ConstraintReport { clause, status: finding.status, found: finding.found, operands }
    }

    fn connect(&self, connective: Connective, operands: &[ConstraintReport]) -> Finding {
        let statuses = operands.iter().map(|report| report.status);
        let status = match connective {
            Connective::And => conjunction(statuses),
            Connective::AndSequence => sequence(statuses),
            Connective::Or => disjunction(statuses),
            Connective::Xone => exactly_one(statuses),
        };
        let found = self.text(|| {
            let hold = operands.iter().filter(|report| report.status == Status::Satisfied).count();
            format!("{hold} of {} hold", operands.len())
        });
        Finding { status, found }
    }

    fn atomic(&mut self, kind: RuleKind, atomic: &Atomic) -> Finding {
        if self.only_purpose && !atomic.left.is_purpose() {
            return self.later("it is not about the purpose");
        }
        if self.is_hand_over() && !is_known_at_hand_over(atomic.left) {
            return self.elsewhere("the provider judged it before the data came");
        }
        let finding = self.compared(kind, atomic);
        let is_past = self.is_hand_over() && kind == RuleKind::Permission && is_beginning(atomic);
        match finding.status {
            // What has begun for the provider's clock has begun, although this one may be behind.
            Status::Unsatisfied if is_past => {
                self.elsewhere("that it had begun was judged by the provider's clock")
            }
            _ => finding,
        }
    }

    fn compared(&mut self, kind: RuleKind, atomic: &Atomic) -> Finding {
        match (&atomic.right, atomic.left) {
            (RightOperand::Reference(reference), _) => self.referenced(kind, atomic, reference),
            (_, LeftOperand::Other(operand)) => self.other(kind, operand, atomic),
            (RightOperand::Instant(bound), _) => self.instant(atomic.operator, *bound),
            (RightOperand::Number(limit), _) => self.count(atomic, *limit),
            (RightOperand::Duration(span), left) => self.duration(left, atomic.operator, span.0),
            (RightOperand::Terms(terms), LeftOperand::Purpose) => {
                self.purpose(atomic.operator, terms)
            }
            (RightOperand::Terms(terms), LeftOperand::Spatial) => {
                self.region(atomic.operator, terms)
            }
            (RightOperand::Terms(terms), LeftOperand::Recipient) => {
                self.recipient(atomic.operator, terms)
            }
            _ => self.undecidable("its value has another type"),
        }
    }

    /// A comparison with what an identifier stands for, where that is known.
    fn referenced(&mut self, kind: RuleKind, atomic: &Atomic, reference: &str) -> Finding {
        let value = self.world.facts.references.get(reference);
        match value.map(|value| atomic.resolved(value)) {
            Some(Ok(resolved)) if !matches!(resolved.right, RightOperand::Reference(_)) => {
                self.atomic(kind, &resolved)
            }
            Some(_) => self.undecidable("what the reference stands for does not fit"),
            None => self.undecidable("what the reference stands for is not known here"),
        }
    }

    fn other(&mut self, kind: RuleKind, operand: &'static Operand, atomic: &Atomic) -> Finding {
        let (operator, facts) = (atomic.operator, self.world.facts);
        let subject = self.world.subject;
        match (operand.fact, &atomic.right) {
            (Fact::Now, RightOperand::Instant(bound)) => {
                let is_end = operator == Operator::Eq && operand.is_until();
                self.instant(if is_end { Operator::Lteq } else { operator }, *bound)
            }
            (Fact::Now | Fact::SinceAgreement, RightOperand::Duration(span)) => {
                let is_end = operator == Operator::Eq && operand.is_until();
                let operator = if is_end { Operator::Lteq } else { operator };
                self.duration(LeftOperand::Other(operand), operator, span.0)
            }
            (Fact::MeteredTime, RightOperand::Duration(span)) => self.metered(operator, span.0),
            (Fact::Purpose, RightOperand::Terms(terms)) => self.purpose(operator, terms),
            (Fact::Recipient, RightOperand::Terms(terms)) => self.recipient(operator, terms),
            (Fact::Location, RightOperand::Terms(terms)) => {
                self.names(operator, terms, &subject.locations, "the partner's locations")
            }
            (Fact::Node, RightOperand::Terms(terms)) => self.node(operator, terms),
            (Fact::Attribute, RightOperand::Terms(terms)) => {
                self.attribute(operand, operator, terms)
            }
            (Fact::Application, RightOperand::Terms(terms)) => {
                self.application(operand, operator, terms)
            }
            (Fact::MediaType, RightOperand::Terms(terms)) => {
                let terms: Vec<&str> = terms.iter().map(|term| media_type(term)).collect();
                self.published(operator, &terms, facts.media_type.as_deref())
            }
            (Fact::Language, RightOperand::Terms(terms)) => {
                let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
                self.published(operator, &terms, facts.language.as_deref())
            }
            (Fact::Version, RightOperand::Terms(terms)) => self.version(operator, terms),
            (Fact::Size, RightOperand::Decimal(bound)) => {
                self.number(operator, facts.size.map(Decimal::from), *bound, "bytes")
            }
            (Fact::Percentage, RightOperand::Decimal(bound)) => {
                self.number(operator, Some(Decimal::from(100)), *bound, "per cent")
            }
            (Fact::Paid, RightOperand::Decimal(bound)) => {
                let currency = atomic.unit.as_deref().unwrap_or_default();
                self.number(operator, facts.paid.get(currency).copied(), *bound, currency)
            }
            (Fact::Channel, RightOperand::Terms(terms)) if self.is_transfer() => {
                self.names(operator, terms, &facts.delivery_channels, "the data is delivered by")
            }
            (Fact::Channel, _) => self.later("how data is delivered is known with the transfer"),
            (Fact::CountedUnit, RightOperand::Terms(terms)) => {
                let status = named(operator, terms, |term| term == COUNTED, |term| term == COUNTED);
                Finding { status, found: self.text(|| format!("what is counted is a {COUNTED}")) }
            }
            (Fact::Agreed, _) => self.agreed(kind),
            _ => self.undecidable("it is not a fact that a connector can know"),
        }
    }

    /// What the recipient takes upon itself by agreeing: in a permission that it complies, in a prohibition that it
    /// does not do it. A restriction of the site is not agreed with anybody.
    fn agreed(&self, kind: RuleKind) -> Finding {
        if self.world.behaviour == Behaviour::Open {
            return self.undecidable("nobody agreed to it");
        }
        let status = match (self.world.agreed_at, kind) {
            (None, _) if !self.is_transfer() => Status::AppliesLater,
            (None, _) => Status::Undecidable,
            (Some(_), RuleKind::Permission) => Status::Satisfied,
            (Some(_), RuleKind::Prohibition) => Status::Unsatisfied,
        };
        let text = "it is a term of contract that the recipient accepts with the agreement";
        Finding { status, found: self.text(|| text.to_owned()) }
    }

    fn metered(&mut self, operator: Operator, span: Span) -> Finding {
        if !self.is_transfer() {
            return self.later("time is metered while data flows");
        }
        let start = Timestamp::UNIX_EPOCH;
        let limit = after(start, span).map(|end| end.duration_since(start));
        let (Some(metered), Some(limit)) = (self.world.facts.metered_time, limit) else {
            return self.undecidable("how long data flowed is not known");
        };
        // While data flows the meter runs with the clock.
        let bound =
            limit.checked_sub(metered).and_then(|left| self.world.now.checked_add(left).ok());
        let Some(bound) = bound else {
            return self.undecidable("the period ends beyond the calendar");
        };
        let operator = if operator == Operator::Eq { Operator::Lteq } else { operator };
        let status = self.compare_now(operator, bound);
        Finding { status, found: self.text(|| format!("data flowed for {metered:#}")) }
    }

    fn number(
        &self,
        operator: Operator,
        found: Option<Decimal>,
        bound: Decimal,
        unit: &str,
    ) -> Finding {
        match found {
            Some(number) => Finding {
                status: decided(holds(operator, number.cmp(&bound))),
                found: self.text(|| format!("it is {number} {unit}")),
            },
            None => self.undecidable("the number is not known"),
        }
    }

    fn names(
        &self,
        operator: Operator,
        terms: &[String],
        values: &BTreeSet<String>,
        what: &str,
    ) -> Finding {
        if values.is_empty() {
            return self.undecidable("nothing is known of it");
        }
        let contains = |term: &str| values.contains(term);
        let status = named(operator, terms, contains, contains);
        let found = self.text(|| {
            let listed: Vec<&str> = values.iter().map(String::as_str).collect();
            format!("{what} `{}`", listed.join("`, `"))
        });
        Finding { status, found }
    }

    fn node(&self, operator: Operator, terms: &[String]) -> Finding {
        let Some(node) = &self.world.subject.node else {
            return match self.is_transfer() {
                true => self.undecidable("which node fetches the data is not known"),
                false => self.later("the node that fetches the data is known with the transfer"),
            };
        };
        match node.proof {
            Proof::Declared => self.undecidable("the node is only declared by the partner"),
            _ => self.names(operator, terms, &node.names, "the node is"),
        }
    }

    /// The application that gets the data. The recipient's node knows it, when it hands them out. Before, the provider has what is
    /// attested of the partner, and else leaves it to that node where it is one that asks. A restriction of the site is not part of
    /// any terms, so nobody else judges it.
    fn application(&mut self, operand: &Operand, operator: Operator, terms: &[String]) -> Finding {
        let world = self.world;
        if self.is_hand_over() {
            return match &world.subject.application {
                Some(application) if application.proof != Proof::Declared => {
                    self.names(operator, terms, &application.names, "the application that asks is")
                }
                Some(_) => self.undecidable("the application is only declared, not proven"),
                None => self.undecidable(
                    "which application asks is not known: it showed no key with an identifier of an application",
                ),
            };
        }
        // What our administrator says of it stands, and so does that it has ended.
        let subject = world.subject;
        let is_said = subject.attributes.contains_key(operand.term)
            || subject.statements.iter().any(|statement| statement.operand == operand.term);
        if subject.asks_applications && !is_said && world.behaviour == Behaviour::Closed {
            return self.elsewhere(
                "the recipient's node judges it for each application to which it hands the data out",
            );
        }
        self.attribute(operand, operator, terms)
    }

    /// What the partner's file says of it: attributes without a term, and credentials while they are valid.
    fn attribute(&mut self, operand: &Operand, operator: Operator, terms: &[String]) -> Finding {
        let subject = self.world.subject;
        let mut values = subject.attributes.get(operand.term).cloned().unwrap_or_default();
        let mut missing = None;
        for statement in subject.statements.iter().filter(|said| said.operand == operand.term) {
            match (&statement.node, &subject.node) {
                (Some(_), None) if !self.is_transfer() => {
                    return self.later("what is attested of a node is judged when it fetches");
                }
                (Some(about), node) => {
                    let is_it = node.as_ref().is_some_and(|node| {
                        node.proof != Proof::Declared && node.names.contains(about)
                    });
                    if !is_it {
                        missing = Some((statement, Lack::OtherNode));
                        continue;
                    }
                }
                (None, _) => {}
            }
            // INVARIANT: the answer changes where a credential begins and ends, so a permit ends there as well.
            self.note(statement.from);
            self.note(statement.until);
            let now = self.world.now;
            match (statement.from, statement.until) {
                (Some(from), _) if now < from => missing = Some((statement, Lack::Begins(from))),
                (_, Some(until)) if now >= until => missing = Some((statement, Lack::Ended(until))),
                _ => values.extend(statement.values.iter().cloned()),
            }
        }
        match missing {
            Some((statement, lack)) if values.is_empty() => {
                let why = self.text(|| format!("{} {lack}", statement.source));
                self.undecidable(&why)
            }
            _ if values.is_empty() => self.undecidable("the partner's file does not say"),
            _ => self.names(operator, terms, &values, "the partner's file says"),
        }
    }

    /// A name that was published with the dataset; case does not matter in any of them.
    fn published(&self, operator: Operator, terms: &[&str], found: Option<&str>) -> Finding {
        let Some(found) = found else { return self.undecidable("the dataset does not say") };
        let is = |term: &str| term.eq_ignore_ascii_case(found);
        let status = named(operator, terms, is, is);
        Finding { status, found: self.text(|| format!("the dataset has `{found}`")) }
    }

    fn version(&self, operator: Operator, terms: &[String]) -> Finding {
        let Some(found) = self.world.facts.version.as_deref() else {
            return self.undecidable("the version of the dataset is not known");
        };
        let status = match (operator.is_ordering(), terms) {
            (true, [bound]) => match compare_versions(found, bound) {
                Some(order) => decided(holds(operator, order)),
                None => Status::Undecidable,
            },
            _ => {
                let same = |term: &str| {
                    term == found || compare_versions(found, term) == Some(Ordering::Equal)
                };
                named(operator, terms, same, same)
            }
        };
        Finding { status, found: self.text(|| format!("the dataset has version `{found}`")) }
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
        Finding { status, found: self.text(|| format!("it is {}", self.world.now)) }
    }

    fn count(&self, atomic: &Atomic, limit: u64) -> Finding {
        if !self.is_transfer() {
            return self.later("uses are counted when a transfer starts");
        }
        let this = u64::from(!self.tracks);
        let uses = self
            .world
            .earlier_uses
            .and_then(|earlier| earlier.checked_add(atomic.status)?.checked_add(this));
        match uses {
            Some(uses) => Finding {
                status: decided(holds(atomic.operator, uses.cmp(&limit))),
                found: self.text(|| match self.tracks {
                    true => format!("there were {uses} uses"),
                    false => format!("this would be use {uses}"),
                }),
            },
            None => self.undecidable("the number of earlier uses is not known"),
        }
    }

    fn duration(&mut self, left: LeftOperand, operator: Operator, span: Span) -> Finding {
        if !self.is_transfer() {
            return self.later("time is measured once an agreement stands");
        }
        let anchor = match (left, self.world.previous_use, self.from) {
            (LeftOperand::TimeInterval, PreviousUse::Never, _) => {
                // Without a use before, any time has passed.
                let operator = period(left, operator);
                return Finding {
                    status: decided(holds(operator, Ordering::Greater)),
                    found: self.text(|| "this is the first use".to_owned()),
                };
            }
            (LeftOperand::TimeInterval, PreviousUse::At(at), _) => at,
            (LeftOperand::TimeInterval, PreviousUse::Unknown, _) => {
                return self.undecidable("the time of the use before is not known");
            }
            (_, _, Some(at)) => at,
            (_, _, None) => return self.undecidable("the time of the agreement is not known"),
        };
        let operator = period(left, operator);
        // The time between two uses is fixed once the second has begun; it does not grow while data flow.
        let begun = self.world.use_began.filter(|_| left == LeftOperand::TimeInterval);
        match (after(anchor, span), begun) {
            (Some(bound), Some(begun)) => Finding {
                status: decided(holds(operator, begun.cmp(&bound))),
                found: self.text(|| {
                    format!("counted from {anchor} that is {bound}; this use began at {begun}")
                }),
            },
            (Some(bound), None) => {
                let status = self.compare_now(operator, bound);
                Finding {
                    status,
                    found: self.text(|| {
                        let now = self.world.now;
                        format!("counted from {anchor} that is {bound}; it is {now}")
                    }),
                }
            }
            (None, _) => self.undecidable("the period ends beyond the calendar"),
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

    pub(super) fn note(&mut self, change: Option<Timestamp>) {
        if let Some(change) = change.filter(|change| *change > self.world.now) {
            self.until = super::earliest(self.until, Some(change));
        }
    }

    fn purpose(&self, operator: Operator, terms: &[String]) -> Finding {
        if self.request.phase == Phase::Catalog {
            return self.later("a purpose is declared when the contract is negotiated");
        }
        let Some(declared) = self.purpose else {
            return self.undecidable("no purpose was declared");
        };
        let is_whole = matches!(operator, Operator::IsAllOf | Operator::HasPart);
        if self.is_hand_over() && (is_whole || !terms.iter().any(|term| term == declared)) {
            return self.elsewhere("which purposes are part of which was judged by the provider");
        }
        let purposes = self.world.purposes;
        let status = match operator {
            // The one operator that looks at all declared purposes together.
            Operator::IsAllOf => {
                let any = |is: &dyn Fn(&str) -> bool| {
                    self.request.purposes.iter().any(|purpose| is(purpose))
                };
                all_of(
                    terms,
                    |term| any(&|purpose| purposes.is_within(purpose, term)),
                    |term| any(&|purpose| purposes.is_within(term, purpose)),
                )
            }
            operator => named(
                operator,
                terms,
                |term| purposes.is_within(declared, term),
                |term| purposes.is_within(term, declared),
            ),
        };
        let found = self.text(|| match status {
            Status::Undecidable => {
                format!("the declared purpose is `{declared}`; for which part of it is not known")
            }
            _ => format!("the declared purpose is `{declared}`"),
        });
        Finding { status, found }
    }

    fn region(&self, operator: Operator, terms: &[String]) -> Finding {
        let region = self.world.subject.region.as_deref();
        let Some(region) = region.and_then(crate::odrl::canonical_region) else {
            return self.undecidable("no region is declared for the partner");
        };
        let status = named(
            operator,
            terms,
            |term| is_region_within(&region, term),
            |term| is_region_within(term, &region),
        );
        let found = self.text(|| match status {
            Status::Undecidable => {
                format!("the partner's region is `{region}`; where in it is not known")
            }
            _ => format!("the partner's region is `{region}`"),
        });
        Finding { status, found }
    }

    fn recipient(&self, operator: Operator, terms: &[String]) -> Finding {
        let subject = self.world.subject;
        // It belongs to its groups; it does not contain them.
        let judge = |is: &dyn Fn(&str) -> bool| {
            named(operator, terms, is, |term| !subject.groups.contains(term) && is(term))
        };
        // INVARIANT: what a member that is only declared would decide stays open, in whatever rule and under whatever
        // operator and connective: it then neither grants nor takes a prohibition away.
        let (with, without) =
            (judge(&|term| subject.is_named(term)), judge(&|term| subject.is_proven(term)));
        if with != without {
            return self
                .undecidable("who is named there is only declared by the partner, not proven");
        }
        let found = self.text(|| format!("the recipient is `{}`", subject.participant));
        Finding { status: with, found }
    }

    fn later(&self, why: &str) -> Finding {
        Finding { status: Status::AppliesLater, found: self.text(|| why.to_owned()) }
    }

    fn elsewhere(&self, why: &str) -> Finding {
        Finding { status: Status::Elsewhere, found: self.text(|| why.to_owned()) }
    }

    fn undecidable(&self, why: &str) -> Finding {
        Finding { status: Status::Undecidable, found: self.text(|| why.to_owned()) }
    }
}

/// Whether the recipient's node can judge it when it hands data out: what the agreement says, the time, and who asks. All else
/// was judged by the provider.
fn is_known_at_hand_over(left: LeftOperand) -> bool {
    match left {
        LeftOperand::DateTime
        | LeftOperand::ElapsedTime
        | LeftOperand::DelayPeriod
        | LeftOperand::Purpose => true,
        LeftOperand::Count
        | LeftOperand::TimeInterval
        | LeftOperand::Spatial
        | LeftOperand::Recipient => false,
        LeftOperand::Other(operand) => matches!(
            operand.fact,
            Fact::Now | Fact::SinceAgreement | Fact::Purpose | Fact::Application | Fact::Agreed
        ),
    }
}

/// Whether a condition says from when on something may be done: once it holds, it goes on to hold.
fn is_beginning(atomic: &Atomic) -> bool {
    matches!(atomic.right, RightOperand::Instant(_) | RightOperand::Duration(_))
        && (matches!(atomic.operator, Operator::Gt | Operator::Gteq)
            || atomic.left == LeftOperand::DelayPeriod && atomic.operator == Operator::Eq)
}

/// Compares a fact that has a name and wider names: `within` says whether it is (part of) a term, `contains` whether a
/// term is (part of) it. A fact that is wider than a term may be what the term names, or another part: that is not known.
fn named<T: AsRef<str>>(
    operator: Operator,
    terms: &[T],
    within: impl Fn(&str) -> bool,
    contains: impl Fn(&str) -> bool,
) -> Status {
    match operator {
        Operator::Eq | Operator::IsA | Operator::IsPartOf | Operator::IsAnyOf => {
            any_of(terms, within, contains)
        }
        Operator::Neq | Operator::IsNoneOf => match any_of(terms, within, contains) {
            Status::Satisfied => Status::Unsatisfied,
            Status::Unsatisfied => Status::Satisfied,
            open => open,
        },
        Operator::IsAllOf => all_of(terms, within, contains),
        Operator::HasPart => decided(terms.iter().map(AsRef::as_ref).all(contains)),
        Operator::Gt | Operator::Gteq | Operator::Lt | Operator::Lteq => Status::NotUnderstood,
    }
}

fn any_of<T: AsRef<str>>(
    terms: &[T],
    within: impl Fn(&str) -> bool,
    contains: impl Fn(&str) -> bool,
) -> Status {
    let mut names = terms.iter().map(AsRef::as_ref);
    if names.clone().any(within) {
        return Status::Satisfied;
    }
    if names.any(contains) { Status::Undecidable } else { Status::Unsatisfied }
}

fn all_of<T: AsRef<str>>(
    terms: &[T],
    within: impl Fn(&str) -> bool,
    contains: impl Fn(&str) -> bool,
) -> Status {
    let mut names = terms.iter().map(AsRef::as_ref);
    if names.clone().all(&within) {
        return Status::Satisfied;
    }
    let may_be = |term: &str| within(term) || contains(term);
    if names.all(may_be) { Status::Undecidable } else { Status::Unsatisfied }
}

/// Whether an order satisfies an operator; set operators have none, and reading refuses them here.
pub(super) fn holds(operator: Operator, order: Ordering) -> bool {
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
pub(crate) fn after(anchor: Timestamp, span: Span) -> Option<Timestamp> {
    let end = anchor.to_zoned(TimeZone::UTC).checked_add(span).ok()?;
    Some(end.timestamp())
}

/// `eq` on a period states the period itself (vocabulary 4.5): use within it, or not before it is over.
const fn period(left: LeftOperand, operator: Operator) -> Operator {
    match (left, operator) {
        (LeftOperand::ElapsedTime, Operator::Eq) => Operator::Lteq,
        (LeftOperand::DelayPeriod | LeftOperand::TimeInterval, Operator::Eq) => Operator::Gteq,
        (_, operator) => operator,
    }
}

fn is_region_within(narrow: &str, wide: &str) -> bool {
    narrow == wide || narrow.strip_prefix(wide).is_some_and(|rest| rest.starts_with('-'))
}

fn decided(holds: bool) -> Status {
    if holds { Status::Satisfied } else { Status::Unsatisfied }
}

const fn decided_or_open(holds: bool) -> Status {
    if holds { Status::Satisfied } else { Status::Undecidable }
}

/// A media type without the prefix of its IANA registration.
fn media_type(term: &str) -> &str {
    [
        "https://www.iana.org/assignments/media-types/",
        "http://www.iana.org/assignments/media-types/",
    ]
    .into_iter()
    .find_map(|prefix| term.strip_prefix(prefix))
    .unwrap_or(term)
}

/// Compares two versions number by number; a missing number is 0. Nothing where one has other parts than numbers.
fn compare_versions(one: &str, other: &str) -> Option<Ordering> {
    let numbers = |version: &str| -> Option<Vec<u64>> {
        version
            .strip_prefix('v')
            .unwrap_or(version)
            .split('.')
            .map(|part| part.parse().ok())
            .collect()
    };
    let (mut one, mut other) = (numbers(one)?, numbers(other)?);
    let length = one.len().max(other.len());
    one.resize(length, 0);
    other.resize(length, 0);
    Some(one.cmp(&other))
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

/// All hold, established in this order: what follows a condition that cannot be established is not reached.
fn sequence(statuses: impl Iterator<Item = Status> + Clone) -> Status {
    let first = statuses.clone().find(|status| *status != Status::Satisfied);
    match first {
        Some(Status::Undecidable) => not_understood(statuses).unwrap_or(Status::Undecidable),
        _ => conjunction(statuses),
    }
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

/// What keeps a connective open, the graver first: a missing fact, then a later phase, then the other side's node.
fn open(statuses: impl Iterator<Item = Status> + Clone) -> Option<Status> {
    [Status::Undecidable, Status::AppliesLater, Status::Elsewhere]
        .into_iter()
        .find(|kind| statuses.clone().any(|status| status == *kind))
}
