//! The `pki/` directory of a site: made by `init`, completed by `install`, loaded at start.
//!
//! | file | meaning | mode |
//! |---|---|---|
//! | `identity.json` | who the site is: what every certificate must say | 0644 |
//! | `signing.key`, `server.key`, `client.key` | private keys, PKCS#8 in PEM | 0600 |
//! | `signing.csr`, `server.csr`, `client.csr` | requests for the company's authority, PKCS#10 in PEM | 0644 |
//! | `certificates.pem` | every certificate: leaves, intermediates, anchors, in any order | 0644 |
//! | `token.key`, `seal.key` | secrets of this node, 64 hexadecimal digits | 0600 |
//! | `trial-ca.key` | the trial authority's key, only when there is one | 0600 |
//!
//! All certificates are in one file, so that installing replaces them in one step; which leaf belongs to
//! which key is found by the public key.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::files;
use crate::key::{SigningKey, pkcs8_pem};
use crate::seal::NodeKey;
use crate::tls::provider;
use crate::x509::{Certificate, Purpose};

mod bundle;
mod error;
mod identity;
mod issue;

pub use error::PkiError;
pub use identity::Identity;
pub use issue::TRIAL_CA_NAME;

use bundle::{Assembled, Chain, RoleKeys};
use issue::NewKeys;

const CERTIFICATES_FILE: &str = "certificates.pem";
const TRIAL_CA_KEY_FILE: &str = "trial-ca.key";
const TOKEN_KEY_FILE: &str = "token.key";
const SEAL_KEY_FILE: &str = "seal.key";

/// Which of the site's three certificates is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The participant's signing certificate.
    Signing,
    /// The certificate that the partner listener presents.
    Server,
    /// The certificate presented when dialling.
    Client,
}

impl Role {
    /// All roles, in the order of the files.
    pub const ALL: [Self; 3] = [Self::Signing, Self::Server, Self::Client];

    fn file_stem(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::Signing => Purpose::Signing,
            Self::Server => Purpose::Server,
            Self::Client => Purpose::Client,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.file_stem())
    }
}

/// A TLS key with its certificate chain.
#[derive(Clone)]
pub struct TlsIdentity {
    chain: Chain,
    certified: Arc<CertifiedKey>,
}

impl TlsIdentity {
    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.chain.leaf
    }

    /// The authority that partners register to accept this certificate.
    #[must_use]
    pub fn anchor(&self) -> &Certificate {
        &self.chain.anchor
    }

    /// The end of the shortest-lived certificate of the chain.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.chain.valid_until
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("TlsIdentity").field(self.leaf()).finish()
    }
}

/// The participant's signing key with its certificate chain.
#[derive(Debug)]
pub struct SigningIdentity {
    key: Arc<SigningKey>,
    chain: Chain,
}

impl SigningIdentity {
    /// The key; who signs for long (the journal, say) keeps a clone.
    #[must_use]
    pub fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    /// The chain without its anchor, the leaf first: what `x5c` carries.
    #[must_use]
    pub fn chain(&self) -> Vec<Certificate> {
        self.chain.presented()
    }

    /// The authority that verifiers must know.
    #[must_use]
    pub fn anchor(&self) -> &Certificate {
        &self.chain.anchor
    }

    /// The end of the shortest-lived certificate of the chain.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.chain.valid_until
    }
}

/// A site's loaded and verified material.
#[derive(Debug)]
pub struct SitePki {
    /// Who the site is.
    pub identity: Identity,
    /// What the participant signs with.
    pub signing: SigningIdentity,
    /// What the partner listener presents.
    pub server: TlsIdentity,
    /// What is presented when dialling.
    pub client: TlsIdentity,
    /// The key of the access tokens that the node gives.
    pub token_key: NodeKey,
    /// The key under which the tokens that the node received are stored.
    pub seal_key: NodeKey,
    /// Whether the certificates come from the trial authority, which is for evaluation only.
    pub trial: bool,
}

impl SitePki {
    /// Loads the directory and verifies everything in it as of `now`.
    ///
    /// # Errors
    /// A missing or exposed key, a certificate that is missing, expired or not ours; what to do is said.
    pub fn load(directory: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let identity = Identity::load(directory)?;
        let signing_key = load_signing_key(directory)?;
        let (server_key, client_key) =
            (load_tls_key(directory, Role::Server)?, load_tls_key(directory, Role::Client)?);
        let keys = role_keys(&signing_key, &server_key, &client_key);
        let path = directory.join(CERTIFICATES_FILE);
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PkiError::NotInstalled { path });
            }
            Err(source) => return Err(PkiError::Io { action: "read", path, source }),
        };
        let Assembled { signing, server, client, .. } =
            bundle::assemble(Certificate::bundle(&pem)?, &identity, &keys, now)?;
        Ok(Self {
            trial: issue::is_trial_ca(&server.anchor),
            identity,
            signing: SigningIdentity { key: Arc::new(signing_key), chain: signing },
            server: server_key.with(server),
            client: client_key.with(client),
            token_key: load_node_key(&directory.join(TOKEN_KEY_FILE))?,
            seal_key: load_node_key(&directory.join(SEAL_KEY_FILE))?,
        })
    }
}

/// Makes a new directory with keys, a trial authority of its own, and certificates from it: ready to
/// run, for evaluation only. The directory appears whole or not at all.
///
/// # Errors
/// When it exists with something in it, or cannot be written.
pub fn create_with_trial_ca(
    directory: &Path,
    identity: &Identity,
    now: Timestamp,
) -> Result<(), PkiError> {
    let keys = NewKeys::generate()?;
    let authority_key = issue::new_tls_key()?;
    let certificates = issue::trial_certificates(identity, &keys.public(), &authority_key, now)?;
    create(directory, |new| {
        write_common(new, identity, &keys)?;
        files::create_private(
            &new.join(TRIAL_CA_KEY_FILE),
            pkcs8_pem(authority_key.serialized_der()).as_bytes(),
        )?;
        write_certificates(new, &certificates)
    })
}

/// Makes a new directory with keys and the requests that the company's own authority is to sign; see
/// [`install`]. The directory appears whole or not at all.
///
/// # Errors
/// When it exists with something in it, or cannot be written.
pub fn create_with_requests(directory: &Path, identity: &Identity) -> Result<(), PkiError> {
    let keys = NewKeys::generate()?;
    create(directory, |new| {
        write_common(new, identity, &keys)?;
        for role in Role::ALL {
            let request = keys.request(role, identity)?;
            let path = new.join(format!("{role}.csr"));
            files::replace_public(&path, request.as_bytes())?;
        }
        Ok(())
    })
}

/// What was installed.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The leaf of each role, in the order of [`Role::ALL`].
    pub leaves: [Certificate; 3],
    /// The end of the shortest-lived certificate.
    pub valid_until: Timestamp,
}

/// Checks an authority's answer against the keys and the identity of the directory, and installs it in
/// one step. `answers` are the contents of the files received: leaves, intermediates and anchors, PEM or
/// DER, in any order. Nothing changes when anything is wrong.
///
/// # Errors
/// Which certificate is wrong, how, and what to ask the authority for.
pub fn install(
    directory: &Path,
    answers: &[Vec<u8>],
    now: Timestamp,
) -> Result<Installed, PkiError> {
    let identity = Identity::load(directory)?;
    let mut certificates = Vec::new();
    for answer in answers {
        certificates.extend(Certificate::bundle(answer)?);
    }
    let keys = role_keys(
        &load_signing_key(directory)?,
        &load_tls_key(directory, Role::Server)?,
        &load_tls_key(directory, Role::Client)?,
    );
    let assembled = bundle::assemble(certificates, &identity, &keys, now)?;
    write_certificates(directory, &assembled.certificates())?;
    Ok(Installed {
        valid_until: assembled.valid_until(),
        leaves: [assembled.signing.leaf, assembled.server.leaf, assembled.client.leaf],
    })
}

/// Has the trial authority of the directory sign the same keys again, from `now` on.
///
/// # Errors
/// When there is no trial authority, or the directory cannot be read or written.
pub fn renew_trial(directory: &Path, now: Timestamp) -> Result<Installed, PkiError> {
    let identity = Identity::load(directory)?;
    let key_path = directory.join(TRIAL_CA_KEY_FILE);
    let pem = files::read_private(&key_path).map_err(|error| {
        if error.is_not_found() {
            PkiError::NoTrialCa { path: directory.to_owned() }
        } else {
            PkiError::File(error)
        }
    })?;
    let authority_key = issue::tls_key_from_pem(&pem)
        .map_err(|reason| PkiError::BadKey { path: key_path, reason })?;
    let signing = load_signing_key(directory)?;
    let server = load_tls_key(directory, Role::Server)?;
    let client = load_tls_key(directory, Role::Client)?;
    let keys = role_keys(&signing, &server, &client);
    let path = directory.join(CERTIFICATES_FILE);
    let present =
        fs::read(&path).map_err(|source| PkiError::Io { action: "read", path, source })?;
    let authority = Certificate::bundle(&present)?
        .into_iter()
        .find(|one| one.is_ca() && one.spki_der() == issue::public_key(&authority_key))
        .ok_or_else(|| PkiError::NoTrialCa { path: directory.to_owned() })?;
    let certificates =
        issue::renewed_certificates(&identity, &keys, &authority, &authority_key, now)?;
    let pem: String = certificates.iter().map(Certificate::to_pem).collect();
    install(directory, &[pem.into_bytes()], now)
}

struct TlsKey {
    signer: Arc<dyn rustls::sign::SigningKey>,
    spki_der: Vec<u8>,
}

impl TlsKey {
    fn with(&self, chain: Chain) -> TlsIdentity {
        let presented = chain.presented().iter().map(|one| one.der().clone()).collect();
        let certified = Arc::new(CertifiedKey::new(presented, Arc::clone(&self.signer)));
        TlsIdentity { chain, certified }
    }
}

fn load_signing_key(directory: &Path) -> Result<SigningKey, PkiError> {
    let path = directory.join("signing.key");
    let pem = files::read_private(&path)?;
    SigningKey::from_pem(&pem).map_err(|error| PkiError::BadKey { path, reason: error.to_string() })
}

fn load_tls_key(directory: &Path, role: Role) -> Result<TlsKey, PkiError> {
    let path = directory.join(format!("{role}.key"));
    let pem = files::read_private(&path)?;
    let bad = |reason: String| PkiError::BadKey { path: path.clone(), reason };
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| bad(error.to_string()))?;
    let signer =
        provider().key_provider.load_private_key(der).map_err(|error| bad(error.to_string()))?;
    let public = signer
        .public_key()
        .ok_or_else(|| bad("its public half cannot be derived".to_owned()))?
        .to_vec();
    Ok(TlsKey { signer, spki_der: public })
}

fn load_node_key(path: &Path) -> Result<NodeKey, PkiError> {
    let text = files::read_private(path)?;
    NodeKey::from_text(&text)
        .map_err(|error| PkiError::BadKey { path: path.to_owned(), reason: error.to_string() })
}

fn role_keys(signing: &SigningKey, server: &TlsKey, client: &TlsKey) -> RoleKeys {
    RoleKeys {
        signing: signing.verifying_key().spki_der(),
        server: server.spki_der.clone(),
        client: client.spki_der.clone(),
    }
}

/// Makes the directory beside its final place, fills it, and moves it there.
fn create(
    directory: &Path,
    fill: impl FnOnce(&Path) -> Result<(), PkiError>,
) -> Result<(), PkiError> {
    let io = |action| move |source| PkiError::Io { action, path: directory.to_owned(), source };
    match fs::read_dir(directory) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(PkiError::Exists { path: directory.to_owned() });
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io("read")(error)),
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(io("create the directory above"))?;
    let new = tempfile::Builder::new()
        .prefix(".pki-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(io("create"))?;
    fill(new.path())?;
    fs::rename(new.path(), directory).map_err(io("create"))?;
    // The guard's path is gone; there is nothing left for it to remove.
    let _ = new.keep();
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io("sync"))
}

fn write_common(directory: &Path, identity: &Identity, keys: &NewKeys) -> Result<(), PkiError> {
    identity.store(directory)?;
    for role in Role::ALL {
        let path = directory.join(format!("{role}.key"));
        files::create_private(&path, keys.private_pem(role).as_bytes())?;
    }
    for name in [TOKEN_KEY_FILE, SEAL_KEY_FILE] {
        let key = NodeKey::generate()?;
        files::create_private(&directory.join(name), key.to_text().as_bytes())?;
    }
    Ok(())
}

fn write_certificates(directory: &Path, certificates: &[Certificate]) -> Result<(), PkiError> {
    let mut text = String::new();
    for one in certificates {
        // Text between the armour is ignored by every reader and tells people what they look at.
        let (subject, from, to) = (one.subject(), one.not_before(), one.not_after());
        text.push_str(&format!("# {subject}, valid {from} to {to}\n{}", one.to_pem()));
    }
    Ok(files::replace_public(&directory.join(CERTIFICATES_FILE), text.as_bytes())?)
}

#[cfg(test)]
mod tests;
