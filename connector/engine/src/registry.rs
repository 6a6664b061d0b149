//! What rules: activating a set of policies and partners.

use std::collections::BTreeMap;

use protocol::id::ParticipantId;

use crate::context;
use crate::entity::{Partner, PartnerState, Rules};
use crate::{Account, Category, Decision, Key, LogId, Need, RecordDraft, RecordKind, View};

/// What an activation changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whether the rule set itself is another one.
    pub rules: bool,
    /// The names of partners that were registered, changed or removed, with what happened.
    pub partners: Vec<(String, RecordKind)>,
}

/// Who activated a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Where it came from, such as `file change` or `sekisho partner suspend`.
    pub place: String,
    /// The person, as the operating system names it.
    pub person: Option<String>,
    /// Why, where it was said.
    pub reason: Option<String>,
}

/// Makes a rule set and a partner registry the ones in force, by one commit.
///
/// `known` are the participants that are registered now: the caller scans them, the decision checks each.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn activate(
    view: &dyn View,
    rules: &Rules,
    partners: &[Partner],
    known: &[ParticipantId],
    author: &Author,
) -> Result<Decision<Changes>, Need> {
    let mut changes = Changes::default();
    let mut records = Vec::new();
    let wanted: BTreeMap<_, _> =
        partners.iter().map(|partner| (&partner.participant, partner)).collect();
    for partner in wanted.values() {
        let earlier = context::partner(view, &partner.participant)?;
        let Some(kind) = change(earlier.as_ref(), partner) else { continue };
        changes.partners.push((partner.name.clone(), kind));
        let mut record = partner_record(view, kind, &partner.participant, &partner.name, author)?
            .put(Key::Partner(partner.participant.clone()), (*partner).clone());
        record.essential =
            matches!(kind, RecordKind::PartnerSuspended | RecordKind::PartnerOffboarded);
        records.push(record);
    }
    for participant in known.iter().filter(|participant| !wanted.contains_key(participant)) {
        let Some(earlier) = context::partner(view, participant)? else { continue };
        changes.partners.push((earlier.name.clone(), RecordKind::PartnerRemoved));
        records.push(
            partner_record(view, RecordKind::PartnerRemoved, participant, &earlier.name, author)?
                .remove(Key::Partner(participant.clone()))
                .essential(),
        );
    }
    let in_force = context::rules(view)?;
    if in_force.as_ref().is_none_or(|in_force| in_force.hash != rules.hash) {
        changes.rules = true;
        let mut account = Account {
            place: Some(author.place.clone()),
            policy: Some(rules.hash.clone()),
            reason: author.reason.clone(),
            ..Account::default()
        };
        if let Some(in_force) = in_force {
            account = account.fact("replaces", in_force.hash.clone());
        }
        account = context::follows(view, account, &Key::Rules)?;
        records.push(
            RecordDraft::new(LogId::Site, RecordKind::RulesActivated, Category::Service)
                .account(account)
                .digest("rules", rules.hash.clone())
                .person(author.person.clone())
                .put(Key::Rules, rules.clone()),
        );
    }
    Ok(Decision::commit(records, changes))
}

/// Suspends or offboards one partner, whatever else the site's files say: a security stop does not wait for a typing error
/// in another file. The answer says whether it was in another state.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn shut_out(
    view: &dyn View,
    participant: &ParticipantId,
    state: PartnerState,
    author: &Author,
) -> Result<Decision<bool>, Need> {
    let Some(mut partner) = context::partner(view, participant)? else {
        return Ok(Decision::answer(false));
    };
    let kind = match state {
        PartnerState::Active => return Ok(Decision::answer(false)),
        PartnerState::Suspended => RecordKind::PartnerSuspended,
        PartnerState::Offboarded => RecordKind::PartnerOffboarded,
    };
    if partner.state == state {
        return Ok(Decision::answer(false));
    }
    partner.state = state;
    let record = partner_record(view, kind, participant, &partner.name, author)?
        .put(Key::Partner(participant.clone()), partner)
        .essential();
    Ok(Decision::commit(vec![record], true))
}

fn change(earlier: Option<&Partner>, partner: &Partner) -> Option<RecordKind> {
    let Some(earlier) = earlier else { return Some(RecordKind::PartnerRegistered) };
    if earlier == partner {
        return None;
    }
    Some(match (earlier.state, partner.state) {
        (before, PartnerState::Offboarded) if before != PartnerState::Offboarded => {
            RecordKind::PartnerOffboarded
        }
        (PartnerState::Active, PartnerState::Suspended) => RecordKind::PartnerSuspended,
        (PartnerState::Suspended | PartnerState::Offboarded, PartnerState::Active) => {
            RecordKind::PartnerResumed
        }
        _ => RecordKind::PartnerUpdated,
    })
}

fn partner_record(
    view: &dyn View,
    kind: RecordKind,
    participant: &ParticipantId,
    name: &str,
    author: &Author,
) -> Result<RecordDraft, Need> {
    let account = Account {
        participant: Some(participant.clone()),
        place: Some(author.place.clone()),
        reason: author.reason.clone(),
        ..Account::default()
    }
    .fact("name", name);
    let account = context::follows(view, account, &Key::Partner(participant.clone()))?;
    let record = RecordDraft::new(LogId::Relation(participant.clone()), kind, Category::Service);
    Ok(record.account(account).person(author.person.clone()))
}
