//! Provenance: tokens signed with each grant, the bundles given out, and those that came with what we received.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use certs::key::VerifyingKey;
use engine::LogId;
use engine::data::Granted;
use engine::derived::Received;
use engine::entity::{Agreement, Digests, Transfer};
use engine::transfer::GrantFacts;
use protocol::id::ParticipantId;
use provenance::claims::{
    self, Activity, ActivityKind, Claims, Classification, Log, LogKey, Policy,
};
use provenance::parents::{Commitment, Opening};
use provenance::{Bundle, Digest, Expected, Registered, Trust};

use crate::node::Node;
use crate::witness;

/// The largest bundle that is read, in bytes.
pub const BUNDLE_BYTES_MAX: usize = provenance::bundle::MAX_BUNDLE_BYTES;

/// What the parents of our datasets were used as.
const PARENT_ROLE: &str = "input";

/// Why evidence cannot be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The checkpoint.
    #[error(transparent)]
    Witness(#[from] witness::WitnessError),
    /// The record or its proof.
    #[error(transparent)]
    Store(#[from] store::EvidenceError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] provenance::BundleError),
    /// The file.
    #[error("`{}` cannot be written: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The transfer has no grant.
    #[error("nothing was granted")]
    NoGrant,
}

impl EvidenceError {
    /// Whether no waiting helps: an operator has to act.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Witness(error) if error.is_final())
    }
}

/// Signs the provenance token of a grant.
///
/// # Errors
/// What cannot be said or signed.
pub fn issue(node: &Node, facts: &GrantFacts) -> Result<String, String> {
    let site = node.identity.site.load();
    let key = site.signing.key();
    let (dataset, agreement) = (&facts.dataset, &facts.agreement);
    let digest = |text: &str| text.parse::<Digest>().map_err(|error| error.to_string());
    let owner = &node.context.participant;
    let claims = Claims {
        profile: claims::Profile::One,
        issuer: owner.to_string(),
        subject: dataset.id.to_string(),
        audience: facts.partner.participant.to_string(),
        id: uuid::Uuid::new_v4().urn().to_string(),
        issued_at: facts.now,
        not_before: None,
        agreement: claims::Agreement {
            id: agreement.id.to_string(),
            sha256: digest(&agreement.sha256)?,
        },
        policy: Policy { sha256: digest(&agreement.policy_sha256)? },
        purpose: agreement.purpose.clone(),
        dataset: claims::Dataset {
            version: dataset.version.clone(),
            sha256: digest(&dataset.digests.sha256)?,
            blake3: digest(&dataset.digests.blake3)?,
            size: dataset.digests.size,
            media_type: dataset.media_type.clone(),
            file_name: dataset.file_name.clone(),
            title: Some(dataset.title.clone()),
        },
        activity: Activity {
            kind: ActivityKind::Release,
            started: facts.now,
            transfer: facts.transfer.to_string(),
            consumer_process: Some(facts.consumer_pid.to_string()),
        },
        classification: Classification { confidentiality: dataset.confidentiality.clone() },
        parents: commitments(&dataset.derived_from)?,
        log: Log {
            origin: LogId::Relation(facts.partner.participant.clone())
                .in_epoch(facts.epoch)
                .origin(owner),
            key: LogKey::ed25519(witness::key_name(owner), key.public_key()),
        },
    };
    provenance::issue(&claims, key, &site.signing.chain()).map_err(|error| error.to_string())
}

/// What a dataset was made from, as salted hashes: a token does not show a company's suppliers to its customer.
fn commitments(parents: &[engine::entity::Parent]) -> Result<Vec<Commitment>, String> {
    let commitment = |parent: &engine::entity::Parent| {
        let mut salt = [0; 32];
        hex::decode_to_slice(&parent.salt, &mut salt).map_err(|error| error.to_string())?;
        let digest = |text: &str| text.parse::<Digest>().map_err(|error| error.to_string());
        let opening = Opening {
            salt,
            parent: provenance::parents::Parent {
                token: digest(&parent.token_sha256)?,
                role: PARENT_ROLE.to_owned(),
                digest: digest(&parent.sha256)?,
            },
        };
        opening.commitment().map_err(|error| error.to_string())
    };
    parents.iter().map(commitment).collect()
}

/// Verifies evidence of data that a partner released to us, as what a dataset is made from. A bundle names the partner by its
/// key, so each registered one is tried.
///
/// # Errors
/// What does not verify, in words.
pub fn received(node: &Node, text: &str) -> Result<Received, String> {
    let bundle = Bundle::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    let recipient = node.context.participant.to_string();
    let expected = Expected { recipient: Some(&recipient), ..Expected::default() };
    let registry = node.registry();
    let mut reason = "no partner with a signing key is registered".to_owned();
    for partner in registry.iter() {
        let Some(registered) = registered(node, &partner.partner.participant) else { continue };
        let trust = Trust { anchors: &[], registered: Some(&registered) };
        let report = provenance::verify(&bundle, trust, None, &expected, node.clock.now());
        // The bundle alone is judged: the data are not at hand, and their digest is in the signed token.
        let claims = match report.verified() {
            Ok(claims) => claims,
            Err(report) => {
                if let Some(failure) = report.failure() {
                    reason = failure.to_string();
                }
                continue;
            }
        };
        let mut salt = [0; 32];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| "no random bytes".to_owned())?;
        let no_id = |what: &str| format!("its {what} is no id");
        return Ok(Received {
            provider: partner.partner.participant.clone(),
            agreement: claims.agreement.id.parse().map_err(|_| no_id("agreement"))?,
            agreement_sha256: hex::encode(claims.agreement.sha256.0),
            dataset: claims.subject.parse().map_err(|_| no_id("dataset"))?,
            token_sha256: hex::encode(certs::jose::token_sha256(bundle.token())),
            sha256: hex::encode(claims.dataset.sha256.0),
            salt: hex::encode(salt),
        });
    }
    Err(reason)
}

/// The bundle of a grant: its token, the leaf of its record, the proof that a signed checkpoint covers it.
///
/// # Errors
/// [`EvidenceError`].
pub async fn bundle(node: &Arc<Node>, granted: &Granted) -> Result<Vec<u8>, EvidenceError> {
    let grant = granted.transfer.grant.as_ref().ok_or(EvidenceError::NoGrant)?;
    let (tree, index) = node.store.index_of(granted.record).await?;
    let head = witness::covering(node, &tree, index.saturating_add(1)).await?;
    let leaf = node.store.leaf_at(tree.clone(), index).await?;
    let (_, proof) = node.store.inclusion(tree, index, head.size).await?;
    let bundle = Bundle::new(grant.provenance.clone(), &leaf, index, proof, head.note)?;
    Ok(bundle.to_json()?.into_bytes())
}

/// What a provider's evidence says, verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The bundle as it came.
    pub bundle: Vec<u8>,
    /// The provider's checkpoint in it, a signed note: to be judged against what the provider has shown so far.
    pub checkpoint: String,
    /// SHA-256 of the token, hexadecimal.
    pub token_sha256: String,
    /// What was released.
    pub digests: Digests,
    /// The name of the file.
    pub file_name: String,
}

/// Verifies a provider's bundle against its registered key and the exchange that it must be about.
///
/// # Errors
/// What does not verify, in words.
pub fn verify(
    node: &Node,
    transfer: &Transfer,
    agreement: &Agreement,
    bytes: &[u8],
) -> Result<Verified, String> {
    let bundle = Bundle::parse(bytes).map_err(|error| error.to_string())?;
    let registered = registered(node, &transfer.participant)
        .ok_or_else(|| "the provider's signing key is not registered".to_owned())?;
    let recipient = node.context.participant.to_string();
    let peer_pid = transfer.peer_pid.as_ref().map(ToString::to_string);
    let expected = Expected {
        provider: Some(transfer.participant.as_str()),
        recipient: Some(&recipient),
        dataset: Some(transfer.dataset.as_str()),
        agreement: Some(agreement.id.as_str()),
        transfer: peer_pid.as_deref(),
        consumer_process: Some(transfer.pid.as_str()),
    };
    let trust = Trust { anchors: &[], registered: Some(&registered) };
    let report = provenance::verify(&bundle, trust, None, &expected, node.clock.now());
    let claims = report.verified().map_err(|report| {
        let failed: Vec<String> = report.failures().map(ToString::to_string).collect();
        if failed.is_empty() {
            "not every check could be made".to_owned()
        } else {
            failed.join("; ")
        }
    })?;
    if hex::encode(claims.agreement.sha256.0) != agreement.sha256 {
        return Err("the token is about other terms than were agreed".to_owned());
    }
    Ok(Verified {
        bundle: bytes.to_vec(),
        checkpoint: bundle.checkpoint().to_owned(),
        token_sha256: hex::encode(certs::jose::token_sha256(bundle.token())),
        digests: Digests {
            sha256: hex::encode(claims.dataset.sha256.0),
            blake3: hex::encode(claims.dataset.blake3.0),
            size: claims.dataset.size,
        },
        file_name: claims.dataset.file_name,
    })
}

/// A partner's registered signing key.
fn registered(node: &Node, partner: &ParticipantId) -> Option<Registered> {
    let registry = node.registry();
    let text = registry.by_participant(partner)?.partner.signing_key.clone()?;
    let point = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
    let key = VerifyingKey::from_ed25519(&point).ok()?;
    Some(Registered { participant: partner.to_string(), key })
}

/// Where the evidence of data is: below their address, whose query stays ([`crate::wire::DATA`]).
pub fn address(data: &str) -> String {
    let (path, query) =
        data.split_once('?').map_or((data, None), |(path, query)| (path, Some(query)));
    let path = path.trim_end_matches('/');
    query.map_or_else(|| format!("{path}/provenance"), |query| format!("{path}/provenance?{query}"))
}

/// Whether a partner gives evidence of what it releases.
pub fn is_given_by(node: &Node, partner: &ParticipantId) -> bool {
    node.registry()
        .by_participant(partner)
        .is_some_and(|file| file.partner.extensions.contains("provenance/1"))
}

/// Where the bundle of a pull is kept, for good.
fn place(node: &Node, pull: &str) -> PathBuf {
    node.paths.data.join("provenance").join(format!("{pull}.prov"))
}

/// Keeps the bundle of what a pull receives, before its bytes.
///
/// # Errors
/// When it cannot be written.
pub async fn keep(node: &Arc<Node>, pull: &str, bundle: &[u8]) -> Result<(), EvidenceError> {
    let (path, bytes) = (place(node, pull), bundle.to_vec());
    let failed = |path: PathBuf, reason: String| EvidenceError::Write { path, reason };
    let target = path.clone();
    tokio::task::spawn_blocking(move || {
        if let Some(directory) = target.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| failed(directory.to_owned(), error.to_string()))?;
        }
        certs::files::replace_public(&target, &bytes)
            .map_err(|error| failed(target, crate::site::chain(&error)))
    })
    .await
    .unwrap_or_else(|error| Err(EvidenceError::Write { path, reason: error.to_string() }))
}

/// The bundle that is kept for a pull; `None` where the provider gave none.
///
/// # Errors
/// When it cannot be read.
pub async fn kept(node: &Node, pull: &str) -> std::io::Result<Option<Vec<u8>>> {
    match tokio::fs::read(place(node, pull)).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_below_the_path_of_the_data_and_a_query_stays() {
        for (data, evidence) in [
            ("https://b.example/data/1", "https://b.example/data/1/provenance"),
            ("https://b.example/data/1/", "https://b.example/data/1/provenance"),
            (
                "https://b.example/put?key=a/b&sig=1",
                "https://b.example/put/provenance?key=a/b&sig=1",
            ),
            ("https://b.example/put/?a?b", "https://b.example/put/provenance?a?b"),
        ] {
            assert_eq!(address(data), evidence);
        }
    }
}
