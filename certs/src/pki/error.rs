//! What can be wrong with a `pki/` directory, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::Role;
use crate::files::FileError;
use crate::key::KeyError;
use crate::path::PathError;
use crate::seal::SealError;
use crate::x509::X509Error;

/// Why a `pki/` directory cannot be made, completed or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The identity cannot be put into a certificate.
    #[error("{what} `{value}` cannot be put into a certificate: {reason}")]
    BadIdentity {
        /// Which part.
        what: &'static str,
        /// As given.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The directory holds a site already.
    #[error("`{}` exists already and its keys are not replaced; move it away first", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be made or read.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A private file is missing, exposed or unwritable.
    #[error(transparent)]
    File(#[from] FileError),
    /// `identity.json` is not what `init` wrote.
    #[error("`{}` is not an identity of this release: {reason}", path.display())]
    BadIdentityFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A key file holds no usable key.
    #[error("`{}` holds no usable key: {reason}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The authority's answer has not been installed.
    #[error(
        "`{}` does not exist: have your authority sign the requests (`*.csr`), then run `sekisho pki install`",
        path.display()
    )]
    NotInstalled {
        /// The missing file.
        path: PathBuf,
    },
    /// A certificate cannot be read.
    #[error(transparent)]
    X509(#[from] X509Error),
    /// No certificate is for this key.
    #[error("no certificate is for `{role}.key`; ask the authority for the answer to `{role}.csr`")]
    MissingCertificate {
        /// Which one.
        role: Role,
    },
    /// A leaf for none of our keys.
    #[error("certificate `{subject}` is for none of the keys here; leave it out")]
    ForeignCertificate {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate is for the right key and bad.
    #[error("the {role} certificate is refused: {reason}")]
    Refused {
        /// Which one.
        role: Role,
        /// What is wrong with it.
        reason: PathError,
    },
    /// The certificate does not name the participant.
    #[error(
        "the {role} certificate does not name `{expected}` as a URI in its subject alternative name, so no \
         partner could tell whose it is; it names {found}"
    )]
    WrongParticipant {
        /// Which one.
        role: Role,
        /// Our participant id.
        expected: String,
        /// Its URIs.
        found: String,
    },
    /// The server certificate lacks a name under which partners dial.
    #[error("the server certificate does not name `{name}`, which `identity.json` lists")]
    MissingName {
        /// The DNS name or address.
        name: String,
    },
    /// There is no trial authority here.
    #[error("`{}` has no trial authority; send new requests to your own authority instead", path.display())]
    NoTrialCa {
        /// The directory.
        path: PathBuf,
    },
    /// The libraries could not make a key, a certificate or a request.
    #[error("cannot make {what}: {reason}")]
    NotMade {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::NotMade { what: "a certificate", reason: error.to_string() }
    }
}

impl From<KeyError> for PkiError {
    fn from(error: KeyError) -> Self {
        Self::NotMade { what: "the signing key", reason: error.to_string() }
    }
}

impl From<SealError> for PkiError {
    fn from(error: SealError) -> Self {
        Self::NotMade { what: "a node key", reason: error.to_string() }
    }
}
