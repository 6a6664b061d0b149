//! Policies as sentences. Terms that bind, such as purposes, stay as they are written in the policy; what stands around them
//! is of the language. Actions are named in the language, in Japanese with ODRL's term beside.

mod actions;
mod document;
mod notes;

use crate::odrl::{
    Atomic, Conflict, Connective, Constraint, Duty, LeftOperand, NotUnderstood, Operator, Policy,
    RightOperand, Rule,
};
pub(crate) use actions::action;
use actions::{actions, parties};
pub use document::document;
use jiff::SpanFieldwise;
pub(crate) use notes::placed;
pub use notes::{clause, not_honoured};

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

impl std::str::FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "en" => Ok(English),
            "ja" => Ok(Japanese),
            other => Err(format!("`{other}` is not a language of explanations; expected en or ja")),
        }
    }
}

/// The whole policy, a sentence a line. How a conflict ends is said where there can be one.
pub(super) fn policy(policy: &Policy, language: Language) -> String {
    let mut lines = sentences(policy, language);
    if !policy.permissions.is_empty() && !policy.prohibitions.is_empty() {
        lines.push(conflict(policy.conflict, language).to_owned());
    }
    lines.join("\n")
}

/// What happens when a permission and a prohibition meet.
const fn conflict(conflict: Conflict, language: Language) -> &'static str {
    match (conflict, language) {
        (Conflict::Prohibit, English) => {
            "Where a permission and a prohibition meet, the prohibition wins."
        }
        (Conflict::Perm, English) => {
            "Where a permission and a prohibition meet, the permission wins."
        }
        (Conflict::Invalid, English) => {
            "Where a permission and a prohibition contradict each other, the whole policy is void and nothing is permitted."
        }
        (Conflict::Prohibit, Japanese) => "許可と禁止が競合する場合は、禁止が優先します。",
        (Conflict::Perm, Japanese) => "許可と禁止が競合する場合は、許可が優先します。",
        (Conflict::Invalid, Japanese) => {
            "許可と禁止が矛盾する場合は、ポリシー全体が無効となり、何も許可されません。"
        }
    }
}

/// What the policy's rules say, whom and what it is about where it names them itself, and what denies all of it.
fn sentences(policy: &Policy, language: Language) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(actions::head(policy, language));
    lines.extend(policy.permissions.iter().map(|rule| permission(rule, language)));
    lines.extend(policy.prohibitions.iter().map(|rule| prohibition(rule, language)));
    lines.extend(policy.obligations.iter().map(|duty| obligation(duty, language)));
    if !policy.profiles.is_empty() {
        let profiles = policy.profiles.join(", ");
        lines.push(match language {
            English => format!("Its words are those of: {profiles}."),
            Japanese => format!("用語のプロファイル: {profiles}。"),
        });
    }
    if !policy.inherits.is_empty() {
        let parents = policy.inherits.join(", ");
        lines.push(match language {
            English => format!(
                "It inherits from {parents}, which is not known here, so nothing is permitted."
            ),
            Japanese => format!("継承元 {parents} が不明なため、何も許可されません。"),
        });
    }
    if !policy.not_understood.is_empty() {
        let parts = shown(&policy.not_understood);
        lines.push(match language {
            English => format!(
                "The policy has parts that are not understood, so nothing is permitted: {parts}."
            ),
            Japanese => format!("解釈できない部分があるため、何も許可されません: {parts}。"),
        });
    }
    lines
}

fn shown(parts: &[NotUnderstood]) -> String {
    parts.iter().map(NotUnderstood::shown).collect::<Vec<_>>().join("; ")
}

/// The parts of a rule or duty that are not understood, where there are any.
fn unknown(parts: &[NotUnderstood], language: Language) -> String {
    match language {
        _ if parts.is_empty() => String::new(),
        English => format!("; not understood, so it denies: {}", shown(parts)),
        Japanese => format!("(解釈できないため許可されない部分: {})", shown(parts)),
    }
}

pub(crate) fn permission(rule: &Rule, language: Language) -> String {
    let (what, conditions) = (subject_of(rule, language), conditions(&rule.constraints, language));
    let before: Vec<_> = rule.duties.iter().map(|item| duty(item, language)).collect();
    let before = match language {
        _ if before.is_empty() => String::new(),
        English => format!(", after having done: {}", before.join(", ")),
        Japanese => format!("(事前に行うこと: {})", before.join("、")),
    };
    let unknown = unknown(&rule.not_understood, language);
    match language {
        English => format!("Permitted: {what}{conditions}{before}{unknown}."),
        Japanese => format!("許可: {what}{conditions}{before}{unknown}。"),
    }
}

/// What a rule is about: the actions, and the rule's own target and parties.
fn subject_of(rule: &Rule, language: Language) -> String {
    let named = [rule.assignee.as_ref(), rule.assigner.as_ref()];
    format!(
        "{}{}",
        actions(&rule.actions, language),
        parties(rule.target.as_ref(), named, language)
    )
}

pub(crate) fn prohibition(rule: &Rule, language: Language) -> String {
    let (what, conditions) = (subject_of(rule, language), conditions(&rule.constraints, language));
    let remedies: Vec<_> =
        rule.duties.iter().map(|item| duty_from(item, From::Infringement, language)).collect();
    let remedies = match language {
        _ if remedies.is_empty() => String::new(),
        English => format!("; whoever does it must: {}", remedies.join(", ")),
        Japanese => format!("(違反した場合に行うこと: {})", remedies.join("、")),
    };
    let unknown = unknown(&rule.not_understood, language);
    match language {
        English => format!("Prohibited: {what}{conditions}{remedies}{unknown}."),
        Japanese => format!("禁止: {what}{conditions}{remedies}{unknown}。"),
    }
}

fn obligation(item: &Duty, language: Language) -> String {
    match language {
        English => format!("Required: {}.", duty(item, language)),
        Japanese => format!("義務: {}。", duty(item, language)),
    }
}

/// What the periods of a duty count from.
#[derive(Debug, Clone, Copy)]
enum From {
    Agreement,
    /// That the duty whose consequence it is was not done in time.
    Violation,
    /// That the prohibition whose remedy it is was infringed.
    Infringement,
}

/// A duty: what must be done, by when, under which conditions, and what follows when it is not.
pub(crate) fn duty(duty: &Duty, language: Language) -> String {
    duty_from(duty, From::Agreement, language)
}

fn duty_from(duty: &Duty, from: From, language: Language) -> String {
    // Consequences are nested at most as deep as a policy file or the limits of reading allow.
    let is_deadline = |constraint: &&Constraint| deadline(constraint, from, language).is_some();
    let deadlines: Vec<_> =
        duty.constraints.iter().filter_map(|c| deadline(c, from, language)).collect();
    let others: Vec<_> =
        duty.constraints.iter().filter(|constraint| !is_deadline(constraint)).cloned().collect();
    let named = [duty.assignee.as_ref(), duty.assigner.as_ref()];
    let what = actions(&duty.actions, language)
        + &parties(duty.target.as_ref(), named, language)
        + &duty.target_sha256.map_or_else(String::new, |digest| digest_of(&digest, language));
    let conditions = conditions(&others, language);
    let otherwise: Vec<_> =
        (duty.consequences.iter()).map(|duty| duty_from(duty, From::Violation, language)).collect();
    let otherwise = match language {
        _ if otherwise.is_empty() => String::new(),
        English => format!("; otherwise: {}", otherwise.join(", ")),
        Japanese => format!("(履行しない場合: {})", otherwise.join("、")),
    };
    let unknown = unknown(&duty.not_understood, language);
    match language {
        English => {
            let by: String = deadlines.iter().map(|deadline| format!(" {deadline}")).collect();
            format!("{what}{by}{conditions}{otherwise}{unknown}")
        }
        Japanese => format!("{}{what}{conditions}{otherwise}{unknown}", deadlines.join("")),
    }
}

/// Which text of its target a duty means.
fn digest_of(digest: &[u8; 32], language: Language) -> String {
    match language {
        English => format!(" (the one of SHA-256 {})", hex::encode(digest)),
        Japanese => format!("(SHA-256: {})", hex::encode(digest)),
    }
}

/// A constraint of a duty that says until when it must be done.
fn deadline(constraint: &Constraint, from: From, language: Language) -> Option<String> {
    let Constraint::Atomic(atomic) = constraint else { return None };
    let inclusive = match atomic.operator {
        Operator::Lteq => true,
        Operator::Eq if atomic.left == LeftOperand::ElapsedTime => true,
        Operator::Lt => false,
        _ => return None,
    };
    // Whatever else it says is said as a condition.
    if atomic.unit.is_some() || atomic.status != 0 {
        return None;
    }
    match (&atomic.right, atomic.left, language) {
        (RightOperand::Duration(span), LeftOperand::ElapsedTime, English) => {
            let word = if inclusive { "within" } else { "in less than" };
            let from = match from {
                From::Agreement => "agreement",
                From::Violation => "violation",
                From::Infringement => "infringement",
            };
            Some(format!("{word} {} of the {from}", duration(span, language)))
        }
        (RightOperand::Duration(span), LeftOperand::ElapsedTime, Japanese) => {
            let word = if inclusive { "以内に" } else { "が経過する前に" };
            let from = match from {
                From::Agreement => "合意",
                From::Violation => "不履行",
                From::Infringement => "違反",
            };
            Some(format!("{from}から{}{word}", duration(span, language)))
        }
        (RightOperand::Instant(_), LeftOperand::DateTime, English) => {
            let word = if inclusive { "by" } else { "before" };
            Some(format!("{word} {}", atomic.written_text()))
        }
        (RightOperand::Instant(_), LeftOperand::DateTime, Japanese) => {
            let word = if inclusive { "まで" } else { "より前" };
            Some(format!("{}{word}に", atomic.written_text()))
        }
        _ => None,
    }
}

/// A period in words, such as `30 days`.
fn duration(span: &SpanFieldwise, language: Language) -> String {
    let span = span.0;
    let fields = [
        (i64::from(span.get_years()), "year", "年"),
        (i64::from(span.get_months()), "month", "か月"),
        (i64::from(span.get_weeks()), "week", "週間"),
        (i64::from(span.get_days()), "day", "日"),
        (i64::from(span.get_hours()), "hour", "時間"),
        (span.get_minutes(), "minute", "分"),
        (span.get_seconds(), "second", "秒"),
        (span.get_milliseconds(), "millisecond", "ミリ秒"),
    ];
    let parts: Vec<String> = (fields.into_iter())
        .filter(|(count, ..)| *count != 0)
        .map(|(count, english, japanese)| match language {
            English if count == 1 => format!("1 {english}"),
            English => format!("{count} {english}s"),
            Japanese => format!("{count}{japanese}"),
        })
        .collect();
    let is_finer = span.get_microseconds() != 0 || span.get_nanoseconds() != 0;
    match language {
        // A fraction of a millisecond, or nothing: as it is written.
        _ if parts.is_empty() || is_finer => span.to_string(),
        English => parts.join(" "),
        Japanese => parts.join(""),
    }
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

pub(crate) fn condition(constraint: &Constraint, language: Language) -> String {
    let group = match constraint {
        Constraint::Atomic(item) => return atomic(item, language),
        Constraint::NotUnderstood(part) => {
            return match language {
                English => format!("a condition holds that is not understood: {}", part.shown()),
                Japanese => format!("解釈できない条件({})", part.shown()),
            };
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
        RightOperand::Duration(span) => duration(span, language),
        RightOperand::Reference(name) => match language {
            English => format!("what {name} stands for"),
            Japanese => format!("{name} の示す値"),
        },
        RightOperand::Instant(_) | RightOperand::Decimal(_) => atomic.written_text(),
    };
    let mut besides = String::new();
    if let Some(unit) = &atomic.unit {
        besides = match language {
            English => format!(" (unit: {unit})"),
            Japanese => format!("(単位: {unit})"),
        };
    }
    if atomic.status != 0 {
        besides.push_str(&match language {
            English => format!(" ({} used before it was written)", atomic.status),
            Japanese => format!("(作成時点での利用済み回数: {})", atomic.status),
        });
    }
    match language {
        English => format!("{subject} {} {value}{besides}", english(atomic)),
        Japanese => format!("{subject}が {value}{besides} {}", japanese(atomic)),
    }
}

/// ODRL's operands, and those of profiles that have a plain name, in Japanese. Others are terms of contract of their profile
/// and stay as they are.
const OPERANDS: [(&str, &str); 24] = [
    ("meteredTime", "累計利用時間"),
    ("unitOfCount", "回数の単位"),
    ("systemDevice", "利用機器"),
    ("virtualLocation", "接続先"),
    ("fileFormat", "ファイル形式"),
    ("absoluteSize", "データ量"),
    ("percentage", "利用する割合"),
    ("version", "版"),
    ("language", "言語"),
    ("event", "事象"),
    ("deliveryChannel", "提供方法"),
    ("industry", "業種"),
    ("payAmount", "支払額"),
    ("inForceDate", "有効期間の判定日時"),
    ("CONNECTOR", "コネクター"),
    ("ROLE", "役割"),
    ("SECURITY_LEVEL", "セキュリティ水準"),
    ("APPLICATION", "アプリケーション"),
    ("STATE", "状態"),
    ("operatorId", "事業者識別子"),
    ("UsagePurpose", "利用目的"),
    ("BusinessPartnerNumber", "取引先番号"),
    ("BusinessPartnerGroup", "取引先グループ"),
    ("DataUsageEndDate", "データ利用の終了日時"),
];

/// The words of an ODRL term, such as `file format`; names of profiles stay as they are.
fn words_of(term: &str) -> String {
    if !term.starts_with(|first: char| first.is_ascii_lowercase()) {
        return term.to_owned();
    }
    let mut words = String::new();
    for letter in term.chars() {
        if letter.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn subject(left: LeftOperand, language: Language) -> std::borrow::Cow<'static, str> {
    if let LeftOperand::Other(operand) = left {
        return match language {
            English => format!("{} is", words_of(operand.term)).into(),
            Japanese => match OPERANDS.iter().find(|(term, _)| *term == operand.term) {
                Some((term, name)) => format!("{name}({term})").into(),
                None => operand.term.into(),
            },
        };
    }
    let text = match (language, left) {
        // Answered above.
        (_, LeftOperand::Other(operand)) => operand.term,
        (English, LeftOperand::DateTime) => "the time is",
        (English, LeftOperand::Count) => "the number of uses is",
        (English, LeftOperand::Purpose) => "the declared purpose is",
        (English, LeftOperand::Spatial) => "the region registered for the recipient is",
        (English, LeftOperand::Recipient) => "the recipient is",
        (English, LeftOperand::ElapsedTime) => "the time since the agreement is",
        (English, LeftOperand::DelayPeriod) => "the delay since the agreement is",
        (English, LeftOperand::TimeInterval) => "the time since the use before is",
        (Japanese, LeftOperand::DateTime) => "利用日時",
        (Japanese, LeftOperand::Count) => "利用回数",
        (Japanese, LeftOperand::Purpose) => "申告された利用目的",
        (Japanese, LeftOperand::Spatial) => "受領者の登録地域",
        (Japanese, LeftOperand::Recipient) => "受領者",
        (Japanese, LeftOperand::ElapsedTime) => "合意からの経過時間",
        (Japanese, LeftOperand::DelayPeriod) => "合意からの待機時間",
        (Japanese, LeftOperand::TimeInterval) => "前回の利用からの経過時間",
    };
    text.into()
}

const fn english(atomic: &Atomic) -> &'static str {
    let is_instant = matches!(atomic.right, RightOperand::Instant(_));
    match (atomic.meant(), is_instant) {
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
    match (atomic.meant(), is_instant) {
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
        (Operator::IsA, _) => "に該当すること",
        (Operator::IsPartOf, _) => "に含まれること",
        (Operator::HasPart, _) => "を含むこと",
        (Operator::IsAnyOf, _) => "のいずれかであること",
        (Operator::IsAllOf, _) => "のすべてに該当すること",
        (Operator::IsNoneOf, _) => "のいずれでもないこと",
    }
}
