//! Reading one partner file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::key::Algorithm;
use certs::trust::{PartnerMaterial, PartnerTrust};
use certs::x509::Certificate;
use engine::Handling;
use engine::entity::{Partner, PartnerState};
use ipnet::IpNet;
use protocol::id::ParticipantId;
use protocol::path::BaseUrl;
use serde::Deserialize;
use serde_with::{DisplayFromStr, serde_as};
use sha2::{Digest as _, Sha256};
use toml::Spanned;

use super::PartnerFile;
use crate::config::{Place, Problem, PublicUrl};

/// A card is at most half of this; more is no partner file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The largest file of certificates or revocations that is read.
const MAX_MATERIAL_BYTES: u64 = 16 * 1024 * 1024;

/// The largest short name.
const MAX_NAME_BYTES: usize = 64;

/// Limits for one partner, over those of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartnerLimits {
    /// Data transfers served at once.
    pub max_concurrent_transfers_count: Option<usize>,
}

/// A public key as text: the name of the algorithm, a colon, the raw key in base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyText {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The raw key.
    pub key: Vec<u8>,
}

impl FromStr for SigningKeyText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "a signing key is `EdDSA:` or `ES256:` and the raw public key in base64url";
        let (algorithm, key) = text.split_once(':').ok_or(WRONG)?;
        let algorithm = Algorithm::from_name(algorithm).map_err(|_| WRONG)?;
        let key = URL_SAFE_NO_PAD.decode(key).map_err(|_| WRONG)?;
        let length = match algorithm {
            Algorithm::EdDsa => 32,
            Algorithm::Es256 => 65,
        };
        if key.len() == length { Ok(Self { algorithm, key }) } else { Err(WRONG) }
    }
}

impl std::fmt::Display for SigningKeyText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.algorithm, URL_SAFE_NO_PAD.encode(&self.key))
    }
}

/// The file as it is written.
#[serde_as]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: ParticipantId,
    title: String,
    #[serde(default)]
    state: State,
    dsp_endpoint: Spanned<String>,
    #[serde(default)]
    origins: BTreeSet<PublicUrl>,
    #[serde(default)]
    groups: BTreeSet<String>,
    region: Option<Spanned<String>>,
    /// Facts for policies, by the name of the operand.
    #[serde(default)]
    attributes: BTreeMap<String, BTreeSet<String>>,
    /// Facts for policies that somebody attested, with their dates.
    #[serde(default)]
    credentials: Vec<Spanned<super::credentials::Written>>,
    #[serde(default)]
    networks: Vec<IpNet>,
    #[serde(default)]
    connect_from: Vec<IpNet>,
    #[serde(default)]
    extensions: BTreeSet<String>,
    handling: Option<Handling>,
    card_number: Option<u64>,
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[serde(default)]
    signing_key: Option<SigningKeyText>,
    identity: Spanned<Identity>,
    #[serde(default)]
    ods: Ods,
    #[serde(default)]
    limits: PartnerLimits,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    #[default]
    Active,
    Suspended,
    Offboarded,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Identity {
    san_uris: Vec<String>,
    san_dns: Vec<String>,
    /// SHA-256 of a SubjectPublicKeyInfo, hexadecimal.
    pins: Vec<String>,
    /// PEM text, or the name of a file beside this one.
    server_anchors: Vec<String>,
    client_anchors: Vec<String>,
    signing_anchors: Vec<String>,
    crls: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ods {
    operator_id: Option<String>,
    #[serde(rename = "open_operator_id")]
    _open_operator_id: Option<String>,
    #[serde(rename = "global_operator_id")]
    _global_operator_id: Option<String>,
}

/// Reads and checks a partner file.
pub(super) fn read(path: &Path) -> Result<PartnerFile, Problem> {
    let whole = |message: String| Problem::new(Place::File(path.to_owned()), "", message, "");
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    check_name(name).map_err(whole)?;
    let bytes = read_bounded(path, MAX_FILE_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| whole("is not UTF-8 text".to_owned()))?;
    parse(path, name, &text)
}

/// Whether a text can be a partner's short name: it is a file name and an argument, and not a path.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let starts_plain = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_plain && name.len() <= MAX_NAME_BYTES && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!(
        "`{}` cannot be a partner's name: give up to {MAX_NAME_BYTES} lower-case letters, digits, `-`, `_` and `.`, \
         a letter or digit first",
        name.escape_debug()
    ))
}

pub(super) fn parse(path: &Path, name: &str, text: &str) -> Result<PartnerFile, Problem> {
    let at = |span: std::ops::Range<usize>| Place::at(path, text, span.start);
    let written: Written = toml::from_str(text).map_err(|error| {
        Problem::new(at(error.span().unwrap_or_default()), "", error.message().trim(), "")
    })?;
    let endpoint = &written.dsp_endpoint;
    let wrong =
        |span, key: &str, message: String, help: &str| Problem::new(at(span), key, message, help);
    let base = BaseUrl::new(endpoint.get_ref())
        .map_err(|error| wrong(endpoint.span(), "dsp_endpoint", error.to_string(), ""))?;
    let origin =
        origin_of(&base).map_err(|message| wrong(endpoint.span(), "dsp_endpoint", message, ""))?;
    let mut origins = written.origins;
    if origins.is_empty() {
        origins.insert(origin.clone());
    }
    if !origins.contains(&origin) {
        let message = format!("`{origin}` is not among `origins`, so it could not be dialled");
        return Err(wrong(endpoint.span(), "dsp_endpoint", message, "add it there"));
    }
    if let Some(region) = written.region.as_ref().filter(|region| !is_country(region.get_ref())) {
        let message =
            format!("`{}` is not a country of ISO 3166-1", region.get_ref().escape_debug());
        return Err(wrong(
            region.span(),
            "region",
            message,
            "give two capital letters, such as `JP`",
        ));
    }
    let credentials = super::credentials::check(written.credentials, &written.attributes).map_err(
        |(span, found)| {
            let key = format!("credentials.{}", found.key);
            wrong(span, &key, found.message, found.help)
        },
    )?;
    let span = written.identity.span();
    let identity = written.identity.into_inner();
    let (material, signing_anchors) = material(path, &written.id, &identity)
        .map_err(|(key, message)| wrong(span.clone(), &format!("identity.{key}"), message, ""))?;
    PartnerTrust::new(&material)
        .map_err(|error| wrong(span.clone(), "identity", crate::site::chain(&error), ""))?;
    let partner = Partner {
        v: 1,
        participant: written.id,
        name: name.to_owned(),
        title: written.title,
        state: match written.state {
            State::Active => PartnerState::Active,
            State::Suspended => PartnerState::Suspended,
            State::Offboarded => PartnerState::Offboarded,
        },
        groups: written.groups,
        region: written.region.map(Spanned::into_inner),
        operator_id: written.ods.operator_id,
        attributes: written.attributes,
        credentials,
        dsp_endpoint: base.as_str().trim_end_matches('/').to_owned(),
        origins: origins.into_iter().map(String::from).collect(),
        signing_key: written
            .signing_key
            .as_ref()
            .filter(|key| key.algorithm == Algorithm::EdDsa)
            .map(|key| URL_SAFE_NO_PAD.encode(&key.key)),
        card_number: written.card_number,
        extensions: written.extensions,
        handling: written.handling,
        file_sha256: hex::encode(Sha256::digest(text)),
    };
    Ok(PartnerFile {
        path: path.to_owned(),
        partner,
        material,
        signing_anchors,
        signing_key: written.signing_key,
        networks: written.networks,
        connect_from: written.connect_from,
        limits: written.limits,
    })
}

/// The origin of a base URL.
pub(super) fn origin_of(base: &BaseUrl) -> Result<PublicUrl, String> {
    let url = url::Url::parse(base.as_str()).map_err(|error| error.to_string())?;
    url.origin().ascii_serialization().parse::<PublicUrl>().map_err(|error| error.to_string())
}

/// ISO 3166-1 alpha-2.
pub(super) fn is_country(text: &str) -> bool {
    text.len() == 2 && rust_iso3166::from_alpha2(text).is_some()
}

/// Gathers certificates, pins and lists; an error names the key.
fn material(
    path: &Path,
    id: &ParticipantId,
    identity: &Identity,
) -> Result<(PartnerMaterial, Vec<Certificate>), (&'static str, String)> {
    let load = |key: &'static str, texts: &[String]| {
        let read = |text: &String| load_material(path, text);
        texts.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(|message| (key, message))
    };
    let pins = identity
        .pins
        .iter()
        .map(|pin| {
            let mut digest = [0; 32];
            hex::decode_to_slice(pin, &mut digest).map(|()| digest).map_err(|_| {
                let message = format!("`{}` is not 64 hexadecimal digits", pin.escape_debug());
                ("pins", message)
            })
        })
        .collect::<Result<_, _>>()?;
    let mut signing = Vec::new();
    for bytes in load("signing_anchors", &identity.signing_anchors)? {
        let bundle =
            Certificate::bundle(&bytes).map_err(|error| ("signing_anchors", error.to_string()))?;
        signing.extend(bundle);
    }
    let material = PartnerMaterial {
        participant: id.as_str().to_owned(),
        san_uris: identity.san_uris.clone(),
        san_dns: identity.san_dns.clone(),
        pins,
        server_anchors: load("server_anchors", &identity.server_anchors)?,
        client_anchors: load("client_anchors", &identity.client_anchors)?,
        crls: load("crls", &identity.crls)?,
    };
    Ok((material, signing))
}

/// PEM text as it is, or the file that it names, relative to the partner's file.
fn load_material(path: &Path, text: &str) -> Result<Vec<u8>, String> {
    if text.trim_start().starts_with("-----BEGIN ") {
        return Ok(text.as_bytes().to_vec());
    }
    let file = path.parent().map_or_else(|| PathBuf::from(text), |directory| directory.join(text));
    read_bounded(&file, MAX_MATERIAL_BYTES).map_err(|problem| problem.to_string())
}

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Problem> {
    use std::io::Read as _;
    let unreadable = |error| Problem::unreadable(path, &error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        return Ok(bytes);
    }
    let message = format!("is larger than {limit} bytes");
    Err(Problem::new(Place::File(path.to_owned()), "", message, ""))
}
