//! Policies as sentences. Terms that bind, such as actions and purposes, stay as they are written
//! in the policy; what stands around them is of the language.

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
    /// Japanese.
    Japanese,
}

use Language::{English, Japanese};

pub(super) fn policy(policy: &Policy, language: Language) -> String {
    let mut lines = Vec::new();
    lines.extend(policy.permissions.iter().map(|rule| permission(rule, language)));
    lines.extend(policy.prohibitions.iter().map(|rule| prohibition(rule, language)));
    lines.extend(policy.obligations.iter().map(|duty| obligation(duty, language)));
    if !policy.not_understood.is_empty() {
        let line = match language {
            English => "The policy has parts that are not understood, so nothing is permitted.",
            Japanese => "解釈できない部分があるため、何も許可されません。",
        };
        lines.push(line.to_owned());
    }
    lines.join("\n")
}

fn permission(rule: &Rule, language: Language) -> String {
    let (what, conditions) = (actions(&rule.actions), conditions(&rule.constraints, language));
    let before = (rule.duties.iter().map(|duty| actions(&duty.actions))).collect::<Vec<_>>();
    let before = match language {
        _ if before.is_empty() => String::new(),
        English => format!(", after having done: {}", before.join(", ")),
        Japanese => format!("(事前に行うこと: {})", before.join(", ")),
    };
    match language {
        English => format!("Permitted: {what}{conditions}{before}."),
        Japanese => format!("許可: {what}{conditions}{before}。"),
    }
}

fn prohibition(rule: &Rule, language: Language) -> String {
    let (what, conditions) = (actions(&rule.actions), conditions(&rule.constraints, language));
    match language {
        English => format!("Prohibited: {what}{conditions}."),
        Japanese => format!("禁止: {what}{conditions}。"),
    }
}

fn obligation(duty: &Duty, language: Language) -> String {
    let (what, conditions) = (actions(&duty.actions), conditions(&duty.constraints, language));
    let otherwise: Vec<_> = duty.consequences.iter().map(|duty| actions(&duty.actions)).collect();
    let otherwise = match language {
        _ if otherwise.is_empty() => String::new(),
        English => format!("; otherwise: {}", otherwise.join(", ")),
        Japanese => format!("(行わない場合: {})", otherwise.join(", ")),
    };
    match language {
        English => format!("Required: {what}{conditions}{otherwise}."),
        Japanese => format!("義務: {what}{conditions}{otherwise}。"),
    }
}

fn actions(actions: &[Action]) -> String {
    actions.iter().map(|action| action.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn conditions(constraints: &[Constraint], language: Language) -> String {
    if constraints.is_empty() {
        return String::new();
    }
    let texts: Vec<_> = constraints.iter().map(|c| condition(c, language)).collect();
    match language {
        English => format!(", provided that {}", texts.join(", and ")),
        Japanese => format!("。条件: {}", texts.join("、かつ、")),
    }
}

fn condition(constraint: &Constraint, language: Language) -> String {
    let group = match constraint {
        Constraint::Atomic(item) => return atomic(item, language),
        Constraint::NotUnderstood(_) => {
            let text = match language {
                English => "a condition holds that is not understood",
                Japanese => "解釈できない条件",
            };
            return text.to_owned();
        }
        Constraint::Logical(group) => group,
    };
    let head = match (language, group.connective) {
        (English, Connective::And) => "all of these hold",
        (English, Connective::AndSequence) => "all of these hold, in this order",
        (English, Connective::Or) => "at least one of these holds",
        (English, Connective::Xone) => "exactly one of these holds",
        (Japanese, Connective::And) => "次のすべてを満たす",
        (Japanese, Connective::AndSequence) => "次のすべてをこの順に満たす",
        (Japanese, Connective::Or) => "次の少なくとも一つを満たす",
        (Japanese, Connective::Xone) => "次のちょうど一つを満たす",
    };
    let operands: Vec<_> = group.operands.iter().map(|c| condition(c, language)).collect();
    match language {
        English => format!("{head}: ({})", operands.join("; ")),
        Japanese => format!("{head}({})", operands.join("、")),
    }
}

fn atomic(atomic: &Atomic, language: Language) -> String {
    let subject = subject(atomic.left, language);
    let value = match &atomic.right {
        RightOperand::Terms(terms) => terms.join(", "),
        RightOperand::Number(number) => number.to_string(),
        RightOperand::Instant(_) | RightOperand::Duration(_) => atomic.written_text(),
    };
    match language {
        English => format!("{subject} {} {value}", english(atomic)),
        Japanese => format!("{subject}が {value} {}", japanese(atomic)),
    }
}

const fn subject(left: LeftOperand, language: Language) -> &'static str {
    match (language, left) {
        (English, LeftOperand::DateTime) => "the time is",
        (English, LeftOperand::Count) => "the number of uses is",
        (English, LeftOperand::Purpose) => "the declared purpose is",
        (English, LeftOperand::Spatial) => "the region registered for the recipient is",
        (English, LeftOperand::Recipient) => "the recipient is",
        (English, LeftOperand::ElapsedTime | LeftOperand::DelayPeriod) => {
            "the time since the agreement is"
        }
        (English, LeftOperand::TimeInterval) => "the time since the use before is",
        (Japanese, LeftOperand::DateTime) => "日時",
        (Japanese, LeftOperand::Count) => "利用回数",
        (Japanese, LeftOperand::Purpose) => "申告された利用目的",
        (Japanese, LeftOperand::Spatial) => "受領者の登録地域",
        (Japanese, LeftOperand::Recipient) => "受領者",
        (Japanese, LeftOperand::ElapsedTime | LeftOperand::DelayPeriod) => "合意からの経過時間",
        (Japanese, LeftOperand::TimeInterval) => "前回の利用からの経過時間",
    }
}

/// What an operator means for an operand: `eq` on a period states the period itself.
const fn meaning(atomic: &Atomic) -> Operator {
    match (atomic.operator, atomic.left) {
        (Operator::Eq, LeftOperand::ElapsedTime) => Operator::Lteq,
        (Operator::Eq, LeftOperand::DelayPeriod | LeftOperand::TimeInterval) => Operator::Gteq,
        (operator, _) => operator,
    }
}

const fn english(atomic: &Atomic) -> &'static str {
    let is_instant = matches!(atomic.right, RightOperand::Instant(_));
    match (meaning(atomic), is_instant) {
        (Operator::Eq, _) => "exactly",
        (Operator::Neq, _) => "not",
        (Operator::Lt, true) => "before",
        (Operator::Lteq, true) => "not after",
        (Operator::Gt, true) => "after",
        (Operator::Gteq, true) => "not before",
        (Operator::Lt, false) => "less than",
        (Operator::Lteq, false) => "at most",
        (Operator::Gt, false) => "more than",
        (Operator::Gteq, false) => "at least",
        (Operator::IsA, _) => "a kind of",
        (Operator::IsPartOf, _) => "part of",
        (Operator::HasPart, _) => "one that contains",
        (Operator::IsAnyOf, _) => "any of",
        (Operator::IsAllOf, _) => "all of",
        (Operator::IsNoneOf, _) => "none of",
    }
}

const fn japanese(atomic: &Atomic) -> &'static str {
    let is_instant = matches!(atomic.right, RightOperand::Instant(_));
    match (meaning(atomic), is_instant) {
        (Operator::Eq, _) => "であること",
        (Operator::Neq, _) => "でないこと",
        (Operator::Lt, true) => "より前であること",
        (Operator::Lteq, true) => "以前であること",
        (Operator::Gt, true) => "より後であること",
        (Operator::Gteq, true) => "以後であること",
        (Operator::Lt, false) => "未満であること",
        (Operator::Lteq, false) => "以下であること",
        (Operator::Gt, false) => "を超えること",
        (Operator::Gteq, false) => "以上であること",
        (Operator::IsA, _) => "の一種であること",
        (Operator::IsPartOf, _) => "に含まれること",
        (Operator::HasPart, _) => "を含むこと",
        (Operator::IsAnyOf, _) => "のいずれかであること",
        (Operator::IsAllOf, _) => "のすべてであること",
        (Operator::IsNoneOf, _) => "のいずれでもないこと",
    }
}
