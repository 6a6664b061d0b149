//! A running Eclipse EDC: both planes in one process, plain HTTP on loopback, stores in memory, and its own stand-in for an
//! identity provider (`iam-mock`), which believes the token that it is shown.
//!
//! Its libraries are not in this repository: `integration-tests/edc/run` fetches them.

use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::connector::{array, text};
use crate::plain;
use crate::ports;
use crate::process;
use crate::wait::{self, PATIENCE};

/// The base of its endpoints of the Dataspace Protocol, which is also a node's.
pub const DSP: &str = "/dsp";
/// The path of its data plane's public endpoint.
pub const PUBLIC: &str = "/public";
/// What its management API calls Dataspace Protocol 2025-1.
pub const PROTOCOL: &str = "dataspace-protocol-http:2025-1";
/// The namespace of its own terms, and how its documents abbreviate ODRL's.
const VOCABULARY: &str = "https://w3id.org/edc/v0.0.1/ns/";
const ODRL: &str = "http://www.w3.org/ns/odrl/2/";

/// What `iam-mock` takes for the token of a participant.
pub fn token(from: &str, to: &str) -> String {
    json!({ "clientId": from, "audience": to, "region": "any" }).to_string()
}

/// An EDC to be started.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its participant id.
    pub participant: String,
    /// Where its jars are.
    pub libraries: PathBuf,
    /// Where its files and its log go.
    pub directory: PathBuf,
    /// What it tells its partners as the origin of its endpoints, where that is not its own.
    pub origin: Option<String>,
    /// How long its state machines wait between two looks; its own default where it is not given.
    pub iteration_wait: Option<Duration>,
}

/// Another connector, as EDC's management API names it.
#[derive(Debug, Clone)]
pub struct Counterparty {
    /// The base of its endpoints of the Dataspace Protocol.
    pub address: String,
    /// Its participant id.
    pub participant: String,
}

/// The first offer of a dataset in a catalog that EDC asked for.
///
/// # Errors
/// When there is none.
pub fn offer(catalog: &Value, dataset: &str) -> Result<Value> {
    let sets = array(catalog, "/dataset");
    let found = sets.iter().find(|set| set.get("@id") == Some(&json!(dataset)));
    let offer = found.and_then(|set| array(set, "/hasPolicy").into_iter().next());
    offer.with_context(|| format!("no offer of `{dataset}` in {catalog}"))
}

/// A running EDC. It is killed when this is dropped.
#[derive(Debug)]
pub struct Edc {
    child: Child,
    log: PathBuf,
    management: SocketAddr,
    protocol: SocketAddr,
    public: SocketAddr,
    ready_after: Duration,
}

impl Plan {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; then with the end of its log.
    pub fn start(&self) -> Result<Edc> {
        let name = self.participant.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let (api, control, version) = (ports::free()?, ports::free()?, ports::free()?);
        let (management, protocol, public) = (ports::free()?, ports::free()?, ports::free()?);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let public_key = self.directory.join(format!("{name}.pub.pem"));
        std::fs::write(&public_key, key.public_key_pem())?;
        let plane = self.origin.clone().unwrap_or_else(|| format!("http://{public}"));
        let origin = self.origin.clone().unwrap_or_else(|| format!("http://{protocol}"));

        let mut text = String::new();
        let mut set = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}={value}");
        };
        set("edc.participant.id", &self.participant);
        set("edc.dsp.callback.address", &format!("{origin}{DSP}"));
        set("edc.dataplane.api.public.baseurl", &format!("{plane}{PUBLIC}"));
        let contexts = [
            ("", api, "/api"),
            ("management.", management, "/management"),
            ("protocol.", protocol, DSP),
            ("control.", control, "/control"),
            ("version.", version, "/version"),
            ("public.", public, PUBLIC),
        ];
        for (context, address, path) in contexts {
            set(&format!("web.http.{context}port"), &address.port().to_string());
            set(&format!("web.http.{context}path"), path);
        }
        // What the access tokens of its data plane are signed with.
        set("edc.transfer.proxy.token.signer.privatekey.alias", "private-key");
        set("edc.transfer.proxy.token.verifier.publickey.alias", "public-key");
        set("private-key", &key.serialize_pem().replace("\r", "").replace('\n', "\\n"));
        set("edc.iam.publickeys.pk.id", "public-key");
        set("edc.iam.publickeys.pk.path", &public_key.display().to_string());
        if let Some(wait) = self.iteration_wait {
            for machine in ["negotiation", "transfer", "dataplane"] {
                let key = format!("edc.{machine}.state-machine.iteration-wait-millis");
                set(&key, &wait.as_millis().to_string());
            }
        }
        let settings = self.directory.join(format!("{name}.properties"));
        std::fs::write(&settings, text)?;

        let log = self.directory.join(format!("{name}.log"));
        let output = File::create(&log)?;
        // Whoever ends this program ends EDC with it.
        let mut java = Command::new("setpriv");
        java.args(["--pdeathsig", "KILL", "java"])
            .arg(format!("-Dedc.fs.config={}", settings.display()))
            .arg("-cp")
            .arg(self.libraries.join("*"))
            .arg("org.eclipse.edc.boot.system.runtime.BaseRuntime")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = java.spawn().with_context(|| format!("`{java:?}` does not start"))?;
        let ready_after = Duration::ZERO;
        let mut edc = Edc { child, log, management, protocol, public, ready_after };
        edc.wait_until_ready(api)?;
        Ok(edc)
    }
}

impl Edc {
    fn wait_until_ready(&mut self, api: SocketAddr) -> Result<()> {
        let started = Instant::now();
        let ready = wait::closely("EDC is ready", PATIENCE, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("EDC ended with {status} before it was ready");
            }
            // Until it listens nobody answers.
            let Ok((status, answer)) = process::get(api, "/api/check/startup") else {
                return Ok(None);
            };
            let healthy = status == 200 && answer.contains("\"isSystemHealthy\":true");
            Ok(healthy.then_some(()))
        });
        ready.with_context(|| process::tail(&self.log))?;
        self.ready_after = started.elapsed();
        Ok(())
    }

    /// Where its endpoints of the Dataspace Protocol are.
    pub fn protocol(&self) -> SocketAddr {
        self.protocol
    }

    /// Where its data plane's public endpoint is.
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// How long it took from its start until it was ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// The file of its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        process::resident_bytes(self.child.id())
    }

    /// Asks its management API.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    /// Posts a document to its management API and takes the answer. Without a context its terms are EDC's own.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn post(&self, path: &str, mut document: Value) -> Result<Value> {
        if let Some(members) = document.as_object_mut() {
            let context = json!({ "@vocab": VOCABULARY, "odrl": ODRL });
            members.entry("@context").or_insert(context);
        }
        self.ask(Method::POST, path, Some(&document)).await
    }

    async fn ask(&self, method: Method, path: &str, document: Option<&Value>) -> Result<Value> {
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("/management/v3{path}"))
            .header("content-type", "application/json");
        let body = document.map_or_else(Bytes::new, |document| Bytes::from(document.to_string()));
        let answer = plain::exchange(self.management, request, body).await?;
        let (status, text) = (answer.status(), String::from_utf8_lossy(answer.body()));
        ensure!(status.is_success(), "EDC answered {method} {path} with {status}: {text}");
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("EDC answered {path} with {text}"))
    }

    /// Asks another connector for its catalog, with so many datasets at most.
    ///
    /// # Errors
    /// When it gets none.
    pub async fn catalog(&self, of: &Counterparty, limit: usize) -> Result<Value> {
        let request = json!({
            "@type": "CatalogRequest",
            "counterPartyAddress": of.address,
            "counterPartyId": of.participant,
            "protocol": PROTOCOL,
            "querySpec": { "offset": 0, "limit": limit },
        });
        self.post("/catalog/request", request).await
    }

    /// Requests an offer of another connector's catalog, as that shows it: the id of the negotiation.
    ///
    /// # Errors
    /// When EDC does not take it.
    pub async fn request(
        &self,
        of: &Counterparty,
        mut offer: Value,
        dataset: &str,
    ) -> Result<String> {
        let members = offer.as_object_mut().context("an offer is no object")?;
        // The offer is in the words of ODRL, the request in EDC's.
        members.insert("@context".to_owned(), json!("http://www.w3.org/ns/odrl.jsonld"));
        members.insert("assigner".to_owned(), json!(of.participant));
        members.insert("target".to_owned(), json!(dataset));
        let request = json!({
            "@type": "ContractRequest",
            "counterPartyAddress": of.address,
            "counterPartyId": of.participant,
            "protocol": PROTOCOL,
            "policy": offer,
        });
        text(&self.post("/contractnegotiations", request).await?, "/@id")
    }

    /// Publishes what an HTTP server gives at `url` to whoever the policy lets. `policy` is the members of an
    /// ODRL policy.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn publish(&self, asset: &str, url: &str, policy: &Value) -> Result<()> {
        let source = json!({ "type": "HttpData", "baseUrl": url });
        let request =
            json!({ "@id": asset, "properties": { "name": asset }, "dataAddress": source });
        self.post("/assets", request).await?;
        let mut odrl = json!({ "@context": "http://www.w3.org/ns/odrl.jsonld", "@type": "Set" });
        if let (Some(odrl), Some(members)) = (odrl.as_object_mut(), policy.as_object()) {
            odrl.extend(members.clone());
        }
        let name = format!("policy-{asset}");
        self.post("/policydefinitions", json!({ "@id": name, "policy": odrl })).await?;
        let selector = json!([{
            "operandLeft": format!("{VOCABULARY}id"), "operator": "=", "operandRight": asset,
        }]);
        let definition = json!({
            "@id": format!("definition-{asset}"),
            "accessPolicyId": name,
            "contractPolicyId": name,
            "assetsSelector": selector,
        });
        self.post("/contractdefinitions", definition).await?;
        Ok(())
    }
}

impl Drop for Edc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
