//! Who asks, what they may do, and which part of the node's business they see.

use std::collections::BTreeSet;

use protocol::id::{DatasetId, ParticipantId};

use super::answer::{ApiError, ErrorKind};

/// What somebody may do. Each route names the roles that may call it; the administrator may call every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// Everything. Whoever may open the Unix socket has this role.
    Administrator,
    /// Publishes and withdraws, decides what waits for a decision, ends agreements; sees what an auditor sees.
    PolicyAdministrator,
    /// Sees everything and changes nothing.
    Auditor,
    /// Gets data and drives processes within its scope.
    Application,
}

impl Role {
    /// All of them.
    pub(super) const ALL: [Self; 4] =
        [Self::Administrator, Self::PolicyAdministrator, Self::Auditor, Self::Application];

    /// Its name in the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::PolicyAdministrator => "policy-administrator",
            Self::Auditor => "auditor",
            Self::Application => "application",
        }
    }
}

/// Roles that read what belongs to the site as a whole.
pub(super) const READERS: &[Role] = &[Role::PolicyAdministrator, Role::Auditor];
/// Roles that read, and applications within their scope.
pub(super) const READERS_AND_APPLICATIONS: &[Role] =
    &[Role::PolicyAdministrator, Role::Auditor, Role::Application];
/// Roles that decide about policies and what is under them.
pub(super) const POLICY: &[Role] = &[Role::PolicyAdministrator];
/// Applications, within their scope.
pub(super) const APPLICATIONS: &[Role] = &[Role::Application];
/// Roles that decide, and applications within their scope.
pub(super) const POLICY_AND_APPLICATIONS: &[Role] = &[Role::PolicyAdministrator, Role::Application];

/// Which part of the node's business somebody sees and takes part in. `None` stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scope {
    /// Partners.
    pub(super) partners: Option<BTreeSet<ParticipantId>>,
    /// Declared purposes.
    pub(super) purposes: Option<BTreeSet<String>>,
    /// Datasets.
    pub(super) datasets: Option<BTreeSet<DatasetId>>,
}

impl Scope {
    /// Whether a partner is within it.
    pub(super) fn has_partner(&self, participant: &ParticipantId) -> bool {
        self.partners.as_ref().is_none_or(|partners| partners.contains(participant))
    }

    /// Whether something between us and a partner about a dataset is within it.
    pub(super) fn has(&self, participant: &ParticipantId, dataset: &DatasetId) -> bool {
        self.has_partner(participant)
            && self.datasets.as_ref().is_none_or(|datasets| datasets.contains(dataset))
    }

    /// Whether a purpose may be declared. One who is limited to some declares one of them.
    pub(super) fn has_purpose(&self, purpose: Option<&str>) -> bool {
        match (&self.purposes, purpose) {
            (None, _) => true,
            (Some(purposes), Some(purpose)) => purposes.contains(purpose),
            (Some(_), None) => false,
        }
    }

    /// Refuses what is not within it.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`], naming what is out of scope.
    pub(super) fn check(
        &self,
        participant: &ParticipantId,
        dataset: &DatasetId,
        purpose: Option<&str>,
    ) -> Result<(), ApiError> {
        let what = if !self.has_partner(participant) {
            format!("the partner `{participant}`")
        } else if !self.has(participant, dataset) {
            format!("the dataset `{dataset}`")
        } else if !self.has_purpose(purpose) {
            match purpose {
                Some(purpose) => format!("the purpose `{purpose}`"),
                None => "a request without a purpose".to_owned(),
            }
        } else {
            return Ok(());
        };
        Err(ApiError::new(ErrorKind::Forbidden, format!("this key is not for {what}")).help(
            "`sekisho key list` shows what a key is for; an administrator makes one with another scope",
        ))
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// As the journal names them: `uid 1000 (tanaka)`.
    pub(super) person: String,
    pub(super) role: Role,
    pub(super) scope: Scope,
}

impl Caller {
    /// Somebody of this host, whom the socket's permissions let in.
    pub(super) fn local(person: String) -> Self {
        Self { person, role: Role::Administrator, scope: Scope::default() }
    }
}
