//! `identity.json`: who the site is.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::PkiError;
use crate::files;
use crate::x509::printable;

pub(super) const IDENTITY_FILE: &str = "identity.json";

/// Who the site is: what its certificates must say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    version: u32,
    participant: String,
    name: String,
    dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Identity {
    const VERSION: u32 = 1;

    /// An identity: the participant id (a URI, such as `did:web:example.org`), the display name, and the
    /// DNS names and addresses under which partners dial the site.
    ///
    /// # Errors
    /// When a part cannot be put into a certificate.
    pub fn new(
        participant: &str,
        name: &str,
        dns_names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Self, PkiError> {
        let identity = Self {
            version: Self::VERSION,
            participant: participant.to_owned(),
            name: name.to_owned(),
            dns_names: dns_names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            addresses: addresses.to_vec(),
        };
        identity.check()?;
        Ok(identity)
    }

    /// The participant id.
    #[must_use]
    pub fn participant(&self) -> &str {
        &self.participant
    }

    /// The display name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The DNS names of the server certificate.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// The addresses of the server certificate.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    fn check(&self) -> Result<(), PkiError> {
        let bad = |what, value: &str, reason| PkiError::BadIdentity {
            what,
            value: printable(value),
            reason,
        };
        let scheme = self.participant.split_once(':').map_or("", |(scheme, _)| scheme);
        let graphic = self.participant.bytes().all(|byte| byte.is_ascii_graphic());
        if !graphic || !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) {
            let reason = "it must be a URI, such as `did:web:example.org` or `urn:…`";
            return Err(bad("participant id", &self.participant, reason));
        }
        // RFC 5280 appendix A.1 gives a common name 64 characters.
        if self.name.is_empty() || self.name.chars().count() > 64 {
            return Err(bad("name", &self.name, "it must have 1 to 64 characters"));
        }
        if self.name.chars().any(char::is_control) {
            return Err(bad("name", &self.name, "it has control characters"));
        }
        for name in &self.dns_names {
            if name.contains('*') || rustls_pki_types::DnsName::try_from(name.as_str()).is_err() {
                return Err(bad("DNS name", name, "it is not the DNS name of one host"));
            }
        }
        Ok(())
    }

    pub(super) fn load(directory: &Path) -> Result<Self, PkiError> {
        let path = directory.join(IDENTITY_FILE);
        let bytes = fs::read(&path).map_err(|source| PkiError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let bad = |reason: String| PkiError::BadIdentityFile { path: path.clone(), reason };
        let identity: Self =
            serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if identity.version != Self::VERSION {
            return Err(bad(format!("its version is {}", identity.version)));
        }
        identity.check()?;
        Ok(identity)
    }

    pub(super) fn store(&self, directory: &Path) -> Result<(), PkiError> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| PkiError::NotMade {
            what: IDENTITY_FILE,
            reason: error.to_string(),
        })?;
        json.push(b'\n');
        Ok(files::replace_public(&directory.join(IDENTITY_FILE), &json)?)
    }
}
