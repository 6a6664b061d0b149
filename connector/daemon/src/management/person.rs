//! Who asks, as the operating system names them.

use nix::unistd::{Uid, User};

/// A user for the journal: `uid 1000 (tanaka)`, or without a name where the system knows none.
pub(super) async fn of(uid: u32) -> String {
    // The system may ask a directory service over the network.
    let found = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    match found {
        Ok(Ok(Some(user))) => format!("uid {uid} ({})", user.name.escape_debug()),
        _ => format!("uid {uid}"),
    }
}
