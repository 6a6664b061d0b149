//! Authorities, leaves and lists for tests, made on the spot.

use jiff::{SignedDuration, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SanType, SerialNumber,
};

use crate::x509::Certificate;

/// The instant at which tests happen.
pub(crate) fn now() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

pub(crate) fn set_dates(params: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let date = |instant: Timestamp| {
        let seconds = u64::try_from(instant.as_second()).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = date(from);
    params.not_after = date(to);
}

pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

pub(crate) struct Leaf {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
    serial: SerialNumber,
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn serial() -> SerialNumber {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes[0] = 1;
    SerialNumber::from_slice(&bytes)
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial());
    set_dates(&mut params, now() - days(100), now() + days(1000));
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| ())
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = new_key();
        let mut params = authority_params(name);
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate: Certificate::from_der(certificate.der()).unwrap(), params, key }
    }

    pub(crate) fn below(&self, name: &str) -> Self {
        let key = new_key();
        let params = authority_params(name);
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        Self { certificate: Certificate::from_der(certificate.der()).unwrap(), params, key }
    }

    pub(crate) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().into_bytes()
    }

    /// A leaf for both directions; `change` makes it otherwise.
    pub(crate) fn leaf(&self, uris: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        self.leaf_for(new_key(), uris, change)
    }

    pub(crate) fn leaf_for(
        &self,
        key: KeyPair,
        uris: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        let mut params = leaf_params(uris);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        Leaf {
            certificate: Certificate::from_der(certificate.der()).unwrap(),
            key,
            serial: params.serial_number.unwrap(),
        }
    }

    /// A revocation list of two days ago, due at `next`.
    pub(crate) fn list(&self, revoked: &[&SerialNumber], next: Timestamp) -> Vec<u8> {
        let mut dates = CertificateParams::default();
        set_dates(&mut dates, now() - days(2), next);
        let entry = |serial: &&SerialNumber| RevokedCertParams {
            serial_number: (*serial).clone(),
            revocation_time: dates.not_before,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: dates.not_before,
            next_update: dates.not_after,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer()).unwrap().der().to_vec()
    }

    /// The same key and name, with the right to sign lists.
    pub(crate) fn with_right_to_sign_lists(&self) -> Self {
        let mut params = self.params.clone();
        params.key_usages.push(KeyUsagePurpose::CrlSign);
        let key = KeyPair::try_from(self.key.serialized_der()).unwrap();
        Self { certificate: self.certificate.clone(), params, key }
    }

    pub(crate) fn serial(&self) -> &SerialNumber {
        self.params.serial_number.as_ref().unwrap()
    }
}

impl Leaf {
    pub(crate) fn serial(&self) -> &SerialNumber {
        &self.serial
    }
}

pub(crate) fn leaf_params(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.serial_number = Some(serial());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names =
        uris.iter().map(|uri| SanType::URI(Ia5String::try_from(*uri).unwrap())).collect();
    set_dates(&mut params, now() - days(10), now() + days(90));
    params
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(name).unwrap())
}
