use std::sync::Mutex;

use rcgen::ExtendedKeyUsagePurpose;
use rustls::{ClientConnection, HandshakeKind, NamedGroup, ServerConnection};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::path::PathError;
use crate::pki::{self, Identity};
use crate::testing::{Authority, Leaf, days, dns, now};
use crate::trust::{PartnerMaterial, PartnerTrust, TrustStore};
use crate::x509::{Purpose, unix_time};

const ALPHA: &str = "did:web:alpha.example";
const BETA: &str = "did:web:beta.example";
const GAMMA: &str = "did:web:gamma.example";

/// A clock that tests move.
#[derive(Debug)]
struct Clock(Mutex<Timestamp>);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(*self.0.lock().unwrap()))
    }
}

fn clock() -> Arc<Clock> {
    Arc::new(Clock(Mutex::new(now())))
}

/// A site of our own code, with a trial authority.
fn site(participant: &str) -> SharedSite {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pki");
    let identity = Identity::new(participant, "Site", &["node.example".to_owned()], &[]).unwrap();
    pki::create_with_trial_ca(&path, &identity, now()).unwrap();
    SharedSite::new(SitePki::load(&path, now()).unwrap())
}

fn partner_of(site: &SharedSite) -> PartnerMaterial {
    let site = site.load();
    PartnerMaterial {
        participant: site.identity.participant().to_owned(),
        san_uris: vec![site.identity.participant().to_owned()],
        server_anchors: vec![site.server.anchor().to_pem().into_bytes()],
        client_anchors: vec![site.client.anchor().to_pem().into_bytes()],
        ..PartnerMaterial::default()
    }
}

fn partner(participant: &str, authority: &Authority) -> PartnerMaterial {
    PartnerMaterial {
        participant: participant.to_owned(),
        san_uris: vec![participant.to_owned()],
        server_anchors: vec![authority.pem()],
        client_anchors: vec![authority.pem()],
        ..PartnerMaterial::default()
    }
}

fn trust(materials: &[PartnerMaterial]) -> SharedTrust {
    SharedTrust::new(store(materials))
}

fn store(materials: &[PartnerMaterial]) -> TrustStore {
    let partners = materials.iter().map(|one| PartnerTrust::new(one).unwrap()).collect();
    TrustStore::new(1, partners).unwrap()
}

/// Somebody else's TLS: believes any server, presents the given leaf, notes the hints it is sent.
#[derive(Debug)]
struct Stranger {
    certified: Option<Arc<CertifiedKey>>,
    hints: Mutex<Option<usize>>,
}

impl Stranger {
    fn with(leaf: &Leaf, above: &[&Authority]) -> Arc<Self> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
        let signer = provider().key_provider.load_private_key(key).unwrap();
        let above = above.iter().map(|one| one.certificate.der().clone());
        let chain = [leaf.certificate.der().clone()].into_iter().chain(above).collect();
        let certified = Some(Arc::new(CertifiedKey::new(chain, signer)));
        Arc::new(Self { certified, hints: Mutex::new(None) })
    }

    fn nobody() -> Arc<Self> {
        Arc::new(Self { certified: None, hints: Mutex::new(None) })
    }

    fn client(self: &Arc<Self>) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_details(Arc::new(provider()), clock())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BelievesAnyone))
            .with_client_cert_resolver(self.clone());
        Arc::new(config)
    }

    fn server(self: &Arc<Self>) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_details(Arc::new(provider()), clock())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        Arc::new(config)
    }
}

impl ResolvesClientCert for Stranger {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.hints.lock().unwrap() = Some(hints.len());
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

impl ResolvesServerCert for Stranger {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified.clone()
    }
}

#[derive(Debug)]
struct BelievesAnyone;

impl ServerCertVerifier for BelievesAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

struct Both {
    client: ClientConnection,
    server: ServerConnection,
}

/// Which side gave up, and why.
#[derive(Debug)]
enum Failure {
    Client(rustls::Error),
    Server(rustls::Error),
}

/// What the client is told when the server gives up.
fn told(stranger: &Arc<Stranger>, trust: &SharedTrust) -> rustls::Error {
    let server = server_config(site(ALPHA), trust.clone(), SERVER_ALPN, clock()).unwrap();
    let name = ServerName::try_from("any.name").unwrap();
    let mut client = ClientConnection::new(stranger.client(), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            // The reason is ours; here only what goes out on the wire matters.
            let _ = server.process_new_packets();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        assert!(!wire.is_empty(), "the handshake came to an end without an alert");
        client.read_tls(&mut wire.as_slice()).unwrap();
        if let Err(error) = client.process_new_packets() {
            return error;
        }
    }
}

impl Failure {
    fn reason(&self) -> &TrustError {
        let (Self::Client(error) | Self::Server(error)) = self;
        TrustError::in_handshake(error).unwrap()
    }

    fn path(&self) -> &PathError {
        match self.reason() {
            TrustError::Refused { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }
}

/// Runs a handshake in memory until neither side has anything more to say.
fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<Both, Failure> {
    let name = ServerName::try_from("any.name.at.all").unwrap();
    let mut both = Both {
        client: ClientConnection::new(client, name).unwrap(),
        server: ServerConnection::new(server).unwrap(),
    };
    loop {
        let mut wire = Vec::new();
        while both.client.wants_write() {
            both.client.write_tls(&mut wire).unwrap();
        }
        let mut moved = !wire.is_empty();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            both.server.read_tls(&mut rest).unwrap();
            both.server.process_new_packets().map_err(Failure::Server)?;
        }
        let mut wire = Vec::new();
        while both.server.wants_write() {
            both.server.write_tls(&mut wire).unwrap();
        }
        moved |= !wire.is_empty();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            both.client.read_tls(&mut rest).unwrap();
            both.client.process_new_packets().map_err(Failure::Client)?;
        }
        if !moved {
            return Ok(both);
        }
    }
}

/// A stranger dials our listener.
fn dial_us(stranger: &Arc<Stranger>, trust: &SharedTrust) -> Result<Both, Failure> {
    let server = server_config(site(ALPHA), trust.clone(), SERVER_ALPN, clock()).unwrap();
    shake(stranger.client(), server)
}

/// We dial a stranger, expecting beta.
fn dial_out(stranger: &Arc<Stranger>, trust: &SharedTrust) -> Result<Both, Failure> {
    let client = client_config(site(ALPHA), trust.clone(), BETA, &[], clock()).unwrap();
    shake(client, stranger.server())
}

#[test]
fn two_sites_meet() {
    let (alpha, beta) = (site(ALPHA), site(BETA));
    let (alpha_trust, beta_trust) = (trust(&[partner_of(&beta)]), trust(&[partner_of(&alpha)]));
    let server = server_config(alpha.clone(), alpha_trust, SERVER_ALPN, clock()).unwrap();
    let client = client_config(beta, beta_trust, ALPHA, &[b"http/1.1"], clock()).unwrap();
    for _ in 0..2 {
        let both = shake(client.clone(), server.clone()).unwrap();
        assert!(!both.server.is_handshaking() && !both.client.is_handshaking());
        let group = both.client.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        assert_eq!(both.server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(both.server.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(both.client.tls13_tickets_received(), 0);
        // The second time too: nothing is resumed.
        assert_eq!(both.server.handshake_kind(), Some(HandshakeKind::Full));
        let presented = both.client.peer_certificates().unwrap();
        assert_eq!(presented, [alpha.load().server.leaf().der().clone()]);
    }
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let authority = Authority::new("a");
    let failure = dial_us(&Stranger::nobody(), &trust(&[partner(BETA, &authority)]));
    assert!(matches!(failure, Err(Failure::Server(rustls::Error::NoCertificatesPresented))));
}

#[test]
fn strangers_are_told_no_names_of_authorities() {
    let authority = Authority::new("a");
    let stranger = Stranger::with(&Authority::new("x").leaf(&["urn:x"], |_| ()), &[]);
    let failure = dial_us(&stranger, &trust(&[partner(BETA, &authority)])).err().unwrap();
    assert!(matches!(failure.reason(), TrustError::Unregistered { .. }));
    assert_eq!(*stranger.hints.lock().unwrap(), Some(0));
}

#[test]
fn every_refusal_looks_the_same_from_outside() {
    let a = Authority::new("a");
    let trust = trust(&[partner(BETA, &a)]);
    let expired = a.leaf(&[BETA], |params| {
        crate::testing::set_dates(params, now() - days(9), now() - days(1));
    });
    let minted = Authority::new("b").leaf(&[BETA], |_| ());
    let unregistered = a.leaf(&[GAMMA], |_| ());
    for leaf in [expired, minted, unregistered] {
        let alert = rustls::AlertDescription::CertificateUnknown;
        let stranger = Stranger::with(&leaf, &[]);
        assert_eq!(told(&stranger, &trust), rustls::Error::AlertReceived(alert));
        // As an asynchronous acceptor hands it over, the reason is still found.
        let (Failure::Client(error) | Failure::Server(error)) =
            dial_us(&stranger, &trust).err().unwrap();
        let wrapped = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        assert!(TrustError::in_handshake(&wrapped).is_some());
    }
    let other = std::io::Error::other("unrelated");
    assert!(TrustError::in_handshake(&other).is_none());
}

#[test]
fn one_partners_authority_never_speaks_for_another() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let trust = trust(&[partner(BETA, &a), partner(GAMMA, &b)]);
    let minted = Stranger::with(&b.leaf(&[BETA], |_| ()), &[&b]);
    for failure in [dial_us(&minted, &trust), dial_out(&minted, &trust)] {
        let failure = failure.err().unwrap();
        assert!(matches!(failure.path(), PathError::UnknownIssuer { .. }), "{failure:?}");
        assert!(failure.reason().to_string().contains(BETA));
    }
    // Gamma itself answering where beta was dialled is refused too.
    let gamma = Stranger::with(&b.leaf(&[GAMMA], |_| ()), &[]);
    assert!(dial_us(&gamma, &trust).is_ok());
    let failure = dial_out(&gamma, &trust).err().unwrap();
    assert!(matches!(failure.reason(), TrustError::OtherPartner { .. }));
}

/// Each leaf both ways; the error, or `None` when it is good.
fn judge(leaf: &Leaf, above: &[&Authority], material: &[PartnerMaterial]) -> [Option<String>; 2] {
    let (stranger, trust) = (Stranger::with(leaf, above), trust(material));
    let reason =
        |result: Result<Both, Failure>| result.err().map(|failure| failure.reason().to_string());
    [reason(dial_us(&stranger, &trust)), reason(dial_out(&stranger, &trust))]
}

#[test]
fn leaves_are_judged_alike_in_both_directions() {
    let a = Authority::new("a");
    let below = a.below("below");
    let list = |revoked: &[&Leaf], next: SignedDays| {
        let serials: Vec<_> = revoked.iter().map(|leaf| leaf.serial()).collect();
        let mut material = partner(BETA, &a);
        material.crls = vec![a.list(&serials, now() + days(next))];
        vec![material]
    };
    let plain = vec![partner(BETA, &a)];
    let good = a.leaf(&[BETA], |_| ());
    let dated = |from, to| {
        a.leaf(&[BETA], move |params| {
            crate::testing::set_dates(params, now() + days(from), now() + days(to));
        })
    };
    let purpose = |purposes: Vec<ExtendedKeyUsagePurpose>| {
        a.leaf(&[BETA], move |params| params.extended_key_usages = purposes)
    };
    let by_dns = PartnerMaterial {
        san_uris: vec![],
        san_dns: vec!["node.beta.example".to_owned()],
        ..partner(BETA, &a)
    };
    let dns_leaf = a.leaf(&[], |one| one.subject_alt_names.push(dns("node.beta.example")));
    let pinned = Authority::new("x").leaf(&[], |_| ());
    let by_pin = PartnerMaterial {
        participant: BETA.to_owned(),
        pins: vec![pinned.certificate.spki_sha256()],
        ..PartnerMaterial::default()
    };
    let expect = |what: &str,
                  leaf: &Leaf,
                  above: &[&Authority],
                  material: &[PartnerMaterial],
                  expected: Option<&str>| {
        for found in judge(leaf, above, material) {
            match (&found, expected) {
                (None, None) => {}
                (Some(found), Some(expected)) if found.contains(expected) => {}
                _ => panic!("{what}: {found:?}, expected {expected:?}"),
            }
        }
    };
    expect("URI only", &good, &[], &plain, None);
    expect("DNS only", &dns_leaf, &[], &[by_dns], None);
    expect("pin only", &pinned, &[], &[by_pin], None);
    expect("intermediate", &below.leaf(&[BETA], |_| ()), &[&below], &plain, None);
    expect("no intermediate", &below.leaf(&[BETA], |_| ()), &[], &plain, Some("leads to none"));
    expect("expired", &dated(-9, -1), &[], &plain, Some("expired at"));
    expect("not yet", &dated(1, 9), &[], &plain, Some("valid from"));
    expect("no purpose", &purpose(vec![]), &[], &plain, Some("extended key usage"));
    expect("revoked", &good, &[], &list(&[&good], 1), Some("revoked"));
    expect("not revoked", &good, &[], &list(&[&pinned], 1), None);
    expect("stale list", &good, &[], &list(&[], -1), Some("fetch a new one"));
    expect("unregistered", &a.leaf(&[GAMMA], |_| ()), &[], &plain, Some("no registered partner"));
}

type SignedDays = i64;

#[test]
fn a_certificate_serves_its_own_direction_only() {
    let a = Authority::new("a");
    let trust = trust(&[partner(BETA, &a)]);
    let with = |purpose| a.leaf(&[BETA], |params| params.extended_key_usages = vec![purpose]);
    let server = Stranger::with(&with(ExtendedKeyUsagePurpose::ServerAuth), &[]);
    let client = Stranger::with(&with(ExtendedKeyUsagePurpose::ClientAuth), &[]);
    assert!(dial_out(&server, &trust).is_ok() && dial_us(&client, &trust).is_ok());
    for (failure, purpose) in
        [(dial_us(&server, &trust), Purpose::Client), (dial_out(&client, &trust), Purpose::Server)]
    {
        let failure = failure.err().unwrap();
        assert!(
            matches!(failure.path(), PathError::WrongPurpose { required, .. } if *required == purpose)
        );
    }
}

#[test]
fn trust_and_time_are_read_at_each_handshake() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let shared = trust(&[partner(BETA, &a), partner(GAMMA, &b)]);
    let clock = clock();
    let server = server_config(site(ALPHA), shared.clone(), SERVER_ALPN, clock.clone()).unwrap();
    let leaf = a.leaf(&[BETA], |_| ());
    let (beta, gamma) =
        (Stranger::with(&leaf, &[]), Stranger::with(&b.leaf(&[GAMMA], |_| ()), &[]));
    assert!(shake(beta.client(), server.clone()).is_ok());
    let mut revoking = partner(BETA, &a);
    revoking.crls = vec![a.list(&[leaf.serial()], now() + days(1))];
    shared.replace(store(&[revoking, partner(GAMMA, &b)]));
    let failure = shake(beta.client(), server.clone()).err().unwrap();
    assert!(matches!(failure.path(), PathError::Revoked { .. }));
    // Beta's list binds beta: gamma has none and needs none.
    assert!(shake(gamma.client(), server.clone()).is_ok());
    *clock.0.lock().unwrap() = now() + days(91);
    let failure = shake(gamma.client(), server).err().unwrap();
    assert!(matches!(failure.path(), PathError::Expired { .. }));
}

#[test]
fn own_certificates_are_read_at_each_handshake() {
    let (alpha, beta) = (site(ALPHA), site(BETA));
    let server =
        server_config(alpha.clone(), trust(&[partner_of(&beta)]), SERVER_ALPN, clock()).unwrap();
    let stranger = Stranger::with(&Authority::new("x").leaf(&[], |_| ()), &[]);
    let first = alpha.load().server.leaf().clone();
    alpha.replace(
        Arc::try_unwrap(site(ALPHA).0)
            .unwrap()
            .into_inner()
            .map(|inner| Arc::try_unwrap(inner).unwrap())
            .unwrap(),
    );
    let failure = shake(stranger.client(), server.clone());
    assert!(matches!(failure, Err(Failure::Server(_))));
    assert_ne!(alpha.load().server.leaf(), &first);
    let client = client_config(beta, trust(&[partner_of(&alpha)]), ALPHA, &[], clock()).unwrap();
    let both = shake(client, server).unwrap();
    let presented = both.client.peer_certificates().unwrap();
    assert_eq!(presented[0], *alpha.load().server.leaf().der());
}

#[test]
fn a_stolen_certificate_without_its_key_is_refused() {
    let a = Authority::new("a");
    let trust = trust(&[partner(BETA, &a)]);
    let mut stolen = a.leaf(&[BETA], |_| ());
    stolen.key = a.leaf(&[], |_| ()).key;
    let stranger = Stranger::with(&stolen, &[]);
    for failure in [dial_us(&stranger, &trust), dial_out(&stranger, &trust)] {
        let (Failure::Client(error) | Failure::Server(error)) = failure.err().unwrap();
        assert_eq!(error, CertificateError::BadSignature.into());
    }
}

#[test]
fn older_protocol_versions_are_not_spoken() {
    assert!(provider().cipher_suites.iter().all(|suite| suite.tls13().is_some()));
    let a = Authority::new("a");
    let server =
        server_config(site(ALPHA), trust(&[partner(BETA, &a)]), SERVER_ALPN, clock()).unwrap();
    assert_eq!(server.send_tls13_tickets, 0);
    assert_eq!(server.max_early_data_size, 0);
    assert!(!server.session_storage.can_cache() && !server.ticketer.enabled());
}
