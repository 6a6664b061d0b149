//! Transfers: what the partner's messages and our own steps share, and what ends together.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::pki::SitePki;
use engine::agreements::{Along, Ended};
use engine::entity::{Source, Transfer};
use engine::refusal::{Refusal, RefusalKind};
use engine::transfer::{GrantFacts, Prepared};
use engine::{Decider, EndReason, Entity, Kind, StoreError};
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use protocol::id::{AgreementId, Pid};

use crate::data::{Lease, Renew};
use crate::node::Node;
use crate::wire::Trouble;

/// How many entities are read at once.
const SCAN_STEP: usize = 256;
/// How many transfers one commit ends at most.
const END_TOGETHER: usize = 100;

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

/// Decides again, by `ask`, on a permit whose instant has come: what no longer holds is cut with its record, what holds goes
/// on.
pub fn renew<F>(node: &Arc<Node>, pid: &Pid, ask: impl Fn() -> F + Send + 'static) -> Renew
where
    F: Future<Output = Result<Lease, Trouble>> + Send + 'static,
{
    let (node, pid) = (Arc::clone(node), pid.clone());
    Box::new(move |_| {
        let (node, pid, asked) = (Arc::clone(&node), pid.clone(), ask());
        async move {
            let gone = |internal: String| EndReason {
                external: "the permit has ended".to_owned(),
                internal,
                terminates: false,
                by_policy: false,
            };
            node.store.recheck_permits(pid).await.map_err(|error| gone(error.to_string()))?;
            asked.await.map_err(|trouble| gone(trouble.to_string()))
        }
        .boxed()
    })
}

/// The SHA-256 of the access token of a transfer and generation, hexadecimal.
pub fn token_sha256(site: &SitePki, pid: &Pid, generation: u32) -> String {
    let token = site.token_key.access_token(pid.as_str(), u64::from(generation));
    hex::encode(certs::seal::token_digest(&token))
}

/// Seals the secret of an endpoint under our node key, bound to the process that it is for.
pub fn seal(node: &Node, pid: &Pid, token: &str) -> Option<String> {
    let site = node.identity.site.load();
    let sealed = site.seal_key.seal(token.as_bytes(), pid.as_str().as_bytes()).ok()?;
    Some(URL_SAFE_NO_PAD.encode(sealed))
}

/// The token of an endpoint of a partner, that was sealed when it came; none where the endpoint asks for none.
///
/// # Errors
/// What is wrong with what was kept, in words.
pub fn token_of(node: &Node, pid: &Pid, source: &Source) -> Result<Option<String>, String> {
    source.sealed_token.as_deref().map(|sealed| unseal(node, pid, sealed)).transpose()
}

/// What [`seal`] sealed.
///
/// # Errors
/// What is wrong with what was kept, in words.
pub fn unseal(node: &Node, pid: &Pid, sealed: &str) -> Result<String, String> {
    let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|error| error.to_string())?;
    let site = node.identity.site.load();
    let token = site
        .seal_key
        .unseal(&sealed, pid.as_str().as_bytes())
        .map_err(|error| error.to_string())?;
    String::from_utf8(token.to_vec()).map_err(|error| error.to_string())
}

/// The header fields of a request that shows a token.
pub fn authorization(token: &Option<String>) -> HeaderMap {
    shown(token.as_ref().map(|token| format!("Bearer {token}")))
}

/// The header fields of a request that shows a token without a scheme, as some providers want it.
pub fn bare_authorization(token: &Option<String>) -> HeaderMap {
    shown(token.clone())
}

fn shown(credentials: Option<String>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if let Some(credentials) = credentials
        && let Ok(mut value) = HeaderValue::try_from(credentials)
    {
        value.set_sensitive(true);
        fields.insert(AUTHORIZATION, value);
    }
    fields
}

/// The open transfers that fit.
///
/// # Errors
/// When the store is closed.
pub async fn open(node: &Node, fits: impl Fn(&Transfer) -> bool) -> Result<Vec<Along>, StoreError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = node.store.scan_hot(Kind::Transfer, after.take(), SCAN_STEP).await?;
        after = page.last().map(|(key, _)| key.clone());
        for (_, entity) in &page {
            if let Entity::Transfer(transfer) = entity.as_ref()
                && !transfer.process.is_closed()
                && !engine::process::is_terminating(&transfer.process)
                && fits(transfer)
            {
                let pid = transfer.pid.clone();
                let attempted = node.attempts.any(&pid);
                found.push(Along { pid, fresh: node.fresh(), attempted });
            }
        }
        if page.len() < SCAN_STEP {
            return Ok(found);
        }
    }
}

/// Ends an agreement with everything that runs under it.
///
/// # Errors
/// When there is none, or it cannot be stored.
pub async fn end_agreement(
    node: &Arc<Node>,
    id: &AgreementId,
    by: &Decider,
) -> Result<Ended, Trouble> {
    // The transfers close now: what they were served is recorded before.
    crate::node::record_served(node).await;
    let mut first: Option<Ended> = None;
    // Looked for until there are none: one may begin while those before are found, but none once the agreement has ended.
    loop {
        let mut along = open(node, |transfer| transfer.agreement == *id).await?;
        along.truncate(END_TOGETHER);
        if let (true, Some(ended)) = (along.is_empty(), first.as_ref()) {
            crate::witness::later(node, &ended.agreement.participant);
            return Ok(ended.clone());
        }
        let (context, fresh, id, by) =
            (Arc::clone(&node.context), node.fresh(), id.clone(), by.clone());
        let ended = node
            .decide(move |view| engine::agreements::end(view, &context, &fresh, &id, &by, &along))
            .await?;
        match &mut first {
            Some(first) => first.transfers.extend(ended.transfers),
            None => first = Some(ended),
        }
    }
}
