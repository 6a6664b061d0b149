//! Participants, releases and logs for tests, made on the spot with real keys and certificates.

use std::collections::HashMap;

use certs::jose::{HeaderExtras, sign_compact};
use certs::key::SigningKey;
use certs::x509::Certificate;
use jiff::{SignedDuration, Timestamp};
use journal::tlog::{
    Checkpoint, Hash, HashReader, Node, inclusion_proof, leaf_hash, node_hash, sign_checkpoint,
    tree_root,
};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::claims::{
    Activity, ActivityKind, Agreement, Classification, Dataset, Log, LogKey, Policy, Profile,
};
use crate::digest::digest_reader;
use crate::token::TYPE;
use crate::{Bundle, Claims, Digest, Digests, issue};

pub(crate) const PROVIDER: &str = "did:web:b.example";
pub(crate) const RECIPIENT: &str = "did:web:a.example";
pub(crate) const ORIGIN: &str = "did:web:b.example/relation/did:web:a.example/1";
pub(crate) const DATA: &[u8] = "CFP of 部品B: 1.25 kgCO2e\n".as_bytes();

/// A change that must be found, by name.
pub(crate) type Change<T> = (&'static str, fn(&mut T));

pub(crate) fn now() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

/// An authority with one below it.
pub(crate) struct Authority {
    pub(crate) anchor: Certificate,
    below: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let (root, root_key) = (authority_params(name), KeyPair::generate().unwrap());
        let anchor = root.self_signed(&root_key).unwrap();
        let (params, key) = (authority_params("signing"), KeyPair::generate().unwrap());
        let below = params.signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap();
        let read = |der: &[u8]| Certificate::from_der(der).unwrap();
        Self { anchor: read(anchor.der()), below: read(below.der()), params, key }
    }

    /// The chain of a signing certificate for that key, leaf first, without the anchor.
    pub(crate) fn chain(&self, spki: &[u8], participant: &str) -> Vec<Certificate> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "signer");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36])];
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(participant).unwrap())];
        set_life(&mut params);
        let public = SubjectPublicKeyInfo::from_der(spki).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let leaf = params.signed_by(&public, &issuer).unwrap();
        vec![Certificate::from_der(leaf.der()).unwrap(), self.below.clone()]
    }

    pub(crate) fn participant(&self, id: &str) -> Participant {
        let key = SigningKey::generate().unwrap();
        let chain = self.chain(&key.verifying_key().spki_der(), id);
        Participant { id: id.to_owned(), anchors: vec![self.anchor.clone()], key, chain }
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    set_life(&mut params);
    params
}

fn set_life(params: &mut CertificateParams) {
    let date = |instant: Timestamp| {
        let seconds = u64::try_from(instant.as_second()).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = date(now() - SignedDuration::from_hours(240));
    params.not_after = date(now() + SignedDuration::from_hours(2400));
}

pub(crate) struct Participant {
    pub(crate) id: String,
    pub(crate) anchors: Vec<Certificate>,
    pub(crate) key: SigningKey,
    pub(crate) chain: Vec<Certificate>,
}

impl Participant {
    pub(crate) fn new(id: &str) -> Self {
        Authority::new("root").participant(id)
    }

    pub(crate) fn claims(&self) -> Claims {
        let digests = digests(DATA);
        Claims {
            profile: Profile::One,
            issuer: self.id.clone(),
            subject: "urn:dataset:cfp".to_owned(),
            audience: RECIPIENT.to_owned(),
            id: "urn:uuid:9f5d6c1e-8a53-4d55-a3f5-33a1c8f3a0d1".to_owned(),
            issued_at: now(),
            not_before: None,
            agreement: Agreement {
                id: "urn:uuid:11111111-8a53-4d55-a3f5-33a1c8f3a0d1".to_owned(),
                sha256: Digest::sha256(b"agreement"),
            },
            policy: Policy { sha256: Digest::sha256(b"policy") },
            purpose: Some("cfp-reporting".to_owned()),
            dataset: Dataset {
                version: "3".to_owned(),
                sha256: digests.sha256,
                blake3: digests.blake3,
                size: digests.size,
                media_type: "application/json".to_owned(),
                file_name: "cfp.json".to_owned(),
                title: Some("部品Bのカーボンフットプリント".to_owned()),
            },
            activity: Activity {
                kind: ActivityKind::Release,
                started: now(),
                transfer: "urn:uuid:22222222-8a53-4d55-a3f5-33a1c8f3a0d1".to_owned(),
                consumer_process: Some("urn:uuid:3".to_owned()),
            },
            classification: Classification { confidentiality: Some("restricted".to_owned()) },
            parents: Vec::new(),
            log: Log {
                origin: ORIGIN.to_owned(),
                key: LogKey::ed25519(self.id.clone(), self.key.public_key()),
            },
        }
    }

    pub(crate) fn issue(&self, claims: &Claims) -> String {
        issue(claims, &self.key, &self.chain).unwrap()
    }

    /// A token that [`issue`] would not sign.
    pub(crate) fn sign(&self, payload: &Value) -> String {
        let extras = HeaderExtras { chain: &self.chain, embed_chain: true };
        sign_compact(TYPE, extras, payload.to_string().as_bytes(), &self.key).unwrap()
    }

    /// The bundle of a token whose leaf is number 4 of 7 in this participant's log.
    pub(crate) fn bundle(&self, token: &str) -> Bundle {
        let leaf = leaf(token, &Digest::sha256(DATA));
        self.bundle_of(token, &leaf, ORIGIN)
    }

    pub(crate) fn bundle_of(&self, token: &str, leaf: &str, origin: &str) -> Bundle {
        let tree = Tree::around(leaf, 4, 7);
        let proof = inclusion_proof(4, 7, &tree).unwrap();
        let note = self.checkpoint(origin, 7, tree_root(7, &tree).unwrap());
        Bundle::new(token, leaf.as_bytes(), 4, proof, note).unwrap()
    }

    pub(crate) fn checkpoint(&self, origin: &str, size: u64, root: Hash) -> String {
        let checkpoint = Checkpoint::new(origin, size, root);
        sign_checkpoint(&checkpoint, &self.id, &self.key.public_key(), |bytes| {
            Ok::<_, std::convert::Infallible>(self.key.sign(bytes))
        })
        .unwrap()
    }
}

/// The leaf that a grant's record would have.
pub(crate) fn leaf(token: &str, dataset: &Digest) -> String {
    leaf_with(|leaf| {
        leaf["digests"] = json!({ "dataset": dataset, "token": Digest::sha256(token.as_bytes()) });
    })
}

pub(crate) fn leaf_with(change: impl FnOnce(&mut Value)) -> String {
    let mut leaf = json!({
        "v": 1,
        "kind": "transfer-granted",
        "time": now(),
        "effect": Hash::of(b"effect"),
        "body": Hash::of(b"body"),
        "digests": {},
    });
    change(&mut leaf);
    serde_jcs::to_string(&leaf).unwrap()
}

pub(crate) fn digests(bytes: &[u8]) -> Digests {
    digest_reader(bytes, |_| ()).unwrap()
}

/// All complete subtrees of a log.
pub(crate) struct Tree(HashMap<Node, Hash>);

impl Tree {
    fn around(leaf: &str, index: u64, size: u64) -> Self {
        let mut hashes: Vec<Hash> = (0..size)
            .map(|number| match number == index {
                true => leaf_hash(leaf.as_bytes()),
                false => leaf_hash(&number.to_be_bytes()),
            })
            .collect();
        let mut nodes = HashMap::new();
        for level in 0.. {
            if hashes.is_empty() {
                break;
            }
            for (index, hash) in (0..).zip(&hashes) {
                nodes.insert(Node { level, index }, *hash);
            }
            hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        Self(nodes)
    }
}

impl HashReader for Tree {
    type Error = Node;

    fn read_hash(&self, node: Node) -> Result<Hash, Node> {
        self.0.get(&node).copied().ok_or(node)
    }
}

/// A private key's PKCS#8 bytes, for signing what [`SigningKey`] refuses to.
pub(crate) fn pkcs8(pair: &KeyPair) -> Vec<u8> {
    rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(pair.serialize_pem().as_bytes())
        .unwrap()
        .secret_pkcs8_der()
        .to_vec()
}
