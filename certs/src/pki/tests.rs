use std::collections::BTreeSet;
use std::path::PathBuf;

use rustls_pki_types::CertificateSigningRequestDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

use super::identity::IDENTITY_FILE;
use super::*;
use crate::path::PathError;
use crate::testing::{Authority, days, now};

const ALPHA: &str = "did:web:alpha.example";

fn identity() -> Identity {
    let addresses = ["10.1.2.3".parse().unwrap()];
    Identity::new(ALPHA, "Alpha", &["Node.Alpha.Example".to_owned()], &addresses).unwrap()
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site/pki");
    (directory, path)
}

fn names(path: &Path) -> BTreeSet<String> {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_trial_site_is_ready_to_run() {
    let (_keep, path) = directory();
    create_with_trial_ca(&path, &identity(), now()).unwrap();
    let site = SitePki::load(&path, now()).unwrap();
    assert!(site.trial);
    assert_eq!(site.identity, identity());
    assert_eq!(site.server.leaf().dns_names(), ["node.alpha.example"]);
    assert_eq!(site.server.leaf().addresses(), identity().addresses());
    assert!(site.client.leaf().dns_names().is_empty());
    for leaf in [site.server.leaf(), site.client.leaf(), &site.signing.chain()[0]] {
        assert_eq!(leaf.uris(), [ALPHA]);
    }
    assert!(site.server.leaf().allows(Purpose::Server));
    assert!(!site.server.leaf().allows(Purpose::Client));
    assert!(!site.client.leaf().allows(Purpose::Server));
    assert!(site.server.anchor().subject().contains("evaluation only"));
    assert_eq!(site.signing.anchor(), site.server.anchor());
    let expected = [
        "certificates.pem",
        "client.key",
        "identity.json",
        "seal.key",
        "server.key",
        "signing.key",
        "token.key",
        "trial-ca.key",
    ];
    assert_eq!(names(&path), expected.map(str::to_owned).into());
    assert_eq!(names(path.parent().unwrap()), ["pki".to_owned()].into());
    for name in names(&path) {
        let mode = fs::metadata(path.join(&name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if name.ends_with(".key") { 0o600 } else { 0o644 }, "{name}");
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn keys_are_never_replaced() {
    let (_keep, path) = directory();
    fs::create_dir_all(&path).unwrap();
    create_with_requests(&path, &identity()).unwrap();
    let before = fs::read(path.join("signing.key")).unwrap();
    assert!(matches!(
        create_with_trial_ca(&path, &identity(), now()),
        Err(PkiError::Exists { .. })
    ));
    assert!(matches!(create_with_requests(&path, &identity()), Err(PkiError::Exists { .. })));
    assert_eq!(fs::read(path.join("signing.key")).unwrap(), before);
}

#[test]
fn exposed_keys_stop_the_start() {
    for name in ["signing.key", "server.key", "client.key", "token.key", "seal.key"] {
        let (_keep, path) = directory();
        create_with_trial_ca(&path, &identity(), now()).unwrap();
        let key = path.join(name);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = SitePki::load(&path, now()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("chmod 600"), "{error}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, b"damaged").unwrap();
        let error = SitePki::load(&path, now()).unwrap_err();
        assert!(matches!(error, PkiError::BadKey { .. }), "{error}");
        fs::remove_file(&key).unwrap();
        assert!(
            matches!(SitePki::load(&path, now()), Err(PkiError::File(error)) if error.is_not_found())
        );
    }
}

#[test]
fn a_trial_is_renewed_with_the_same_keys() {
    let (_keep, path) = directory();
    create_with_trial_ca(&path, &identity(), now()).unwrap();
    let before = SitePki::load(&path, now()).unwrap();
    let later = now() + days(400);
    assert!(matches!(
        SitePki::load(&path, later),
        Err(PkiError::Refused { role: Role::Server, reason: PathError::Expired { .. } })
    ));
    let installed = renew_trial(&path, later).unwrap();
    assert_eq!(installed.valid_until, installed.leaves[1].not_after());
    let after = SitePki::load(&path, later).unwrap();
    assert_eq!(after.server.anchor(), before.server.anchor());
    assert_eq!(after.server.leaf().spki_der(), before.server.leaf().spki_der());
    assert_ne!(after.server.leaf(), before.server.leaf());
    assert_eq!(after.signing.key().key_id(), before.signing.key().key_id());
    let (_keep, own) = directory();
    create_with_requests(&own, &identity()).unwrap();
    assert!(matches!(renew_trial(&own, later), Err(PkiError::NoTrialCa { .. })));
}

/// A company's authority: signs what a request asks for, changed or not.
fn answer(path: &Path, role: Role, authority: &Authority, change: Change) -> Vec<u8> {
    let request = fs::read(path.join(format!("{role}.csr"))).unwrap();
    let request = CertificateSigningRequestDer::from_pem_slice(&request).unwrap();
    let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
    let info = &request.certification_request_info;
    let public = rcgen::SubjectPublicKeyInfo::from_der(info.subject_pki.raw).unwrap();
    let mut params = issue::leaf_params(role, &identity()).unwrap();
    crate::testing::set_dates(&mut params, now() - days(1), now() + days(30));
    params.serial_number = Some(rcgen::SerialNumber::from(role as u64 + 1));
    change(&mut params);
    params.signed_by(&public, &authority.issuer()).unwrap().pem().into_bytes()
}

#[test]
fn requests_ask_for_what_partners_check() {
    let (_keep, path) = requested();
    for role in Role::ALL {
        let pem = fs::read(path.join(format!("{role}.csr"))).unwrap();
        let der = CertificateSigningRequestDer::from_pem_slice(&pem).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        request.verify_signature().unwrap();
        let extensions: Vec<_> = request.requested_extensions().unwrap().collect();
        let names = extensions.iter().find_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let names: Vec<_> = names.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names[0], format!("URI({ALPHA})"));
        assert_eq!(names.len(), if role == Role::Server { 3 } else { 1 });
        let usage = extensions.iter().find_map(|extension| match extension {
            ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
            _ => None,
        });
        let usage = usage.unwrap();
        assert_eq!(usage.server_auth, role == Role::Server);
        assert_eq!(usage.client_auth, role == Role::Client);
        assert_eq!(usage.other.len(), usize::from(role == Role::Signing));
    }
}

type Change = fn(&mut rcgen::CertificateParams);

fn requested() -> (tempfile::TempDir, PathBuf) {
    let (keep, path) = directory();
    create_with_requests(&path, &identity()).unwrap();
    (keep, path)
}

#[test]
fn the_companys_answer_is_installed() {
    let (_keep, path) = requested();
    let error = SitePki::load(&path, now()).unwrap_err();
    assert!(matches!(error, PkiError::NotInstalled { .. }));
    assert!(error.to_string().contains("sekisho pki install"));
    let root = Authority::new("Company root");
    let below = root.below("Company issuing");
    let mut answers: Vec<_> =
        Role::ALL.iter().map(|role| answer(&path, *role, &below, |_| ())).collect();
    answers.push([root.pem(), below.pem()].concat());
    let installed = install(&path, &answers, now()).unwrap();
    assert_eq!(installed.valid_until, now() + days(30));
    let site = SitePki::load(&path, now()).unwrap();
    assert!(!site.trial);
    assert_eq!(site.signing.chain()[1], below.certificate);
    assert_eq!(site.client.anchor(), &root.certificate);
    assert_eq!(site.server.certified_key().cert.len(), 2);
    // The same answer again, or in another order, is no error.
    answers.reverse();
    install(&path, &answers, now()).unwrap();
}

#[test]
fn a_wrong_answer_is_explained_and_changes_nothing() {
    let root = Authority::new("Company root");
    let other = Authority::new("Other root");
    // Which role's answer is changed, how, and what is said about it.
    let table: Vec<(Role, Change, &str)> = vec![
        (Role::Server, |p| p.extended_key_usages.clear(), "server certificate is refused"),
        (
            Role::Client,
            |p| p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth],
            "client authentication",
        ),
        (
            Role::Signing,
            |p| p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth],
            "document signing",
        ),
        (Role::Client, |p| p.subject_alt_names.clear(), "it names no URI"),
        (
            Role::Signing,
            |p| {
                let uri = rcgen::string::Ia5String::try_from("did:web:beta.example").unwrap();
                p.subject_alt_names = vec![rcgen::SanType::URI(uri)];
            },
            "it names `did:web:beta.example`",
        ),
        (Role::Server, |p| p.subject_alt_names.truncate(2), "does not name `10.1.2.3`"),
        (Role::Server, |p| p.subject_alt_names.truncate(1), "does not name `node.alpha.example`"),
        (
            Role::Server,
            |p| crate::testing::set_dates(p, now() - days(9), now() - days(1)),
            "expired at",
        ),
        (
            Role::Client,
            |p| crate::testing::set_dates(p, now() + days(1), now() + days(9)),
            "valid from",
        ),
    ];
    let (_keep, path) = requested();
    for (changed, change, expected) in table {
        let mut answers = vec![root.pem()];
        for role in Role::ALL {
            answers.push(answer(&path, role, &root, if role == changed { change } else { |_| () }));
        }
        let error = install(&path, &answers, now()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!path.join(CERTIFICATES_FILE).exists());
    }
    let good: Vec<_> = Role::ALL.iter().map(|role| answer(&path, *role, &root, |_| ())).collect();
    let with = |more: &[Vec<u8>]| {
        install(&path, &[good.as_slice(), more].concat(), now()).unwrap_err().to_string()
    };
    assert!(with(&[]).contains("leads to none"));
    assert!(with(&[other.pem()]).contains("leads to none"));
    let foreign = other.leaf(&["urn:x"], |_| ());
    let foreign_pem = foreign.certificate.to_pem().into_bytes();
    assert!(with(&[root.pem(), foreign_pem]).contains("none of the keys here"));
    let key = foreign.key.serialize_pem().into_bytes();
    assert!(with(&[root.pem(), key]).contains("a private key is among"));
    let missing = install(&path, &[root.pem(), good[0].clone()], now()).unwrap_err();
    assert!(matches!(missing, PkiError::MissingCertificate { role: Role::Server }));
    install(&path, &[good, vec![root.pem()]].concat(), now()).unwrap();
}

#[test]
fn identities_fit_into_certificates() {
    let names = |name: &str| Identity::new(ALPHA, "Alpha", &[name.to_owned()], &[]);
    assert!(names("node.example").is_ok());
    for bad in ["*.example", "", "a b", "https://node"] {
        assert!(matches!(names(bad), Err(PkiError::BadIdentity { what: "DNS name", .. })), "{bad}");
    }
    for bad in ["", "alpha", "did web", ":x", "1:x", "did:web:ä"] {
        let refused = Identity::new(bad, "Alpha", &[], &[]);
        assert!(
            matches!(refused, Err(PkiError::BadIdentity { what: "participant id", .. })),
            "{bad}"
        );
    }
    for bad in ["", "a\nb", &"a".repeat(65)] {
        let refused = Identity::new(ALPHA, bad, &[], &[]);
        assert!(matches!(refused, Err(PkiError::BadIdentity { what: "name", .. })), "{bad}");
    }
    let (_keep, path) = directory();
    let long = Identity::new("urn:x:1", &"\u{301}\"".repeat(32), &[], &[]).unwrap();
    create_with_trial_ca(&path, &long, now()).unwrap();
    let site = SitePki::load(&path, now()).unwrap();
    assert!(site.identity == long && site.trial);
}

#[test]
fn a_changed_identity_is_noticed() {
    let (_keep, path) = directory();
    create_with_trial_ca(&path, &identity(), now()).unwrap();
    let file = path.join(IDENTITY_FILE);
    let good = fs::read_to_string(&file).unwrap();
    for (from, to, expected) in [
        ("alpha.example", "beta.example", "does not name"),
        ("\"version\": 1", "\"version\": 2", "its version is 2"),
        ("\"version\"", "\"verison\"", "unknown field"),
        ("{", "", "not an identity"),
    ] {
        fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let error = SitePki::load(&path, now()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let (_keep, path) = directory();
    create_with_trial_ca(&path, &identity(), now()).unwrap();
    let shown = format!("{:?}", SitePki::load(&path, now()).unwrap());
    for name in ["token.key", "seal.key"] {
        let secret = fs::read_to_string(path.join(name)).unwrap();
        assert!(!shown.contains(secret.trim()));
    }
    assert!(shown.contains("redacted"));
}
