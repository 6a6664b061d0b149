//! Who asks, what they may do, and which part of the node's business they see.

use engine::keys::{Role, Scope};
use engine::{Decision, Entity, Key};
use protocol::id::{AgreementId, DatasetId, ParticipantId};

use super::answer::{ApiError, ErrorKind};
use crate::node::Node;

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

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// As the journal names them: `uid 1000 (tanaka)`, or `key reports`.
    pub(super) person: String,
    pub(super) role: Role,
    pub(super) scope: Scope,
}

impl Caller {
    /// Somebody of this host, whom the socket's permissions let in.
    pub(super) fn local(person: String) -> Self {
        Self { person, role: Role::Administrator, scope: Scope::default() }
    }

    /// Refuses what is not within the scope.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`], naming what is out of it.
    pub(super) fn check(
        &self,
        participant: &ParticipantId,
        dataset: &DatasetId,
        purpose: Option<&str>,
    ) -> Result<(), ApiError> {
        let scope = &self.scope;
        let what = if !scope.has_partner(participant) {
            format!("the partner `{participant}`")
        } else if !scope.has(participant, dataset) {
            format!("the dataset `{dataset}`")
        } else if !scope.has_purpose(purpose) {
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

/// The purpose of what rests on an agreement: processes under it do not repeat it.
///
/// # Errors
/// When the agreement cannot be read.
pub(super) async fn agreed_purpose(
    node: &Node,
    agreement: Option<AgreementId>,
) -> Result<Option<String>, ApiError> {
    let Some(agreement) = agreement else { return Ok(None) };
    let key = Key::Agreement(agreement);
    let found = node.commit(move |view| view.entity(&key).map(Decision::answer)).await?;
    Ok(match found.as_deref() {
        Some(Entity::Agreement(found)) => found.purpose.clone(),
        _ => None,
    })
}
