//! Where the clauses of an ODRL file stand in its text. The text was read as JSON before, so it is only stepped over here,
//! without recursion.

use super::expression;
use super::places::{Places, RulePlaces};
use crate::classify::ClauseReport;
use crate::diagnostic::Spot;
use crate::odrl::Constraint;
use crate::vocabulary::short;
use std::ops::Range;

/// A JSON text, to be stepped through.
#[derive(Clone, Copy)]
pub(super) struct JsonText<'t> {
    text: &'t str,
}

impl<'t> JsonText<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text }
    }

    /// The places of all rules, duties and conditions of a policy.
    pub(super) fn places(self) -> Places {
        let Some(policy) = self.value(0) else { return Places::default() };
        let rules = |member: &str, duty: &str| -> Vec<RulePlaces> {
            let place = |rule: Range<usize>| RulePlaces {
                rule: self.spot(&rule),
                constraints: self.spots(&rule, "constraint"),
                duties: self.spots(&rule, duty),
            };
            self.entries(&policy, member).into_iter().map(place).collect()
        };
        Places {
            permissions: rules("permission", "duty"),
            prohibitions: rules("prohibition", "remedy"),
            obligations: self.spots(&policy, "obligation"),
        }
    }

    /// The place of a clause as [`crate::classify`] names it, such as `permission 1, duty 2`; that of the policy where there is none.
    pub(super) fn clause(self, place: &str) -> Range<usize> {
        let mut found = self.value(0).unwrap_or_default();
        let mut kind = "";
        for part in place.split(", ") {
            let Some((name, number)) = part.split_once(' ') else { break };
            let member = if (kind, name) == ("prohibition", "duty") { "remedy" } else { name };
            let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let entry = index.and_then(|index| self.entries(&found, member).into_iter().nth(index));
            let Some(entry) = entry else { break };
            (found, kind) = (entry, name);
        }
        found
    }

    /// The place of a clause itself within that: the condition, also as an operand of another or as a refinement; the action; or
    /// the name of the member that is not known.
    pub(super) fn part(self, clause: &ClauseReport) -> Range<usize> {
        let rule = self.clause(&clause.place);
        let mut conditions = Vec::new();
        for holder in ["action", "target", "assignee", "assigner"] {
            for entry in self.entries(&rule, holder) {
                conditions.extend(self.entries(&entry, "refinement"));
                let named = self.text.get(entry.clone()).unwrap_or_default().trim_matches('"');
                let is_it =
                    holder == "action" && crate::vocabulary::short_action(named) == clause.clause;
                if is_it {
                    return entry;
                }
            }
        }
        conditions.extend(self.entries(&rule, "constraint"));
        // Each is read by itself, as the whole was: what says the same as the clause is the clause.
        while let Some(place) = conditions.pop() {
            let connectives = ["and", "andSequence", "or", "xone"].into_iter();
            let operands: Vec<_> =
                connectives.flat_map(|connective| self.entries(&place, connective)).collect();
            if !operands.is_empty() {
                for operand in operands {
                    // An ordered list stands in an object of its own.
                    match self.entries(&operand, "@list") {
                        listed if listed.is_empty() => conditions.push(operand),
                        listed => conditions.extend(listed),
                    }
                }
                continue;
            }
            let text = self.text.get(place.clone()).unwrap_or_default();
            let Ok(value) = super::json::read(text) else { continue };
            let read = Constraint::from_json(&value);
            let says = match &read {
                Constraint::NotUnderstood(part) => {
                    format!("{}: {}", part.member, part.reason) == clause.clause
                }
                other => expression::write(other) == clause.clause,
            };
            if says {
                return place;
            }
        }
        let member = clause.clause.split_once(": ").map(|(member, _)| member);
        member.and_then(|member| self.member(&rule, member)).unwrap_or(rule)
    }

    /// The place of a member's name.
    pub(super) fn member(self, object: &Range<usize>, member: &str) -> Option<Range<usize>> {
        let mut found = self.members(object);
        found.find_map(|(key, name, _)| (name == member || short(name) == member).then_some(key))
    }

    /// The members of an object: the place of each name, the name, the place of the value.
    fn members(
        self,
        object: &Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, &'t str, Range<usize>)> {
        let mut at = self.opens(object, '{').then_some(object.start + 1);
        std::iter::from_fn(move || {
            let key = self.value(at?)?;
            let value = self.value(key.end)?;
            let name = self.text.get(key.start + 1..key.end.saturating_sub(1)).unwrap_or_default();
            at = Some(value.end);
            Some((key, name, value))
        })
    }

    fn spots(self, object: &Range<usize>, member: &str) -> Vec<Spot> {
        self.entries(object, member).iter().map(|entry| self.spot(entry)).collect()
    }

    fn spot(self, span: &Range<usize>) -> Spot {
        Spot::of(self.text, span.clone())
    }

    /// The entries of a list that is a member of an object, or the one value in its place.
    fn entries(self, object: &Range<usize>, member: &str) -> Vec<Range<usize>> {
        let mut found = self.members(object).filter(|(_, name, _)| short(name) == member);
        match found.next() {
            Some((_, _, value)) if self.opens(&value, '[') => self.items(&value),
            Some((_, _, value)) => vec![value],
            None => Vec::new(),
        }
    }

    fn items(self, list: &Range<usize>) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut at = list.start + 1;
        while let Some(item) = self.value(at) {
            at = item.end;
            found.push(item);
        }
        found
    }

    fn opens(self, value: &Range<usize>, bracket: char) -> bool {
        self.text.get(value.clone()).is_some_and(|text| text.starts_with(bracket))
    }

    /// The next value after a position; nothing where what encloses it ends.
    fn value(self, after: usize) -> Option<Range<usize>> {
        let rest = self.text.get(after..)?;
        let skipped = |character: char| character.is_whitespace() || matches!(character, ',' | ':');
        let start = after + rest.find(|character: char| !skipped(character))?;
        let bytes = self.text.as_bytes().get(start..)?;
        let (mut depth, mut quotes) = (0_usize, super::json::Quotes::default());
        for (offset, byte) in bytes.iter().enumerate() {
            match byte {
                _ if !quotes.pass(*byte) => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if offset == 0 => return None,
                b'}' | b']' if depth == 0 => return Some(start..start + offset),
                b'}' | b']' => depth -= 1,
                b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                    return Some(start..start + offset);
                }
                _ => {}
            }
            if depth == 0 && !quotes.is_open && matches!(byte, b'}' | b']' | b'"') {
                return Some(start..start + offset + 1);
            }
        }
        Some(start..self.text.len())
    }
}
