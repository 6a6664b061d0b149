//! Facts about the site itself: its identity, its clock.

use protocol::id::ParticipantId;

use crate::context;
use crate::entity::{ClockRefusal, Site};
use crate::{Account, Category, Decision, Key, LogId, Need, RecordDraft, RecordKind, View};

/// What a start found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The site.
    pub site: Site,
    /// Whether the run before ended without saying so.
    pub unclean: bool,
}

/// Records that the node started. The answer is the site; `Err` names the participant that the data belong to when it is
/// another one.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn started(
    view: &dyn View,
    participant: &ParticipantId,
    version: &str,
) -> Result<Decision<Result<Started, ParticipantId>>, Need> {
    let mut site = match context::site(view)? {
        Some(site) if site.participant != *participant => {
            return Ok(Decision::answer(Err(site.participant)));
        }
        Some(site) => site,
        None => Site {
            v: 1,
            participant: participant.clone(),
            epoch: crate::FIRST_EPOCH,
            clock_refused: None,
            running: false,
        },
    };
    let unclean = std::mem::replace(&mut site.running, true);
    let record = RecordDraft::new(LogId::Site, RecordKind::SiteStarted, Category::Service)
        .account(Account::default().fact("version", version).fact("afterUncleanStop", unclean))
        .put(Key::Site, site.clone());
    Ok(Decision::commit(vec![record], Ok(Started { site, unclean })))
}

/// Records that the node stops.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn stopped(view: &dyn View, reason: &str) -> Result<Decision<()>, Need> {
    let Some(mut site) = context::site(view)? else { return Ok(Decision::answer(())) };
    site.running = false;
    let account = Account { reason: Some(reason.to_owned()), ..Account::default() };
    let record = RecordDraft::new(LogId::Site, RecordKind::SiteStopped, Category::Service)
        .account(account)
        .put(Key::Site, site)
        .essential();
    Ok(Decision::commit(vec![record], ()))
}

/// Stops trusting the clock: permits end and new ones are refused until an operator accepts the time.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn refuse_clock(view: &dyn View, reason: &str) -> Result<Decision<()>, Need> {
    let Some(mut site) = context::site(view)? else { return Ok(Decision::answer(())) };
    if site.clock_refused.is_some() {
        return Ok(Decision::answer(()));
    }
    site.clock_refused = Some(ClockRefusal { reason: reason.to_owned(), since: view.now() });
    let account = Account { reason: Some(reason.to_owned()), ..Account::default() };
    let record = RecordDraft::new(LogId::Site, RecordKind::ClockRefused, Category::Service)
        .account(account)
        .put(Key::Site, site)
        .essential();
    Ok(Decision::commit(vec![record], ()))
}

/// An operator accepts the time. The answer says whether there was anything to accept.
///
/// # Errors
/// [`Need`] when an entity is not loaded.
pub fn accept_clock(
    view: &dyn View,
    reason: &str,
    person: Option<&str>,
) -> Result<Decision<bool>, Need> {
    let Some(mut site) = context::site(view)? else { return Ok(Decision::answer(false)) };
    if site.clock_refused.take().is_none() {
        return Ok(Decision::answer(false));
    }
    let account = Account { reason: Some(reason.to_owned()), ..Account::default() };
    let record = RecordDraft::new(LogId::Site, RecordKind::ClockAccepted, Category::Service)
        .account(account)
        .person(person.map(str::to_owned))
        .put(Key::Site, site);
    Ok(Decision::commit(vec![record], true))
}
