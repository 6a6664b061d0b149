//! Making keys, requests and the trial authority's certificates.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _,
    SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::bundle::RoleKeys;
use super::{Identity, PkiError, Role};
use crate::key::{SigningKey, pkcs8_pem};
use crate::x509::Certificate;

/// The common name of every trial authority: whoever sees it knows what it is worth.
pub const TRIAL_CA_NAME: &str = "Sekisho trial CA - evaluation only";

/// Clocks of partners may be behind ours.
const BACKDATE: SignedDuration = SignedDuration::from_hours(1);
const TRIAL_CA_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Signatures outlive handshakes: evidence of a trial should verify as long as the trial may last.
const SIGNING_LIFE: SignedDuration = SignedDuration::from_hours(5 * 365 * 24);
/// What the CA/Browser Forum allowed for TLS when this was written, and long enough for a trial.
const TLS_LIFE: SignedDuration = SignedDuration::from_hours(397 * 24);

/// `id-kp-documentSigning` (RFC 9336 section 3).
const DOCUMENT_SIGNING: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 36];

/// The three private keys of a new site.
pub(super) struct NewKeys {
    signing: SigningKey,
    server: KeyPair,
    client: KeyPair,
}

impl NewKeys {
    pub(super) fn generate() -> Result<Self, PkiError> {
        Ok(Self {
            signing: SigningKey::generate()?,
            server: new_tls_key()?,
            client: new_tls_key()?,
        })
    }

    pub(super) fn public(&self) -> RoleKeys {
        RoleKeys {
            signing: self.signing.verifying_key().spki_der(),
            server: public_key(&self.server),
            client: public_key(&self.client),
        }
    }

    pub(super) fn private_pem(&self, role: Role) -> Zeroizing<String> {
        match role {
            Role::Signing => self.signing.to_pem(),
            Role::Server => pkcs8_pem(self.server.serialized_der()),
            Role::Client => pkcs8_pem(self.client.serialized_der()),
        }
    }

    /// The signing request (PKCS#10) for one key, in PEM.
    pub(super) fn request(&self, role: Role, identity: &Identity) -> Result<String, PkiError> {
        let params = leaf_params(role, identity)?;
        let request = match role {
            Role::Signing => params.serialize_request(&self.signing_pair()?)?,
            Role::Server => params.serialize_request(&self.server)?,
            Role::Client => params.serialize_request(&self.client)?,
        };
        Ok(request.pem()?)
    }

    fn signing_pair(&self) -> Result<KeyPair, PkiError> {
        let der = PrivatePkcs8KeyDer::from(self.signing.pkcs8());
        Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)?)
    }
}

/// A new key for TLS or an authority: ECDSA on P-256, which every authority and every peer can handle.
pub(super) fn new_tls_key() -> Result<KeyPair, PkiError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// Reads what [`new_tls_key`] made.
pub(super) fn tls_key_from_pem(pem: &[u8]) -> Result<KeyPair, String> {
    let text = std::str::from_utf8(pem).map_err(|error| error.to_string())?;
    KeyPair::from_pkcs8_pem_and_sign_algo(text, &PKCS_ECDSA_P256_SHA256)
        .map_err(|error| error.to_string())
}

/// The public half of a key, as SubjectPublicKeyInfo in DER.
pub(super) fn public_key(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

/// Whether an anchor is a trial authority, ours or a partner's.
pub(super) fn is_trial_ca(certificate: &Certificate) -> bool {
    certificate.is_ca() && certificate.subject().contains(TRIAL_CA_NAME)
}

/// A new trial authority, and the leaves that it signs for `keys`.
pub(super) fn trial_certificates(
    identity: &Identity,
    keys: &RoleKeys,
    authority_key: &KeyPair,
    now: Timestamp,
) -> Result<Vec<Certificate>, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(TRIAL_CA_NAME, identity.name());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, now, TRIAL_CA_LIFE)?;
    let authority = params.self_signed(authority_key)?;
    let authority = Certificate::from_der(authority.der())?;
    renewed_certificates(identity, keys, &authority, authority_key, now)
}

/// The leaves that a trial authority signs for `keys`, and the authority.
pub(super) fn renewed_certificates(
    identity: &Identity,
    keys: &RoleKeys,
    authority: &Certificate,
    authority_key: &KeyPair,
    now: Timestamp,
) -> Result<Vec<Certificate>, PkiError> {
    let issuer = Issuer::from_ca_cert_der(authority.der(), authority_key)?;
    let mut certificates = Vec::new();
    for role in Role::ALL {
        let mut params = leaf_params(role, identity)?;
        let life = if role == Role::Signing { SIGNING_LIFE } else { TLS_LIFE };
        set_life(&mut params, now, life)?;
        params.use_authority_key_identifier_extension = true;
        let public = SubjectPublicKeyInfo::from_der(keys.of(role))?;
        let leaf = params.signed_by(&public, &issuer)?;
        certificates.push(Certificate::from_der(leaf.der())?);
    }
    certificates.push(authority.clone());
    Ok(certificates)
}

/// What a certificate for this role says: in a request and in a trial certificate alike.
pub(super) fn leaf_params(role: Role, identity: &Identity) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name =
        distinguished_name(&format!("{} {role}", short(identity.name())), identity.name());
    let participant = Ia5String::try_from(identity.participant())?;
    params.subject_alt_names = vec![SanType::URI(participant)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match role {
        Role::Signing => ExtendedKeyUsagePurpose::Other(DOCUMENT_SIGNING.to_vec()),
        Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    if role == Role::Server {
        for name in identity.dns_names() {
            let name = Ia5String::try_from(name.as_str())?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = identity.addresses().iter().copied();
        params.subject_alt_names.extend(addresses.map(SanType::IpAddress));
    }
    Ok(params)
}

fn distinguished_name(common_name: &str, organization: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // The common name first: it says what the certificate is, and long names are cut where shown.
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, organization);
    name
}

/// Leaves room for the role in a common name of 64 characters (RFC 5280 appendix A.1).
fn short(name: &str) -> String {
    name.chars().take(55).collect()
}

fn set_life(
    params: &mut CertificateParams,
    now: Timestamp,
    life: SignedDuration,
) -> Result<(), PkiError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |instant: Result<Timestamp, jiff::Error>| {
        instant.ok().and_then(|instant| u64::try_from(instant.as_second()).ok()).ok_or_else(|| {
            let reason = "the clock is outside the years that certificates know".to_owned();
            PkiError::NotMade { what: "a certificate", reason }
        })
    };
    params.not_before = epoch + Duration::from_secs(seconds(now.checked_sub(BACKDATE))?);
    params.not_after = epoch + Duration::from_secs(seconds(now.checked_add(life))?);
    // RFC 5280 section 4.1.2.2: positive, unique, unpredictable; renewals keep the key, so the default
    // (a hash of the key) would repeat.
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| PkiError::NotMade {
        what: "a serial number",
        reason: "no random bytes could be had from the operating system".to_owned(),
    })?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}
