//! What the two nodes know: each other, a policy, a dataset.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use policy::set::{Groups, Purposes, RuleSet, Source as PolicySource};
use protocol::id::DatasetId;
use sha2::{Digest as _, Sha256};

use super::{CONSUMER, DATASET, PROVIDER, World};
use crate::Key;
use crate::entity::{Dataset, Digests, Location, Partner, PartnerState, Rules};

pub(in crate::tests) fn partner(participant: &str) -> Partner {
    let name = participant.rsplit(':').next().unwrap();
    Partner {
        v: 1,
        participant: participant.parse().unwrap(),
        name: name.to_owned(),
        title: name.to_owned(),
        state: PartnerState::Active,
        groups: BTreeSet::new(),
        region: Some("JP".to_owned()),
        operator_id: None,
        attributes: Default::default(),
        credentials: Vec::new(),
        dsp_endpoint: format!("https://{name}.example/dsp"),
        origins: BTreeSet::from([format!("https://{name}.example")]),
        signing_key: None,
        card_number: None,
        extensions: BTreeSet::from(["purpose/1".to_owned()]),
        handling: None,
        file_sha256: "00".repeat(32),
    }
}

pub(in crate::tests) fn dataset(id: &str, version: &str) -> Dataset {
    Dataset {
        v: 1,
        id: id.parse().unwrap(),
        title: "Carbon footprints".to_owned(),
        description: None,
        version: version.to_owned(),
        last_number: 0,
        language: None,
        licence: None,
        confidentiality: None,
        tags: BTreeSet::new(),
        policies: BTreeSet::new(),
        media_type: "text/csv".to_owned(),
        file_name: "footprints.csv".to_owned(),
        digests: Digests {
            sha256: hex::encode(Sha256::digest(version)),
            blake3: "00".repeat(32),
            size: 1000,
        },
        location: Location::Stored,
        published: Timestamp::UNIX_EPOCH,
        withdrawn: None,
        damaged: None,
        derived_from: Vec::new(),
    }
}

/// A rule set of one policy for the consumer and the dataset.
pub(in crate::tests) fn rules(conditions: &str) -> Rules {
    restricted_rules(conditions, "")
}

/// The same under restrictions of the site.
pub(in crate::tests) fn restricted_rules(conditions: &str, restrictions: &str) -> Rules {
    let text = format!(
        "title = \"t\"\n[who]\npartners = [\"{CONSUMER}\"]\n[what]\ndatasets = [\"{DATASET}\"]\n\
         [[permit]]\nactions = [\"use\"]\nwhen = [{conditions}]\n"
    );
    let files = [("offer.toml", text.as_str()), (policy::file::RESTRICTIONS_FILE, restrictions)];
    let sources: Vec<_> = (files.into_iter().filter(|(_, text)| !text.is_empty()))
        .map(|(name, text)| PolicySource { name: name.to_owned(), bytes: text.as_bytes().to_vec() })
        .collect();
    let set = RuleSet::compile(&sources, &Groups::new(), &Purposes::default()).unwrap();
    Rules { v: 1, hash: hex::encode(set.hash()), set: Arc::new(set) }
}

/// A consumer and a provider that know each other, and a dataset offered under conditions.
pub(in crate::tests) fn pair(conditions: &str) -> (World, World) {
    let (mut consumer, mut provider) = (World::new(CONSUMER), World::new(PROVIDER));
    consumer.put(Key::Partner(PROVIDER.parse().unwrap()), partner(PROVIDER));
    provider.put(Key::Partner(CONSUMER.parse().unwrap()), partner(CONSUMER));
    provider.put(Key::Rules, rules(conditions));
    provider.put(Key::Dataset(dataset_id()), dataset(DATASET, "1"));
    (consumer, provider)
}

pub(in crate::tests) fn dataset_id() -> DatasetId {
    DATASET.parse().unwrap()
}
