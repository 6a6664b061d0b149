//! An authority's answer, matched to our keys and judged as a partner would.

use jiff::Timestamp;

use super::{Identity, PkiError, Role};
use crate::path::Authorities;
use crate::x509::{Certificate, printable};

/// The public halves of the site's keys, as SubjectPublicKeyInfo in DER.
pub(super) struct RoleKeys {
    pub(super) signing: Vec<u8>,
    pub(super) server: Vec<u8>,
    pub(super) client: Vec<u8>,
}

impl RoleKeys {
    pub(super) fn of(&self, role: Role) -> &[u8] {
        match role {
            Role::Signing => &self.signing,
            Role::Server => &self.server,
            Role::Client => &self.client,
        }
    }
}

/// One leaf with its way to an anchor.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) leaf: Certificate,
    pub(super) intermediates: Vec<Certificate>,
    pub(super) anchor: Certificate,
    pub(super) valid_until: Timestamp,
}

impl Chain {
    /// What is shown to others: all but the anchor, which they must have of their own.
    pub(super) fn presented(&self) -> Vec<Certificate> {
        [&self.leaf].into_iter().chain(&self.intermediates).cloned().collect()
    }
}

/// The three chains.
pub(super) struct Assembled {
    pub(super) signing: Chain,
    pub(super) server: Chain,
    pub(super) client: Chain,
}

impl Assembled {
    /// Every certificate once: leaves, then intermediates, then anchors.
    pub(super) fn certificates(&self) -> Vec<Certificate> {
        let chains = [&self.signing, &self.server, &self.client];
        let leaves = chains.iter().map(|chain| &chain.leaf);
        let intermediates = chains.iter().flat_map(|chain| &chain.intermediates);
        let anchors = chains.iter().map(|chain| &chain.anchor);
        let mut unique: Vec<Certificate> = Vec::new();
        for one in leaves.chain(intermediates).chain(anchors) {
            if !unique.contains(one) {
                unique.push(one.clone());
            }
        }
        unique
    }

    pub(super) fn valid_until(&self) -> Timestamp {
        self.signing.valid_until.min(self.server.valid_until).min(self.client.valid_until)
    }
}

/// Sorts certificates into leaves and authorities, and judges the leaf of each key.
pub(super) fn assemble(
    certificates: Vec<Certificate>,
    identity: &Identity,
    keys: &RoleKeys,
    now: Timestamp,
) -> Result<Assembled, PkiError> {
    let (authorities, leaves): (Vec<_>, Vec<_>) =
        certificates.into_iter().partition(Certificate::is_ca);
    for leaf in &leaves {
        if Role::ALL.iter().all(|role| keys.of(*role) != leaf.spki_der()) {
            let subject = leaf.subject().to_owned();
            return Err(PkiError::ForeignCertificate { subject });
        }
    }
    let authorities = Authorities::new(authorities);
    let chain = |role| assemble_chain(role, &leaves, &authorities, identity, keys, now);
    Ok(Assembled {
        signing: chain(Role::Signing)?,
        server: chain(Role::Server)?,
        client: chain(Role::Client)?,
    })
}

fn assemble_chain(
    role: Role,
    leaves: &[Certificate],
    authorities: &Authorities,
    identity: &Identity,
    keys: &RoleKeys,
    now: Timestamp,
) -> Result<Chain, PkiError> {
    // Of two certificates for one key (an old one and its renewal) the longer-lived one counts.
    let leaf = leaves
        .iter()
        .filter(|leaf| leaf.spki_der() == keys.of(role))
        .max_by_key(|leaf| leaf.not_after())
        .ok_or(PkiError::MissingCertificate { role })?;
    if !leaf.uris().iter().any(|uri| uri == identity.participant()) {
        let found: Vec<_> =
            leaf.uris().iter().take(8).map(|uri| format!("`{}`", printable(uri))).collect();
        return Err(PkiError::WrongParticipant {
            role,
            expected: identity.participant().to_owned(),
            found: if found.is_empty() { "no URI".to_owned() } else { found.join(", ") },
        });
    }
    if role == Role::Server {
        check_server_names(leaf, identity)?;
    }
    let path = authorities
        .verify(leaf, &[], role.purpose(), now)
        .map_err(|reason| PkiError::Refused { role, reason })?;
    Ok(Chain {
        leaf: leaf.clone(),
        intermediates: path.intermediates,
        anchor: path.anchor,
        valid_until: path.valid_until,
    })
}

/// Sekisho does not compare host names, but other connectors that dial us do.
fn check_server_names(leaf: &Certificate, identity: &Identity) -> Result<(), PkiError> {
    for name in identity.dns_names() {
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let covered = |have: &String| have == name || Some(have) == wildcard.as_ref();
        if !leaf.dns_names().iter().any(covered) {
            return Err(PkiError::MissingName { name: name.clone() });
        }
    }
    for address in identity.addresses() {
        if !leaf.addresses().contains(address) {
            return Err(PkiError::MissingName { name: address.to_string() });
        }
    }
    Ok(())
}
