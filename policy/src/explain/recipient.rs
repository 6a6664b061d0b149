//! Terms as their recipient needs them: what may I do, until when, and what must I do by when.

use super::Language::{self, English, Japanese};
use super::words::{self, action};
use crate::evaluate;
use crate::odrl::{Constraint, Duty, LeftOperand, Operator, Policy, RightOperand, Rule};
use crate::terms::named_purposes;
use jiff::Timestamp;

/// What an agreement lets its recipient do, and asks of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The purposes that permissions name; none where any will do.
    pub purposes: Vec<String>,
    /// What is permitted.
    pub permitted: Vec<Allowed>,
    /// What is prohibited, a sentence each.
    pub prohibited: Vec<String>,
    /// What the recipient must do.
    pub duties: Vec<Due>,
    /// What others must do: the provider above all.
    pub others: Vec<Due>,
}

/// Something that is permitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// The actions, ODRL terms.
    pub actions: Vec<String>,
    /// Until when, where its conditions set an end.
    pub until: Option<Timestamp>,
    /// Whether that time is over.
    pub is_over: bool,
    /// The permission as a sentence.
    pub text: String,
}

/// Something that must be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// Its names, as duties are called on both nodes (`evaluate::TrackedDuty::name`): several where several permissions ask
    /// for the same.
    pub names: Vec<String>,
    /// The actions, ODRL terms.
    pub actions: Vec<String>,
    /// By when, where it has a deadline.
    pub by: Option<Timestamp>,
    /// Whether that time is over.
    pub is_over: bool,
    /// Whether it comes before the use.
    pub is_condition: bool,
    /// Who must do it, where that is not the recipient.
    pub by_whom: Option<String>,
    /// The duty as a sentence.
    pub text: String,
}

/// Reads agreed terms as of `now`; periods count from `agreed_at`.
#[must_use]
pub fn terms(policy: &Policy, agreed_at: Timestamp, now: Timestamp, language: Language) -> Terms {
    let end = |constraints: &[Constraint]| {
        constraints.iter().filter_map(|constraint| end_of(constraint, agreed_at)).min()
    };
    let allowed = |rule: &Rule| {
        let until = end(&rule.constraints);
        Allowed {
            actions: rule.actions.iter().map(|action| action.name.clone()).collect(),
            until,
            is_over: until.is_some_and(|until| until < now),
            text: words::permission(rule, language),
        }
    };
    let due = |name: String, duty: &Duty, is_condition| {
        let by = end(&duty.constraints);
        Due {
            names: vec![name],
            actions: duty.actions.iter().map(|action| action.name.clone()).collect(),
            by,
            is_over: by.is_some_and(|by| by < now),
            is_condition,
            // A duty is its policy's assignee's, unless it says otherwise (IM 2.6.4).
            by_whom: (duty.assignee.as_ref().map(|party| &party.id))
                .filter(|bearer| policy.assignee.as_ref().is_none_or(|party| party.id != **bearer))
                .cloned(),
            text: words::duty(duty, language),
        }
    };
    let before = policy.permissions.iter().enumerate().flat_map(|(index, rule)| {
        let duties = rule.duties.iter().enumerate();
        duties.map(move |(number, duty)| (evaluate::condition_name(index, number), duty))
    });
    let obligations = policy.obligations.iter().enumerate();
    let obligations =
        obligations.map(|(index, duty)| due(evaluate::obligation_name(index), duty, false));
    let mut duties: Vec<Due> = Vec::new();
    for mut item in before.map(|(name, duty)| due(name, duty, true)).chain(obligations) {
        let alike =
            |known: &&mut Due| Due { names: known.names.clone(), ..item.clone() } == **known;
        match duties.iter_mut().find(alike) {
            Some(known) => known.names.append(&mut item.names),
            None => duties.push(item),
        }
    }
    let (duties, others) = duties.into_iter().partition(|due| due.by_whom.is_none());
    Terms {
        purposes: named_purposes(policy),
        permitted: policy.permissions.iter().map(allowed).collect(),
        prohibited: (policy.prohibitions.iter())
            .map(|rule| words::prohibition(rule, language))
            .collect(),
        duties,
        others,
    }
}

/// The instant at which a condition that must hold ceases to.
fn end_of(constraint: &Constraint, agreed_at: Timestamp) -> Option<Timestamp> {
    let Constraint::Atomic(atomic) = constraint else { return None };
    let is_end = matches!(atomic.operator, Operator::Lt | Operator::Lteq | Operator::Eq);
    match (&atomic.right, atomic.left) {
        (RightOperand::Instant(end), _) if is_end => Some(*end),
        (RightOperand::Duration(span), LeftOperand::ElapsedTime) if is_end => {
            evaluate::after(agreed_at, span.0)
        }
        _ => None,
    }
}

impl Terms {
    /// For people.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        let mut lines = Vec::new();
        lines.push(match language {
            English => "What you may do:".to_owned(),
            Japanese => "許可されている行為:".to_owned(),
        });
        for allowed in &self.permitted {
            lines.push(format!("  {}", allowed.text));
            lines.extend(when(allowed.until, allowed.is_over, ("until", "期限"), language));
        }
        lines.extend(self.prohibited.iter().map(|sentence| format!("  {sentence}")));
        lines.push(match language {
            English => "  Whatever is not permitted above is denied.".to_owned(),
            Japanese => "  上記で許可されていない行為は、すべて許可されません。".to_owned(),
        });
        let parts = [
            (&self.duties, ("What you must do:", "義務:")),
            (&self.others, ("What others must do:", "受領者以外の義務:")),
        ];
        for (duties, (english, japanese)) in parts {
            if duties.is_empty() {
                continue;
            }
            lines.push(match language {
                English => english.to_owned(),
                Japanese => japanese.to_owned(),
            });
            duties.iter().for_each(|due| due.tell(language, &mut lines));
        }
        lines.join("\n")
    }
}

impl Due {
    fn tell(&self, language: Language, lines: &mut Vec<String>) {
        let before = match (self.is_condition, language) {
            (false, _) => "",
            (true, English) => " (before use)",
            (true, Japanese) => "(利用前に履行)",
        };
        lines.push(format!("  {}{before} [{}]", self.text, self.names.join(", ")));
        let name: Vec<_> = self.actions.iter().map(|term| action(term, language)).collect();
        let name = name.join(", ");
        let labels = (&*format!("{name} by"), &*format!("{name}の期限"));
        lines.extend(when(self.by, self.is_over, labels, language));
    }
}

fn when(
    at: Option<Timestamp>,
    is_over: bool,
    (english, japanese): (&str, &str),
    language: Language,
) -> Option<String> {
    let at = at?;
    Some(match (language, is_over) {
        (English, false) => format!("    {english}: {at}"),
        (English, true) => format!("    {english}: {at} (that time is over)"),
        (Japanese, false) => format!("    {japanese}: {at}"),
        (Japanese, true) => format!("    {japanese}: {at}(期限切れ)"),
    })
}
