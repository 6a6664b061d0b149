//! Policies as sentences. Each language has one arm in each function, so that none can be forgotten.

use crate::odrl::{
    Action, Atomic, Connective, Constraint, Duty, LeftOperand, Operator, Policy, RightOperand, Rule,
};

/// A language that policies are rendered in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// English.
    #[default]
    English,
}

pub(super) fn policy(policy: &Policy, language: Language) -> String {
    let mut lines = Vec::new();
    lines.extend(policy.permissions.iter().map(|rule| permission(rule, language)));
    lines.extend(policy.prohibitions.iter().map(|rule| prohibition(rule, language)));
    lines.extend(policy.obligations.iter().map(|duty| obligation(duty, language)));
    if !policy.not_understood.is_empty() {
        lines.push(match language {
            Language::English => {
                "The policy has parts that are not understood, so nothing is permitted.".to_owned()
            }
        });
    }
    lines.join("\n")
}

fn permission(rule: &Rule, language: Language) -> String {
    let Language::English = language;
    let before: Vec<_> = rule.duties.iter().map(|duty| actions(&duty.actions)).collect();
    let before = if before.is_empty() {
        String::new()
    } else {
        format!(", after having done: {}", before.join(", "))
    };
    format!(
        "Permitted: {}{}{before}.",
        actions(&rule.actions),
        conditions(&rule.constraints, language)
    )
}

fn prohibition(rule: &Rule, language: Language) -> String {
    let Language::English = language;
    format!("Prohibited: {}{}.", actions(&rule.actions), conditions(&rule.constraints, language))
}

fn obligation(duty: &Duty, language: Language) -> String {
    let Language::English = language;
    let otherwise: Vec<_> = duty.consequences.iter().map(|duty| actions(&duty.actions)).collect();
    let otherwise = if otherwise.is_empty() {
        String::new()
    } else {
        format!("; otherwise: {}", otherwise.join(", "))
    };
    format!(
        "Required: {}{}{otherwise}.",
        actions(&duty.actions),
        conditions(&duty.constraints, language)
    )
}

fn actions(actions: &[Action]) -> String {
    actions.iter().map(|action| action.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn conditions(constraints: &[Constraint], language: Language) -> String {
    let Language::English = language;
    if constraints.is_empty() {
        return String::new();
    }
    let texts: Vec<_> = constraints.iter().map(|c| condition(c, language)).collect();
    format!(", provided that {}", texts.join(", and "))
}

fn condition(constraint: &Constraint, language: Language) -> String {
    let Language::English = language;
    match constraint {
        Constraint::Atomic(item) => atomic(item),
        Constraint::NotUnderstood(_) => "a condition holds that is not understood".to_owned(),
        Constraint::Logical(group) => {
            let operands: Vec<_> = group.operands.iter().map(|c| condition(c, language)).collect();
            let head = match group.connective {
                Connective::And => "all of these hold",
                Connective::AndSequence => "all of these hold, in this order",
                Connective::Or => "at least one of these holds",
                Connective::Xone => "exactly one of these holds",
            };
            format!("{head}: ({})", operands.join("; "))
        }
    }
}

fn atomic(atomic: &Atomic) -> String {
    let subject = match atomic.left {
        LeftOperand::DateTime => "the time is",
        LeftOperand::Count => "the number of uses is",
        LeftOperand::Purpose => "the declared purpose is",
        LeftOperand::Spatial => "the region registered for the recipient is",
        LeftOperand::Recipient => "the recipient is",
        LeftOperand::ElapsedTime | LeftOperand::DelayPeriod => "the time since the agreement is",
        LeftOperand::TimeInterval => "the time since the use before is",
    };
    let value = match &atomic.right {
        RightOperand::Terms(terms) => terms.join(", "),
        RightOperand::Number(number) => number.to_string(),
        RightOperand::Instant(_) | RightOperand::Duration(_) => atomic.written_text(),
    };
    format!("{subject} {} {value}", comparison(atomic))
}

fn comparison(atomic: &Atomic) -> &'static str {
    let is_time = matches!(atomic.right, RightOperand::Instant(_));
    match (atomic.operator, atomic.left) {
        (Operator::Eq, LeftOperand::ElapsedTime) => "at most",
        (Operator::Eq, LeftOperand::DelayPeriod | LeftOperand::TimeInterval) => "at least",
        (Operator::Eq, _) => "exactly",
        (Operator::Neq, _) => "not",
        (Operator::Lt, _) if is_time => "before",
        (Operator::Lteq, _) if is_time => "not after",
        (Operator::Gt, _) if is_time => "after",
        (Operator::Gteq, _) if is_time => "not before",
        (Operator::Lt, _) => "less than",
        (Operator::Lteq, _) => "at most",
        (Operator::Gt, _) => "more than",
        (Operator::Gteq, _) => "at least",
        (Operator::IsA, _) => "a kind of",
        (Operator::IsPartOf, _) => "part of",
        (Operator::HasPart, _) => "one that contains",
        (Operator::IsAnyOf, _) => "any of",
        (Operator::IsAllOf, _) => "all of",
        (Operator::IsNoneOf, _) => "none of",
    }
}
