//! Why a download does not go on.

use engine::StoreError;
use engine::entity::Failure;
use protocol::error::PeerRefusal;

use crate::data::FetchError;
use crate::net::SendError;
use crate::objects::IncomingError;
use crate::wire::UNPROVEN;
use crate::witness::WitnessError;

/// Why a download does not go on.
pub(super) enum Stop {
    /// For good.
    Failed(Failure),
    /// The state could not be read or written.
    Stored(StoreError),
    /// The provider's endpoint refuses; a message of its own may say more.
    Refused(Failure),
}

impl Stop {
    pub(super) fn of(error: FetchError) -> Self {
        match error {
            FetchError::Refused { status, body, .. } => Self::Refused(refused(status, &body)),
            FetchError::Send(SendError::Status { answer, .. })
                if answer.status.is_client_error() =>
            {
                Self::Refused(refused(answer.status, &answer.body))
            }
            FetchError::Local(error) => local(&error),
            error => Self::Failed(failure("download-failed", &crate::site::chain(&error))),
        }
    }
}

impl Stop {
    /// The provider says that it has no evidence to give: what it sends could not be verified, so that it is not received.
    pub(super) fn without_evidence(self) -> Self {
        match self {
            Self::Refused(refused) if refused.code == UNPROVEN => Self::Failed(Failure {
                reason: format!("the provider gives no evidence: {}", refused.reason),
                code: "not-verified".to_owned(),
                ..refused
            }),
            other => other,
        }
    }
}

impl From<WitnessError> for Stop {
    fn from(error: WitnessError) -> Self {
        match error {
            WitnessError::Store(error) => Self::Stored(error),
            error => Self::Failed(failure("not-verified", &error.to_string())),
        }
    }
}

/// How much of a provider's reason is kept, in characters.
const REASON_CHARS: usize = 1000;

/// What a refusal of the data endpoint says.
fn refused(status: http::StatusCode, body: &[u8]) -> Failure {
    let told = PeerRefusal::read(body, &protocol::json::Limits::default());
    let texts = told.explanation.texts();
    let code = told.explanation.code.unwrap_or_else(|| "refused".to_owned());
    Failure {
        by_policy: engine::process::is_policy(&code),
        code,
        reason: match texts.is_empty() {
            true => format!("the provider refused the data with {status}"),
            // They are shown to our operators: they must not steer a terminal.
            false => texts
                .join("; ")
                .chars()
                .map(|character| if character.is_control() { ' ' } else { character })
                .take(REASON_CHARS)
                .collect(),
        },
        reference: reference(body),
    }
}

/// The reference of a refusal that is about no process of ours: both process ids are it.
fn reference(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let id = |name: &str| body.get(name).and_then(serde_json::Value::as_str);
    let reference = id("providerPid")?.parse::<uuid::fmt::Urn>().ok()?.to_string();
    (id("consumerPid") == Some(reference.as_str())).then_some(reference)
}

pub(super) fn local(error: &IncomingError) -> Stop {
    let code = match error {
        IncomingError::NotVerified { .. } => "not-verified",
        IncomingError::Storage(_) => "cannot-write",
        _ => "download-failed",
    };
    Stop::Failed(failure(code, &crate::site::chain(error)))
}

pub(super) fn failure(code: &str, reason: &str) -> Failure {
    Failure { code: code.to_owned(), reason: reason.to_owned(), reference: None, by_policy: false }
}
