//! Who asks, what they may do, and which part of the node's business they see.

use engine::keys::{Role, Scope};
use engine::{Decision, Entity, Key};
use policy::odrl::Policy;
use policy::terms::named_purposes;
use protocol::id::{AgreementId, DatasetId, ParticipantId};
use serde_json::Value;

use super::answer::{ApiError, ErrorKind};
use super::partners;
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
    /// The identifier of the application that the key was made for; none where the key has none, and on the Unix socket.
    pub(super) application: Option<String>,
}

impl Caller {
    /// Somebody of this host, whom the socket's permissions let in.
    pub(super) fn local(person: String) -> Self {
        Self { person, role: Role::Administrator, scope: Scope::default(), application: None }
    }

    /// A registered partner by its short name or participant id. One that is not within the scope is unknown to the caller, in
    /// the same words.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub(super) fn partner(&self, node: &Node, name: &str) -> Result<ParticipantId, ApiError> {
        node.partner_id(name)
            .filter(|participant| self.scope.has_partner(participant))
            .ok_or_else(|| partners::unknown(name))
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

impl Caller {
    /// Refuses terms that an application may not give: as provider any of its own, since what is offered to whom is for those
    /// to say who decide about policies; as consumer those that name a purpose out of its scope.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`].
    pub(super) fn check_terms(
        &self,
        terms: Option<&Value>,
        as_provider: bool,
    ) -> Result<(), ApiError> {
        let Some(terms) = terms.filter(|_| self.role == Role::Application) else { return Ok(()) };
        if as_provider {
            let text =
                "this key may offer and agree to what policies publish, and to no terms of its own";
            return Err(ApiError::new(ErrorKind::Forbidden, text).help(
                "leave `terms` out; a key with the role policy-administrator may give them",
            ));
        }
        // What cannot be read is refused by the decision, with the reason.
        let named = Policy::from_json(terms).map(|terms| named_purposes(&terms));
        match named
            .unwrap_or_default()
            .iter()
            .find(|named| !self.scope.has_purpose(Some(named.as_str())))
        {
            Some(purpose) => {
                let text =
                    format!("this key is not for the purpose `{purpose}`, which the terms name");
                Err(ApiError::new(ErrorKind::Forbidden, text)
                    .help("`sekisho key list` shows what a key is for"))
            }
            None => Ok(()),
        }
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
