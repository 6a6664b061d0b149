//! Transfers: what the partner's messages and our own steps share, and what ends together.

use certs::pki::SitePki;
use engine::refusal::{Refusal, RefusalKind};
use engine::transfer::{GrantFacts, Prepared};
use protocol::id::Pid;

use crate::node::Node;

/// Signs what a grant needs before it can be committed.
///
/// # Errors
/// A refusal when it cannot be signed.
pub fn prepare(node: &Node, facts: GrantFacts) -> Result<Prepared, Refusal> {
    let token_sha256 = token_sha256(&node.identity.site.load(), &facts.transfer, facts.generation);
    let provenance = crate::evidence::issue(node, &facts).map_err(|reason| {
        Refusal::new(
            RefusalKind::Unavailable,
            "temporarily unavailable",
            format!("the provenance token cannot be signed: {reason}"),
            uuid::Uuid::new_v4(),
        )
    })?;
    let provenance_sha256 = hex::encode(certs::jose::token_sha256(&provenance));
    Ok(Prepared { facts, provenance, provenance_sha256, token_sha256 })
}

/// The SHA-256 of the access token of a transfer and generation, hexadecimal.
pub fn token_sha256(site: &SitePki, pid: &Pid, generation: u32) -> String {
    let token = site.token_key.access_token(pid.as_str(), u64::from(generation));
    hex::encode(certs::seal::token_digest(&token))
}
