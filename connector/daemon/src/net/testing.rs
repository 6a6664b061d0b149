//! Two real sites with trial authorities, and a partner listener on loopback between them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certs::pki::{self, Identity, SitePki};
use certs::tls::{SharedSite, client_config};
use certs::trust::{PartnerMaterial, PartnerTrust, SharedTrust, TrustStore};
use http::{Response, StatusCode};
use jiff::{Span, Timestamp};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

pub(super) const PROVIDER: &str = "did:web:provider.example";
pub(super) const CONSUMER: &str = "did:web:consumer.example";

/// Longer than any step of a test takes; reached only when a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that tests move.
#[derive(Debug)]
pub(super) struct Clock(Mutex<Timestamp>);

impl Clock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Timestamp::now())))
    }

    pub(super) fn pass_years(&self, years: i32) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(Span::new().hours(years * 366 * 24)).unwrap();
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.lock().unwrap().as_second()).unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A site with keys and a trial authority of its own.
pub(super) fn site(participant: &str) -> SharedSite {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pki");
    let names = ["node.example".to_owned()];
    let identity = Identity::new(participant, "Site", &names, &[]).unwrap();
    let now = Timestamp::now();
    pki::create_with_trial_ca(&path, &identity, now).unwrap();
    SharedSite::new(SitePki::load(&path, now).unwrap())
}

/// A store that registers these sites.
pub(super) fn store(generation: u64, partners: &[&SharedSite]) -> TrustStore {
    let partners = partners
        .iter()
        .map(|site| {
            let site = site.load();
            let participant = site.identity.participant().to_owned();
            let material = PartnerMaterial {
                san_uris: vec![participant.clone()],
                participant,
                server_anchors: vec![site.server.anchor().to_pem().into_bytes()],
                client_anchors: vec![site.client.anchor().to_pem().into_bytes()],
                ..PartnerMaterial::default()
            };
            PartnerTrust::new(&material).unwrap()
        })
        .collect();
    TrustStore::new(generation, partners).unwrap()
}

pub(super) fn identity(site: &SharedSite, partners: &[&SharedSite]) -> (NodeIdentity, Arc<Clock>) {
    let clock = Clock::new();
    let identity = NodeIdentity {
        site: site.clone(),
        trust: SharedTrust::new(store(1, partners)),
        time: Arc::clone(&clock) as Arc<dyn TimeProvider>,
    };
    (identity, clock)
}

/// Admits every address but those set apart; passes on who was turned away.
#[derive(Debug)]
pub(super) struct TestGate {
    turned_away: mpsc::UnboundedSender<String>,
    barred: Mutex<HashMap<String, IpAddr>>,
}

impl TestGate {
    pub(super) fn bar(&self, participant: &str, address: IpAddr) {
        self.barred.lock().unwrap().insert(participant.to_owned(), address);
    }
}

impl Gate for TestGate {
    fn admits(&self, participant: &str, address: IpAddr) -> bool {
        self.barred.lock().unwrap().get(participant) != Some(&address)
    }

    fn refuse(&self, _connection: &Connection, refusal: &Refusal) -> Response<Body> {
        let mut response = Response::new(full(refusal.to_string()));
        *response.status_mut() = StatusCode::FORBIDDEN;
        response
    }

    fn turned_away(&self, _remote: SocketAddr, refusal: &Refusal) {
        let _ = self.turned_away.send(refusal.to_string());
    }
}

/// A partner listener that runs, and a site that it knows.
pub(super) struct Pair {
    pub(super) provider: SharedSite,
    pub(super) consumer: SharedSite,
    /// As the provider sees it.
    pub(super) identity: NodeIdentity,
    /// The provider's.
    pub(super) clock: Arc<Clock>,
    pub(super) address: SocketAddr,
    pub(super) gate: Arc<TestGate>,
    pub(super) turned_away: mpsc::UnboundedReceiver<String>,
    pub(super) shutdown: Shutdown,
    pub(super) serving: JoinHandle<()>,
}

impl Pair {
    pub(super) fn serve<H: Handler<Connection>>(handler: H, limits: ListenerLimits) -> Self {
        let (provider, consumer) = (site(PROVIDER), site(CONSUMER));
        let (identity, clock) = identity(&provider, &[&consumer]);
        let listener =
            PartnerListener::bind(&["127.0.0.1:0".parse().unwrap()], identity.clone()).unwrap();
        let address = listener.addresses()[0];
        let (sender, turned_away) = mpsc::unbounded_channel();
        let gate = Arc::new(TestGate { turned_away: sender, barred: Mutex::default() });
        let shutdown = Shutdown::new();
        let serving = tokio::spawn(listener.serve(
            Arc::clone(&gate),
            Arc::new(handler),
            limits,
            shutdown.clone(),
        ));
        Self { provider, consumer, identity, clock, address, gate, turned_away, shutdown, serving }
    }

    /// The consumer's client.
    pub(super) fn client(&self) -> PartnerClient {
        self.client_of(&self.consumer, &self.provider, DialLimits::default())
    }

    /// A client of `from` that expects `to` at our address.
    pub(super) fn client_of(
        &self,
        from: &SharedSite,
        to: &SharedSite,
        limits: DialLimits,
    ) -> PartnerClient {
        let (identity, _) = identity(from, &[to]);
        client(identity, to.load().identity.participant(), self.address, limits)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// A TLS connection of the consumer, without HTTP.
    pub(super) async fn tls(&self, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        let (NodeIdentity { site, trust, time }, _) = identity(&self.consumer, &[&self.provider]);
        let config = client_config(site, trust, PROVIDER, alpn, time).unwrap();
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::from(self.address.ip());
        TlsConnector::from(config).connect(name, socket).await.unwrap()
    }

    /// The next connection that was turned away.
    pub(super) async fn refused(&mut self) -> String {
        within(self.turned_away.recv()).await.unwrap()
    }
}

pub(super) fn client(
    identity: NodeIdentity,
    participant: &str,
    address: SocketAddr,
    limits: DialLimits,
) -> PartnerClient {
    let origin = format!("https://{address}").parse().unwrap();
    let guard = Guard::new(vec![origin], vec!["127.0.0.0/8".parse().unwrap()]);
    PartnerClient::new(participant.into(), guard, identity, limits).unwrap()
}

/// Awaits something that has to come.
pub(super) async fn within<T>(something: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, something).await.expect("it never came")
}

/// A body whose pieces the test sends; it fails to end unless the sender is dropped.
pub(super) fn channel_body(mut pieces: mpsc::Receiver<bytes::Bytes>) -> Body {
    use http_body_util::{BodyExt, StreamBody};
    let stream = futures_util::stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece))))
    });
    StreamBody::new(stream).boxed_unsync()
}
