//! Certificates in anybody's name, and revocations of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::site::Site;

/// A certificate with its key, for either direction.
#[derive(Debug)]
pub struct Credential {
    /// The leaf, and what stands above it as far as it is sent.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

impl Credential {
    /// What a site presents when it dials.
    ///
    /// # Errors
    /// When its `pki/` cannot be read.
    pub fn of_client(site: &Site) -> Result<Arc<Self>> {
        Self::load(site, "client")
    }

    /// What a site presents when it serves.
    ///
    /// # Errors
    /// When its `pki/` cannot be read.
    pub fn of_server(site: &Site) -> Result<Arc<Self>> {
        Self::load(site, "server")
    }

    fn load(site: &Site, role: &str) -> Result<Arc<Self>> {
        let pki = certs::pki::SitePki::load(&site.path("pki"), Timestamp::now())?;
        let leaf = if role == "client" { pki.client.leaf() } else { pki.server.leaf() };
        let key = PrivateKeyDer::from_pem_file(site.path("pki").join(format!("{role}.key")))?;
        Ok(Arc::new(Self { chain: vec![leaf.der().clone()], key }))
    }

    /// The serial number of the leaf.
    ///
    /// # Errors
    /// When the leaf is not a certificate.
    pub fn serial(&self) -> Result<Vec<u8>> {
        let leaf = self.chain.first().context("a credential without a certificate")?;
        let (_, certificate) = x509_parser::parse_x509_certificate(leaf)?;
        Ok(certificate.raw_serial().to_vec())
    }
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// A new authority that nobody knows.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn unknown(name: &str) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { certificate, key })
    }

    /// The trial authority of a site, in the hands of somebody who stole it or owns it.
    ///
    /// # Errors
    /// When its `pki/` cannot be read.
    pub fn of_trial(site: &Site) -> Result<Self> {
        let pki = certs::pki::SitePki::load(&site.path("pki"), Timestamp::now())?;
        let text = std::fs::read_to_string(site.path("pki/trial-ca.key"))?;
        Ok(Self {
            certificate: pki.client.anchor().der().clone(),
            key: KeyPair::from_pkcs8_pem_and_sign_algo(&text, &PKCS_ECDSA_P256_SHA256)?,
        })
    }

    /// Its certificate in PEM.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn pem(&self) -> Result<String> {
        Ok(certs::x509::Certificate::from_der(&self.certificate)?.to_pem())
    }

    /// A leaf for both directions that claims to be a participant.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate.
    pub fn mint(&self, participant: &str) -> Result<Arc<Credential>> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "minted");
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(participant)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_life(&mut params, -1, 30)?;
        let leaf = params.signed_by(&key, &self.issuer()?)?;
        Ok(Arc::new(Credential {
            chain: vec![leaf.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }))
    }

    /// Writes a revocation list in PEM that names these serial numbers and is due in a week.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn revoke(&self, serials: &[Vec<u8>], number: u64, file: &Path) -> Result<()> {
        let mut dates = CertificateParams::default();
        set_life(&mut dates, -1, 7)?;
        let (this_update, next_update) = (dates.not_before, dates.not_after);
        let entry = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let new = file.with_extension("new");
        std::fs::write(&new, list.signed_by(&self.issuer()?)?.pem()?)?;
        std::fs::rename(new, file)?;
        Ok(())
    }

    fn issuer(&self) -> Result<Issuer<'_, &KeyPair>> {
        Ok(Issuer::from_ca_cert_der(&self.certificate, &self.key)?)
    }
}

/// Makes a certificate valid from and until so many days from now.
fn set_life(params: &mut CertificateParams, from: i64, until: i64) -> Result<()> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |days: i64| {
        let instant = Timestamp::now().checked_add(SignedDuration::from_hours(24 * days))?;
        anyhow::Ok(Duration::from_secs(u64::try_from(instant.as_second())?))
    };
    params.not_before = epoch + since_epoch(from)?;
    params.not_after = epoch + since_epoch(until)?;
    Ok(())
}
