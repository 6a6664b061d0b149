//! Why a download does not go on.

use engine::StoreError;
use engine::entity::Failure;
use protocol::error::PeerRefusal;

use crate::data::FetchError;
use crate::net::SendError;
use crate::objects::IncomingError;
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
            FetchError::Refused { text, status } => Self::Refused(refused(status, text.as_bytes())),
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

impl From<WitnessError> for Stop {
    fn from(error: WitnessError) -> Self {
        match error {
            WitnessError::Store(error) => Self::Stored(error),
            error => Self::Failed(failure("not-verified", &error.to_string())),
        }
    }
}

/// What a refusal of the data endpoint says.
fn refused(status: http::StatusCode, body: &[u8]) -> Failure {
    let told = PeerRefusal::read(body, &protocol::json::Limits::default());
    let texts = told.explanation.texts();
    let code = told.explanation.code.unwrap_or_else(|| "refused".to_owned());
    Failure {
        by_policy: code == engine::process::POLICY_CODE,
        code,
        reason: match texts.is_empty() {
            true => format!("the provider refused the data with {status}"),
            false => texts.join("; "),
        },
        reference: None,
    }
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
