//! Conditions as short expressions, `count lteq 10`, in and out.

use crate::odrl::{
    Action, Asset, Atomic, Constraint, Duty, LeftOperand, Operator, Party, RightOperand, Rule,
};
use crate::vocabulary::ValueType;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::Range;

/// Why an expression is not a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// Which bytes of the expression.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

/// Reads `OPERAND OPERATOR VALUE` or `OPERAND OPERATOR [VALUE, VALUE]`.
///
/// # Errors
/// The place in the expression, what is wrong there, and what would be right.
pub fn parse(text: &str) -> Result<Constraint, ExpressionError> {
    let mut words = Words { text, position: 0 };
    let (left_span, left) = words.next_word();
    if left.is_empty() {
        return Err(error(left_span, "a condition is empty", "write one like `count lteq 10`"));
    }
    let left = LeftOperand::parse(left).ok_or_else(|| {
        let known = LeftOperand::terms();
        error(left_span, format!("`{left}` is not a known operand"), suggestion(left, &known))
    })?;
    let (operator_span, operator) = words.next_word();
    let operator = Operator::parse(operator).ok_or_else(|| {
        let known = Operator::terms();
        let message = if operator.is_empty() {
            "the condition has no operator".to_owned()
        } else {
            format!("`{operator}` is not an operator")
        };
        error(operator_span, message, suggestion(operator, &known))
    })?;
    let (span, value) = words.value(operator)?;
    let atomic = Atomic::new(left, operator, &value).map_err(|reason| {
        error(span, format!("the condition {reason}"), example(left).to_owned())
    })?;
    Ok(Constraint::Atomic(atomic))
}

/// Writes a constraint in the form that [`parse`] reads; groups as `any of (…; …)`. What only ODRL JSON-LD has, a unit and the
/// uses already made, stands behind in brackets.
#[must_use]
pub fn write(constraint: &Constraint) -> String {
    match constraint {
        Constraint::Atomic(atomic) => {
            let (left, operator) = (atomic.left.term(), atomic.operator.term());
            let mut text = format!("{left} {operator} {}", write_right(atomic));
            // Writing to a string cannot fail, here and below.
            if let Some(unit) = &atomic.unit {
                let _ = write!(text, " (unit: {unit})");
            }
            if atomic.status != 0 {
                let _ = write!(text, " (already used: {})", atomic.status);
            }
            text
        }
        Constraint::Logical(logical) => {
            let operands: Vec<_> = logical.operands.iter().map(write).collect();
            format!("{} ({})", group_name(logical.connective), operands.join("; "))
        }
        Constraint::NotUnderstood(part) => part.source.to_string().chars().take(200).collect(),
    }
}

/// The words of a connective in policy files.
#[must_use]
pub const fn group_name(connective: crate::odrl::Connective) -> &'static str {
    match connective {
        crate::odrl::Connective::And => "all of",
        crate::odrl::Connective::AndSequence => "in order",
        crate::odrl::Connective::Or => "any of",
        crate::odrl::Connective::Xone => "one of",
    }
}

/// Writes a duty in one line, without its consequences.
#[must_use]
pub fn write_duty(duty: &Duty) -> String {
    let head =
        head(&duty.actions, duty.target.as_ref(), duty.assignee.as_ref(), duty.assigner.as_ref());
    write_parts(head, &duty.constraints)
}

/// Writes a rule in one line, without its duties.
#[must_use]
pub fn write_rule(rule: &Rule) -> String {
    write_parts(write_head(rule), &rule.constraints)
}

/// Writes what a rule is about, without its conditions.
#[must_use]
pub fn write_head(rule: &Rule) -> String {
    head(&rule.actions, rule.target.as_ref(), rule.assignee.as_ref(), rule.assigner.as_ref())
}

/// The actions, what they are done to, by whom, and for whom.
fn head(
    actions: &[Action],
    target: Option<&Asset>,
    assignee: Option<&Party>,
    assigner: Option<&Party>,
) -> String {
    let actions: Vec<_> =
        actions.iter().map(|action| refined(&action.name, &action.refinements)).collect();
    let mut text = actions.join(", ");
    let parts = [
        ("of", target.map(|asset| refined(&asset.id, &asset.refinements))),
        ("by", assignee.map(|party| refined(&party.id, &party.refinements))),
        ("for", assigner.map(|party| refined(&party.id, &party.refinements))),
    ];
    for (word, part) in parts {
        if let Some(part) = part {
            let _ = write!(text, " {word} {part}");
        }
    }
    text
}

fn refined(name: &str, refinements: &[Constraint]) -> String {
    if refinements.is_empty() {
        return name.to_owned();
    }
    let refinements: Vec<_> = refinements.iter().map(write).collect();
    format!("{name} [{}]", refinements.join("; "))
}

fn write_parts(mut text: String, constraints: &[Constraint]) -> String {
    for (index, constraint) in constraints.iter().enumerate() {
        let joint = if index == 0 { "when" } else { "and" };
        let _ = write!(text, " {joint} {}", write(constraint));
    }
    text
}

fn write_right(atomic: &Atomic) -> String {
    match &atomic.right {
        RightOperand::Instant(_)
        | RightOperand::Duration(_)
        | RightOperand::Decimal(_)
        | RightOperand::Reference(_) => atomic.written_text(),
        RightOperand::Number(number) => number.to_string(),
        RightOperand::Terms(terms) => {
            let terms: Vec<_> = terms.iter().map(|term| quoted(term)).collect();
            if atomic.operator.takes_list() {
                format!("[{}]", terms.join(", "))
            } else {
                terms.join(", ")
            }
        }
    }
}

fn quoted(term: &str) -> String {
    let plain = !term.is_empty()
        && !term.chars().any(|c| c.is_whitespace() || matches!(c, '[' | ']' | ',' | '\'' | '"'));
    if plain { term.to_owned() } else { format!("'{term}'") }
}

/// Splits an expression; every word knows its place.
struct Words<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Words<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start().len();
    }

    fn next_word(&mut self) -> (Range<usize>, &'a str) {
        self.take_while(|character| !character.is_whitespace())
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> (Range<usize>, &'a str) {
        self.skip_space();
        let rest = self.rest();
        let end = rest.find(|character| !belongs(character)).unwrap_or(rest.len());
        let start = self.position;
        self.position += end;
        (start..self.position, rest.get(..end).unwrap_or_default())
    }

    fn value(&mut self, operator: Operator) -> Result<(Range<usize>, Value), ExpressionError> {
        self.skip_space();
        let start = self.position;
        let value = if self.rest().starts_with('[') {
            self.position += 1;
            let values = self.list(start)?;
            json!(values)
        } else {
            let one = self.item(false)?;
            if operator.takes_list() { json!([one]) } else { json!(one) }
        };
        let end = self.position;
        self.skip_space();
        if !self.rest().is_empty() {
            let rest = self.position..self.text.len();
            let message = format!("`{}` follows the value", self.rest());
            return Err(error(
                rest,
                message,
                "write one condition an entry; several values as [A, B]; a value with spaces in single quotes",
            ));
        }
        Ok((start..end, value))
    }

    fn list(&mut self, start: usize) -> Result<Vec<String>, ExpressionError> {
        let mut values = Vec::new();
        loop {
            self.skip_space();
            match self.rest().chars().next() {
                Some(']') => {
                    self.position += 1;
                    return Ok(values);
                }
                Some(',') if !values.is_empty() => self.position += 1,
                Some(_) => values.push(self.item(true)?),
                None => {
                    let span = start..self.text.len();
                    return Err(error(span, "the list is not closed", "end it with `]`"));
                }
            }
        }
    }

    fn item(&mut self, in_list: bool) -> Result<String, ExpressionError> {
        let start = self.position;
        if self.rest().starts_with('\'') {
            self.position += 1;
            let rest = self.rest();
            let Some(end) = rest.find('\'') else {
                let span = start..self.text.len();
                return Err(error(span, "the quote is not closed", "end the value with `'`"));
            };
            self.position += end + 1;
            return Ok(rest.get(..end).unwrap_or_default().to_owned());
        }
        let (span, word) = self
            .take_while(|c| !(c.is_whitespace() || c == '[' || in_list && matches!(c, ',' | ']')));
        if word.is_empty() {
            return Err(error(
                span.start..span.start + 1,
                "the condition has no value",
                "write one like `count lteq 10` or `purpose isAnyOf [a, b]`",
            ));
        }
        Ok(word.to_owned())
    }
}

fn example(left: LeftOperand) -> &'static str {
    match left {
        LeftOperand::DateTime => "for example `dateTime lt 2027-01-01T00:00:00+09:00`",
        LeftOperand::Count => "for example `count lteq 10`",
        LeftOperand::Purpose => "for example `purpose isAnyOf [cfp-reporting]`",
        LeftOperand::Spatial => "for example `spatial isAnyOf [JP, DE]`",
        LeftOperand::Recipient => "for example `recipient isPartOf customers`",
        LeftOperand::ElapsedTime => "for example `elapsedTime lteq P30D`",
        LeftOperand::DelayPeriod => "for example `delayPeriod gteq P1D`",
        LeftOperand::TimeInterval => "for example `timeInterval gteq P7D`",
        LeftOperand::Other(operand) => match operand.value {
            ValueType::Instant | ValueType::InForce => {
                "write an instant with its zone, like 2027-01-01T00:00:00+09:00"
            }
            ValueType::Duration => "write a period, like P30D or PT12H",
            ValueType::Days => "write a whole number of days",
            ValueType::Decimal | ValueType::Bytes => "write a number",
            ValueType::Money => "write the policy as ODRL JSON-LD, where a condition has a `unit`",
            ValueType::Percent => "write a number from 0 to 100",
            ValueType::Version => "write a version, like 1.2",
            ValueType::Terms => "write names, like `[a, b]`",
        },
    }
}

/// The nearest known word, or all of them.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|candidate| distance(word, candidate));
    match nearest {
        Some(nearest) if !word.is_empty() && distance(word, nearest) <= 2 => {
            format!("did you mean `{nearest}`?")
        }
        _ => format!("known are {}", known.join(", ")),
    }
}

/// Whether two words differ by so little that one is most likely the other misspelt.
pub(crate) fn is_near(one: &str, other: &str) -> bool {
    let letters = |word: &str| word.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    // Numbered names differ by little on purpose.
    one.chars().count() > 3 && letters(one) != letters(other) && distance(one, other) <= 1
}

/// The whole number that a comparison is with; none where it is with something else.
pub(crate) fn number(atomic: &Atomic) -> Option<u64> {
    atomic.written_text().parse().ok()
}

/// Levenshtein distance, ignoring case.
pub(super) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.to_lowercase().chars().take(64).enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(&other) {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = *cell;
            *cell = replaced.min(before + 1).min(diagonal + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn error(
    span: Range<usize>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> ExpressionError {
    ExpressionError { span, message: message.into(), help: help.into() }
}
