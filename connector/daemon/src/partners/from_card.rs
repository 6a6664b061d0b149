//! From a partner's card to its file.
//!
//! [`plan`] says what would be written and what would change, for the administrator to look at; [`Plan::write`] writes it.
//! A card that opened proves that it is whole; whose it is, the administrator decides by the fingerprint. Later cards
//! of the same participant must be signed by the same key and have a greater number.

use std::collections::BTreeSet;
use std::path::Path;

use certs::card::{Card, Fingerprint, OpenedCard};
use ipnet::IpNet;
use protocol::id::ParticipantId;
use protocol::path::BaseUrl;
use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::{PartnerFile, Registry, edit, file};
use crate::config::{Problem, PublicUrl};

/// What the administrator declares of a new partner, beside its card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The short name; else one is made from the card's.
    pub name: Option<String>,
    /// Groups, for policies.
    pub groups: BTreeSet<String>,
    /// ISO 3166-1 alpha-2 country.
    pub region: Option<String>,
    /// Networks of private or loopback addresses that may be dialled for it.
    pub networks: Vec<IpNet>,
}

/// Why a card is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardRefusal {
    /// It is our own.
    #[error("this is our own card: give it to the partner, and add the partner's")]
    Own,
    /// The key is not the one that is registered.
    #[error(
        "the card of `{participant}` is signed by another key than the registered one; if the partner confirms the change \
         over another channel, remove the partner `{name}` and add the card anew"
    )]
    ChangedKey {
        /// The participant.
        participant: String,
        /// Its short name here.
        name: String,
    },
    /// It is not newer than the one that is registered.
    #[error(
        "the card of `{participant}` has number {number}, and number {registered} is registered; ask for the latest"
    )]
    NotNewer {
        /// The participant.
        participant: String,
        /// The card's number.
        number: u64,
        /// The registered number.
        registered: u64,
    },
    /// The name is taken.
    #[error("the name `{name}` belongs to `{participant}`; choose another with `--name`")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        participant: String,
    },
    /// The partner has a name, and it is another one.
    #[error("`{participant}` is registered as `{name}` already; leave `--name` out")]
    OtherName {
        /// The participant.
        participant: String,
        /// Its name.
        name: String,
    },
    /// The text is no name.
    #[error("{0}")]
    BadName(String),
    /// Something in the card or in what was declared cannot be registered.
    #[error("the card of `{participant}` cannot be registered: {reason}")]
    Unusable {
        /// The participant.
        participant: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registered file cannot be read or changed.
    #[error("{0}")]
    File(Problem),
}

/// What registering a card would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The partner as it will be.
    pub partner: PartnerFile,
    /// What to compare with the partner over another channel.
    pub fingerprint: Fingerprint,
    /// Whether a registered partner is updated, by a key that was compared before.
    pub is_update: bool,
    /// For an update: what changes, in words.
    pub changes: Vec<String>,
    text: String,
}

impl Plan {
    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<(), Problem> {
        edit::write(&self.partner.path, &self.text)
    }
}

/// Plans to register or update a partner by its card.
///
/// # Errors
/// When the card is a stranger's under a registered name, older, by another key, or not usable.
pub fn plan(
    directory: &Path,
    registry: &Registry,
    own: &ParticipantId,
    opened: &OpenedCard,
    declared: &Declared,
) -> Result<Plan, CardRefusal> {
    let card = &opened.card;
    let unusable =
        |reason: String| CardRefusal::Unusable { participant: card.participant.clone(), reason };
    let participant =
        ParticipantId::new(&card.participant).map_err(|error| unusable(error.to_string()))?;
    if participant == *own {
        return Err(CardRefusal::Own);
    }
    let present = registry.by_participant(&participant);
    let (name, mut document) = match present {
        Some(present) => (present.name().to_owned(), update_of(present, opened, declared)?),
        None => (new_name(directory, registry, card, declared)?, new_document()),
    };
    let changes = fill(&mut document, opened, declared).map_err(unusable)?;
    let path = present
        .map_or_else(|| directory.join(format!("{name}.toml")), |present| present.path.clone());
    let text = document.to_string();
    let partner = file::parse(&path, &name, &text).map_err(|problem| unusable(problem.message))?;
    let mut together = registry.clone();
    together.partners.insert(name, partner.clone());
    together.trust_store(0).map_err(|error| unusable(crate::site::chain(&error)))?;
    let is_update = present.is_some();
    let changes = if is_update { changes } else { Vec::new() };
    Ok(Plan { partner, fingerprint: opened.fingerprint(), is_update, changes, text })
}

/// The document of a registered partner, if the card may change it.
fn update_of(
    present: &PartnerFile,
    opened: &OpenedCard,
    declared: &Declared,
) -> Result<DocumentMut, CardRefusal> {
    let card = &opened.card;
    let participant = || card.participant.clone();
    if let Some(name) = declared.name.as_ref().filter(|name| *name != present.name()) {
        return Err(if file::check_name(name).is_ok() {
            CardRefusal::OtherName { participant: participant(), name: present.name().to_owned() }
        } else {
            CardRefusal::BadName(name.clone())
        });
    }
    let same = |key: &file::SigningKeyText| *key == key_text(opened);
    if present.signing_key.as_ref().is_some_and(|key| !same(key)) {
        return Err(CardRefusal::ChangedKey {
            participant: participant(),
            name: present.name().to_owned(),
        });
    }
    if let Some(registered) = present.partner.card_number.filter(|number| *number >= card.number) {
        return Err(CardRefusal::NotNewer {
            participant: participant(),
            number: card.number,
            registered,
        });
    }
    let path = &present.path;
    let text = std::fs::read_to_string(path)
        .map_err(|error| CardRefusal::File(Problem::unreadable(path, &error)))?;
    edit::parse(path, &text).map_err(CardRefusal::File)
}

/// The name of a new partner: as declared, else made from the last part of its id.
fn new_name(
    directory: &Path,
    registry: &Registry,
    card: &Card,
    declared: &Declared,
) -> Result<String, CardRefusal> {
    let name = declared.name.clone().unwrap_or_else(|| name_from(&card.participant));
    file::check_name(&name).map_err(CardRefusal::BadName)?;
    if let Some(taken) = registry.by_name(&name) {
        let participant = taken.partner.participant.as_str().to_owned();
        return Err(CardRefusal::NameTaken { name, participant });
    }
    let path = directory.join(format!("{name}.toml"));
    if path.exists() {
        let participant = format!("the unreadable file {}", path.display());
        return Err(CardRefusal::NameTaken { name, participant });
    }
    Ok(name)
}

/// `did:web:plant.b.example:jp` gives `plant.b.example-jp`.
fn name_from(participant: &str) -> String {
    let last = ["did:web:", "urn:uuid:", "urn:", "https://"]
        .iter()
        .find_map(|prefix| participant.strip_prefix(prefix))
        .unwrap_or(participant);
    let plain = |character: char| match character.to_ascii_lowercase() {
        kept @ ('a'..='z' | '0'..='9' | '.' | '_') => kept,
        _ => '-',
    };
    last.chars().map(plain).take(64).collect::<String>().trim_matches(['-', '.', '_']).to_owned()
}

fn key_text(opened: &OpenedCard) -> file::SigningKeyText {
    file::SigningKeyText {
        algorithm: opened.key.algorithm(),
        key: opened.key.public_key().to_vec(),
    }
}

const NEW_FILE: &str = r#"# A partner. A newer card replaces what came from its card, and nothing else.

# "active", or "suspended": everything is refused and what runs is cut.
state = "active"
# Groups, which policies name.
groups = []
# The country that you declare it to be in, as `JP` (ISO 3166-1): policies with `spatial` judge by it.
#region = ""
# Private or loopback networks in which it may be dialled. Without: public addresses only.
networks = []
# Networks that its connections must come from. Without: any.
connect_from = []
# Who decides in negotiations and transfers with it. "manual": a person or an application; "auto": never a person, so an
# offer that nobody asked for is refused. Without: as the offer's policy says, and an offer that nobody asked for waits.
#handling = "manual"

# From its card: who it is, where its connector is, and the key that signs its journal, provenance and cards.
id = ""
title = ""
dsp_endpoint = ""
origins = []
extensions = []
card_number = 0
signing_key = ""

[identity]
# From its card: the names in its certificates, one of which selects this partner, and the authorities that judge them.
san_uris = []
san_dns = []
server_anchors = []
client_anchors = []
signing_anchors = []
# Yours: SHA-256 of public keys that need no authority, and files of revocation lists beside this one.
pins = []
crls = []
"#;

fn new_document() -> DocumentMut {
    NEW_FILE.parse().unwrap_or_default()
}

/// Writes the card into the document, and says what that changed.
fn fill(
    document: &mut DocumentMut,
    opened: &OpenedCard,
    declared: &Declared,
) -> Result<Vec<String>, String> {
    let card = &opened.card;
    let before = document.clone();
    let endpoint = BaseUrl::new(&card.endpoint).map_err(|error| error.to_string())?;
    let mut origins = BTreeSet::from([file::origin_of(&endpoint)?.as_str().to_owned()]);
    for origin in &card.origins {
        let origin = origin.parse::<PublicUrl>().map_err(|error| error.to_string())?;
        origins.insert(origin.as_str().to_owned());
    }
    let number = i64::try_from(card.number).map_err(|_| "its number is too large".to_owned())?;
    let table = document.as_table_mut();
    edit::put(table, "id", card.participant.as_str());
    edit::put(table, "title", card.name.as_str());
    edit::put(table, "dsp_endpoint", endpoint.as_str());
    edit::put(table, "origins", list(&origins));
    edit::put(table, "extensions", list(&card.extensions));
    edit::put(table, "card_number", number);
    edit::put(table, "signing_key", key_text(opened).to_string());
    if !declared.groups.is_empty() {
        edit::put(table, "groups", list(&declared.groups));
    }
    if let Some(region) = &declared.region {
        edit::put(table, "region", region.as_str());
    }
    if !declared.networks.is_empty() {
        let networks = declared.networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        edit::put(table, "networks", list(&networks));
    }
    let identity = section(table, "identity")?;
    edit::put(identity, "san_uris", list(&card.san_uris));
    edit::put(identity, "san_dns", list(&card.san_dns));
    edit::put(identity, "server_anchors", pem(&card.server_anchors));
    edit::put(identity, "client_anchors", pem(&card.client_anchors));
    edit::put(identity, "signing_anchors", pem(&card.signing_anchors));
    match &card.ods {
        None => {
            table.remove("ods");
        }
        Some(ods) => {
            let section = section(table, "ods")?;
            edit::put(section, "operator_id", ods.operator_id.as_str());
            for (key, value) in [
                ("open_operator_id", &ods.open_operator_id),
                ("global_operator_id", &ods.global_operator_id),
            ] {
                match value {
                    Some(value) => edit::put(section, key, value.as_str()),
                    None => {
                        section.remove(key);
                    }
                }
            }
        }
    }
    Ok(differences(&before, document))
}

fn section<'table>(table: &'table mut Table, name: &str) -> Result<&'table mut Table, String> {
    table.entry(name).or_insert_with(|| Item::Table(Table::new())).as_table_mut().ok_or_else(|| {
        format!("`{name}` in the registered file is not a section; write it as `[{name}]`")
    })
}

fn list<Text: AsRef<str>>(texts: impl IntoIterator<Item = Text>) -> Value {
    Value::Array(texts.into_iter().map(|text| text.as_ref().to_owned()).collect::<Array>())
}

/// A list of one PEM text, over several lines.
fn pem(text: &str) -> Value {
    let text = text.trim_end();
    let literal = format!("[\"\"\"\n{text}\n\"\"\"]");
    // PEM has nothing that TOML would escape; anything else is quoted in full.
    literal.parse().unwrap_or_else(|_| list([text]))
}

fn differences(before: &DocumentMut, after: &DocumentMut) -> Vec<String> {
    let shown = |item: Option<&Item>| {
        item.map_or_else(|| "nothing".to_owned(), |item| item.to_string().trim().to_owned())
    };
    let mut changes = Vec::new();
    for key in ["title", "dsp_endpoint", "origins", "extensions", "card_number", "signing_key"] {
        let (old, new) = (shown(before.get(key)), shown(after.get(key)));
        if old != new {
            changes.push(format!("{key}: {old} becomes {new}"));
        }
    }
    let within = |document: &DocumentMut, section: &str, key: &str| {
        shown(document.get(section).and_then(|section| section.get(key)))
    };
    for (section, key) in
        [("identity", "san_uris"), ("identity", "san_dns"), ("ods", "operator_id")]
    {
        let (old, new) = (within(before, section, key), within(after, section, key));
        if old != new {
            changes.push(format!("{section}.{key}: {old} becomes {new}"));
        }
    }
    for key in ["server_anchors", "client_anchors", "signing_anchors"] {
        if within(before, "identity", key) != within(after, "identity", key) {
            changes.push(format!("identity.{key}: the authorities change"));
        }
    }
    changes
}
