//! The registry of partners: `partners/NAME.toml`, one file for each.
//!
//! A file says who the partner is, by which certificates it is known, which origins of it we may dial, and what our
//! administrator declares of it. Most of it comes from the partner's card ([`from_card`]); groups, region, networks, limits and
//! state are the administrator's, and no card changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use certs::trust::{PartnerMaterial, PartnerTrust, TrustStore, TrustStoreError};
use certs::x509::Certificate;
use engine::entity::{Partner, PartnerState};
use ipnet::IpNet;
use protocol::id::ParticipantId;

use crate::config::{Place, Problem, Problems};

mod credentials;
mod edit;
mod file;
pub mod from_card;

pub use edit::set_state;
pub use file::PartnerLimits;

/// One partner, as its file says.
#[derive(Debug, Clone)]
pub struct PartnerFile {
    /// The file.
    pub path: PathBuf,
    /// What decisions need.
    pub partner: Partner,
    /// What its certificates are judged by; checked when the file was read.
    pub material: PartnerMaterial,
    /// The authorities of its signing certificate, for its provenance tokens and cards.
    pub signing_anchors: Vec<Certificate>,
    /// The raw public key that signs its journal, provenance and cards, with the name of its algorithm.
    pub signing_key: Option<file::SigningKeyText>,
    /// Networks whose private and loopback addresses we may dial for it.
    pub networks: Vec<IpNet>,
    /// Networks that its connections must come from; any where there are none.
    pub connect_from: Vec<IpNet>,
    /// Limits of its own, over those of the configuration.
    pub limits: PartnerLimits,
}

impl PartnerFile {
    /// Reads the text of a partner file as of `path`, whose directory has the files of certificates that it names.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        file::parse(path, name, text)
    }

    /// The short name: the stem of the file.
    pub fn name(&self) -> &str {
        &self.partner.name
    }

    /// Whether it may be used now.
    pub fn is_active(&self) -> bool {
        self.partner.state == PartnerState::Active
    }
}

/// All partners, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    partners: BTreeMap<String, PartnerFile>,
}

impl Registry {
    /// Reads every `*.toml` of a directory, as of `now`.
    ///
    /// # Errors
    /// Everything that is wrong in any of them: then nothing is to change.
    pub fn load(directory: &Path) -> Result<Self, Problems> {
        let (registry, problems) = Self::load_usable(directory);
        if problems.is_empty() { Ok(registry) } else { Err(Problems(problems)) }
    }

    /// As [`Registry::load`], with those that can be used and the problems of the others. Of two that claim the same,
    /// neither can be used.
    pub fn load_usable(directory: &Path) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut partners = BTreeMap::new();
        for path in files(directory).map_err(|problem| problems.push(problem)).unwrap_or_default() {
            match file::read(&path) {
                Ok(partner) => {
                    partners.insert(partner.name().to_owned(), partner);
                }
                Err(problem) => problems.push(problem),
            }
        }
        for (names, message) in rivals(&partners) {
            for name in names {
                let Some(partner) = partners.remove(&name) else { continue };
                let help = "remove one of the files, or correct it";
                problems.push(Problem::new(Place::File(partner.path), "", message.clone(), help));
            }
        }
        let mut registry = Self { partners };
        // A name in other spelling, or a pin against a certificate's key, only the store itself compares.
        while let Err(error) = registry.trust_store(0) {
            let removed = registry.remove_named_by(&error);
            if removed.is_empty() {
                problems.push(Problem::new(
                    Place::File(directory.to_owned()),
                    "",
                    error.to_string(),
                    "",
                ));
                registry.partners.clear();
            }
            problems.extend(removed);
        }
        (registry, problems)
    }

    /// The trust store of these partners: what the TLS verifiers ask.
    ///
    /// # Errors
    /// When two claim the same name or pin.
    pub fn trust_store(&self, generation: u64) -> Result<TrustStore, RegistryError> {
        let partners = self
            .iter()
            .map(|partner| Ok(PartnerTrust::new(&partner.material)?))
            .collect::<Result<Vec<_>, RegistryError>>()?;
        Ok(TrustStore::new(generation, partners)?)
    }

    /// Every partner, by name.
    pub fn iter(&self) -> impl Iterator<Item = &PartnerFile> {
        self.partners.values()
    }

    /// The partner of a short name.
    pub fn by_name(&self, name: &str) -> Option<&PartnerFile> {
        self.partners.get(name)
    }

    /// The partner of a participant id.
    pub fn by_participant(&self, participant: &ParticipantId) -> Option<&PartnerFile> {
        self.iter().find(|partner| partner.partner.participant == *participant)
    }

    /// What the engine is to know of each.
    pub fn entities(&self) -> Vec<Partner> {
        self.iter().map(|partner| partner.partner.clone()).collect()
    }

    /// Each group with the participant ids of its members.
    pub fn groups(&self) -> policy::set::Groups {
        let mut groups = policy::set::Groups::new();
        for partner in self.iter() {
            for group in &partner.partner.groups {
                groups
                    .entry(group.clone())
                    .or_default()
                    .insert(partner.partner.participant.as_str().to_owned());
            }
        }
        groups
    }

    fn remove_named_by(&mut self, error: &RegistryError) -> Vec<Problem> {
        let RegistryError::Store(error) = error else { return Vec::new() };
        let named: Vec<&str> = match error {
            TrustStoreError::DuplicateParticipant { participant } => vec![participant],
            TrustStoreError::SharedSelector { first, second, .. } => vec![first, second],
            _ => Vec::new(),
        };
        let mut problems = Vec::new();
        self.partners.retain(|_, partner| {
            let is_named = named.contains(&partner.partner.participant.as_str());
            if is_named {
                let place = Place::File(partner.path.clone());
                problems.push(Problem::new(
                    place,
                    "identity",
                    error.to_string(),
                    "correct one of the files",
                ));
            }
            !is_named
        });
        problems
    }
}

/// Why partners make no trust store.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// One partner's material no longer holds.
    #[error(transparent)]
    Partner(#[from] certs::trust::PartnerTrustError),
    /// Two partners contradict each other.
    #[error(transparent)]
    Store(#[from] TrustStoreError),
}

/// The partner files of a directory.
fn files(directory: &Path) -> Result<BTreeSet<PathBuf>, Problem> {
    let unreadable = |error| Problem::unreadable(directory, &error);
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|ending| ending == "toml") && !hidden {
            files.insert(path);
        }
    }
    Ok(files)
}

/// Partners that claim the same id, with what they share.
fn rivals(partners: &BTreeMap<String, PartnerFile>) -> Vec<(Vec<String>, String)> {
    let mut owners: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, partner) in partners {
        owners.entry(partner.partner.participant.as_str()).or_default().push(name.clone());
    }
    owners
        .into_iter()
        .filter(|(_, names)| names.len() > 1)
        .map(|(id, names)| {
            let message =
                format!("several files register participant `{id}`: {}", names.join(", "));
            (names, message)
        })
        .collect()
}

#[cfg(test)]
mod tests;
