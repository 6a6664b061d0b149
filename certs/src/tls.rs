//! TLS configurations whose verifiers choose the partner in the handshake.
//!
//! TLS 1.3 only, hybrid post-quantum key exchange first, a client certificate always, no names of
//! authorities sent to strangers, no tickets, no resumption, no early data, and no comparison of the
//! dialled host name: who the other side is, its certificate says and [`crate::trust`] judges.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::pki::SitePki;
use crate::trust::{SharedTrust, TrustError};

/// The application protocols that the partner listener offers, the preferred one first.
pub const SERVER_ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The cryptographic provider cannot do what is demanded.
    #[error("the TLS configuration cannot be made")]
    Configuration(#[source] rustls::Error),
}

/// The site's certificates that handshakes read, replaced as a whole while they run. Clones share them.
#[derive(Clone)]
pub struct SharedSite(Arc<RwLock<Arc<SitePki>>>);

impl SharedSite {
    /// Starts with loaded material.
    #[must_use]
    pub fn new(site: SitePki) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(site))))
    }

    /// The material of this moment.
    #[must_use]
    pub fn load(&self) -> Arc<SitePki> {
        // A poisoned lock still holds whole material: the only write replaces the pointer.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the material for every handshake that begins after this returns.
    pub fn replace(&self, site: SitePki) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }
}

impl fmt::Debug for SharedSite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SharedSite").field(&self.load()).finish()
    }
}

/// The cryptography of every connection: TLS 1.3 suites, X25519MLKEM768 before the classical groups.
#[must_use]
pub fn provider() -> CryptoProvider {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    provider.kx_groups =
        vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    provider
}

/// The configuration of the partner listener. Trust and the site's own certificates are read at each
/// handshake, so one configuration serves as long as the process runs.
///
/// # Errors
/// When the provider lacks TLS 1.3, which it does not.
pub fn server_config(
    site: SharedSite,
    trust: SharedTrust,
    alpn: &[&[u8]],
    time: Arc<dyn TimeProvider>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(Verifier::new(trust, None, &provider));
    let config = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Configuration)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(OwnCertificate(site)));
    Ok(Arc::new(without_resumption(config, alpn)))
}

/// The configuration of the management listener: as [`server_config`], but the caller shows a key in its requests instead
/// of a certificate.
///
/// # Errors
/// When the provider lacks TLS 1.3, which it does not.
pub fn management_config(
    site: SharedSite,
    alpn: &[&[u8]],
    time: Arc<dyn TimeProvider>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_details(Arc::new(provider()), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Configuration)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(OwnCertificate(site)));
    Ok(Arc::new(without_resumption(config, alpn)))
}

/// Each connection proves everything anew.
fn without_resumption(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// The configuration for dialling the participant `expected`; nobody else's certificate is accepted.
///
/// # Errors
/// When the provider lacks TLS 1.3, which it does not.
pub fn client_config(
    site: SharedSite,
    trust: SharedTrust,
    expected: &str,
    alpn: &[&[u8]],
    time: Arc<dyn TimeProvider>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(Verifier::new(trust, Some(expected.to_owned()), &provider));
    let mut config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Configuration)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(OwnCertificate(site)));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// Asks the trust of the moment about the other side's chain.
#[derive(Debug)]
struct Verifier {
    trust: SharedTrust,
    /// Whom we dialled; `None` when we serve.
    expected: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(trust: SharedTrust, expected: Option<String>, provider: &CryptoProvider) -> Self {
        Self { trust, expected, algorithms: provider.signature_verification_algorithms }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let now = i64::try_from(now.as_secs())
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or(rustls::Error::FailedToGetCurrentTime)?;
        let mut chain = Vec::with_capacity(intermediates.len().saturating_add(1));
        chain.push(leaf.clone());
        chain.extend_from_slice(intermediates);
        let trust = self.trust.load();
        let checked = match &self.expected {
            Some(expected) => trust.check_server(&chain, now, expected),
            None => trust.check_client(&chain, now),
        };
        checked.map(|_| ()).map_err(refusal)
    }

    fn verify_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }
}

/// One alert for every reason: a stranger learns nothing about who is registered. Our own side finds the
/// reason with [`TrustError::in_handshake`].
fn refusal(error: TrustError) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Presents the site's certificate of the moment.
#[derive(Debug)]
struct OwnCertificate(SharedSite);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().server.certified_key())
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().client.certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
