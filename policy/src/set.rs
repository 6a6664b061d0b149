//! The set of policies that rules at a time: immutable, hashed, rebuilt from its sources.

mod groups;
mod index;
mod purposes;
#[cfg(test)]
mod tests;

use crate::classify::{Class, ClauseReport};
use crate::diagnostic::{Diagnostic, Spot};
use crate::evaluate::Subject;
use crate::file::places::Places;
use crate::file::{self, PolicyFile, RESTRICTIONS_FILE, Restriction, Restrictions};
use crate::{odrl, terms};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use crate::file::{Audience, Handling, Unhonoured};
pub use purposes::{Purpose, Purposes, PurposesError};

/// Groups of participants: name of the group, identifiers of its members.
pub type Groups = BTreeMap<String, BTreeSet<String>>;

/// One policy file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// File name with extension: `.toml` for a policy file, `.json` or `.jsonld` for ODRL.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Every policy that rules, and the words they use. Cheap to clone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Sources", try_from = "Sources")]
pub struct RuleSet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sources: Sources,
    hash: [u8; 32],
    policies: BTreeMap<String, Arc<CompiledPolicy>>,
    restrictions: Restrictions,
    by_dataset: BTreeMap<String, BTreeSet<String>>,
    by_tag: BTreeMap<String, BTreeSet<String>>,
    index: index::Index,
    unreadable: Vec<Diagnostic>,
}

/// What a set is stored as: everything to rebuild it, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    version: u32,
    files: BTreeMap<String, String>,
    groups: Groups,
    purposes: Purposes,
    #[serde(default, skip_serializing_if = "is_strict")]
    unhonoured: Unhonoured,
}

fn is_strict(unhonoured: &Unhonoured) -> bool {
    *unhonoured == Unhonoured::Refused
}

/// The version of [`Sources`] that this code writes and reads.
const STORED_VERSION: u32 = 1;

/// One policy, ready to offer and to judge by.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledPolicy {
    /// File name without extension.
    pub name: String,
    /// For people.
    pub title: String,
    /// For people.
    pub description: String,
    /// SHA-256 of the RFC 8785 form of [`Self::terms`]: equal terms have equal hashes.
    pub hash: [u8; 32],
    /// SHA-256 of the terms as the file alone says them: what another policy that names this one as the next must carry.
    pub own_sha256: [u8; 32],
    /// The terms as an ODRL Set without identifier, parties or target.
    pub template: odrl::Policy,
    /// The same as compact JSON.
    pub terms: Value,
    /// Who may know of the offer at all.
    pub audience: Audience,
    /// Identifiers of the datasets it offers.
    pub datasets: BTreeSet<String>,
    /// Tags of the datasets it offers.
    pub tags: BTreeSet<String>,
    /// Which offer of a dataset is shown first: the greater number.
    pub priority: i32,
    /// How far each clause is honoured.
    pub clauses: Vec<ClauseReport>,
    /// The file it was read from.
    pub file: String,
    /// Where its clauses stand in the file.
    pub places: Places,
    /// Who decides on requests for the offer.
    pub handling: Handling,
}

/// Why a stored set cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// Written by a later version.
    #[error("the stored rule set has version {found}; this program knows version {STORED_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
}

impl RuleSet {
    /// Compiles policy files. Either all are right, or there is no set.
    ///
    /// # Errors
    /// Every finding in every file.
    pub fn compile(
        sources: &[Source],
        groups: &Groups,
        purposes: &Purposes,
    ) -> Result<Self, Vec<Diagnostic>> {
        Self::compile_with(sources, groups, purposes, Unhonoured::Refused)
    }

    /// The same, where it is said what is done with clauses that this release cannot honour.
    ///
    /// # Errors
    /// Every finding in every file.
    pub fn compile_with(
        sources: &[Source],
        groups: &Groups,
        purposes: &Purposes,
        unhonoured: Unhonoured,
    ) -> Result<Self, Vec<Diagnostic>> {
        let compiled = Compiled::new(sources, groups, purposes, unhonoured);
        if !compiled.findings.is_empty() {
            return Err(compiled.findings);
        }
        let text = |source: &Source| String::from_utf8_lossy(&source.bytes).into_owned();
        let files = sources.iter().map(|source| (source.name.clone(), text(source))).collect();
        let sources = Sources {
            version: STORED_VERSION,
            files,
            groups: groups.clone(),
            purposes: purposes.clone(),
            unhonoured,
        };
        Ok(Self { inner: Arc::new(Inner::new(sources, compiled)) })
    }

    /// Puts a set that ruled once together again. What this release cannot read denies: a policy is offered to nobody, and
    /// without the site's restrictions nothing is permitted. The sources stay as they are, and so does the hash.
    fn restored(sources: Sources) -> Self {
        let files: Vec<_> = (sources.files.iter())
            .map(|(name, text)| Source { name: name.clone(), bytes: text.clone().into_bytes() })
            .collect();
        let compiled =
            Compiled::new(&files, &sources.groups, &sources.purposes, sources.unhonoured);
        Self { inner: Arc::new(Inner::new(sources, compiled)) }
    }

    /// The set in force under other groups. What cannot be read under them denies, as what cannot be read of a stored set.
    #[must_use]
    pub fn among(&self, groups: &Groups) -> Self {
        Self::restored(Sources { groups: groups.clone(), ..self.inner.sources.clone() })
    }

    /// The set in force under other groups, with other restrictions; none where those cannot be read, or lift one of those in
    /// force.
    #[must_use]
    pub fn restricted_by(&self, restrictions: &Source, groups: &Groups) -> Option<Self> {
        let text = String::from_utf8(restrictions.bytes.clone()).ok()?;
        let mut sources = Sources { groups: groups.clone(), ..self.inner.sources.clone() };
        sources.files.insert(RESTRICTIONS_FILE.to_owned(), text);
        let set = Self::restored(sources);
        let is_read = !set.unreadable().iter().any(|found| found.file == RESTRICTIONS_FILE);
        let kept = |before: &Restriction| {
            let mut now = set.restrictions().list.iter();
            now.any(|now| {
                now.audience == before.audience
                    && now.datasets == before.datasets
                    && now.tags == before.tags
                    && now.terms == before.terms
            })
        };
        (is_read && self.restrictions().list.iter().all(kept)).then_some(set)
    }

    /// The same policies under other groups, to be put in force again.
    ///
    /// # Errors
    /// Every finding: a rule of the language may have changed, or a group be misspelt under the names of now.
    pub fn regrouped(
        &self,
        groups: &Groups,
        unhonoured: Unhonoured,
    ) -> Result<Self, Vec<Diagnostic>> {
        let sources: Vec<_> = (self.files())
            .map(|(name, text)| Source { name: name.to_owned(), bytes: text.as_bytes().to_vec() })
            .collect();
        Self::compile_with(&sources, groups, self.purposes(), unhonoured)
    }

    /// A set without policies: nothing is offered.
    #[must_use]
    pub fn empty() -> Self {
        let sources = Sources {
            version: STORED_VERSION,
            files: BTreeMap::new(),
            groups: Groups::new(),
            purposes: Purposes::default(),
            unhonoured: Unhonoured::Refused,
        };
        Self { inner: Arc::new(Inner::new(sources, Compiled::default())) }
    }

    /// SHA-256 over all sources, groups and purposes: the identity of the set in the journal.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.inner.hash
    }

    /// The purposes and their hierarchy.
    #[must_use]
    pub fn purposes(&self) -> &Purposes {
        &self.inner.sources.purposes
    }

    /// The groups that the set was compiled with.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.inner.sources.groups
    }

    /// The groups of a participant.
    #[must_use]
    pub fn groups_of(&self, participant: &str) -> BTreeSet<String> {
        let groups = self.inner.sources.groups.iter();
        groups
            .filter(|(_, members)| members.contains(participant))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Every policy, by name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<CompiledPolicy>> {
        self.inner.policies.values()
    }

    /// The policy of a name.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<CompiledPolicy>> {
        self.inner.policies.get(name)
    }

    /// The policies under which a dataset is offered, by priority and name: those that name its identifier or
    /// one of its tags, and those that were assigned to it by name. Looks only at those.
    pub fn policies_for<'t>(
        &self,
        dataset: &str,
        tags: impl IntoIterator<Item = &'t str>,
        assigned: impl IntoIterator<Item = &'t str>,
    ) -> Vec<&Arc<CompiledPolicy>> {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let named = self.inner.by_dataset.get(dataset);
        let tagged = tags.into_iter().filter_map(|tag| self.inner.by_tag.get(tag));
        names.extend(named.into_iter().chain(tagged).flatten().map(String::as_str));
        let assigned =
            assigned.into_iter().filter_map(|name| self.inner.policies.get_key_value(name));
        names.extend(assigned.map(|(name, _)| name.as_str()));
        let mut found: Vec<_> =
            names.into_iter().filter_map(|name| self.inner.policies.get(name)).collect();
        // Stable: equals stay in the order of their names.
        found.sort_by_key(|policy| std::cmp::Reverse(policy.priority));
        found
    }

    /// The policy to which one ODRL file of the set gives an identifier (`uid`, `@id`), as `nextPolicy` names it.
    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<CompiledPolicy>> {
        let mut found = self.inner.policies.values().filter(|policy| {
            file::identified(&policy.file, self.text(&policy.file).as_bytes())
                .is_some_and(|(odrl, _)| odrl.uid == uid)
        });
        found.next().filter(|_| found.next().is_none())
    }

    /// The policies among [`Self::policies_for`] that a subject may see and that permit an action, in the same order.
    /// However many policies there are, it looks only at those for the subject.
    pub fn offered_to<'t>(
        &self,
        subject: &Subject,
        dataset: &str,
        tags: impl IntoIterator<Item = &'t str>,
        assigned: impl IntoIterator<Item = &'t str>,
        action: &str,
    ) -> Vec<&Arc<CompiledPolicy>> {
        let mut found = Vec::new();
        self.inner.index.find(dataset, tags, subject, action, &mut found);
        let assigned = assigned.into_iter().filter_map(|name| self.inner.policies.get(name));
        found.extend(assigned.filter(|policy| index::permits(policy, action)));
        found.retain(|policy| policy.is_visible_to(subject));
        found.sort_by(|one, other| {
            (other.priority.cmp(&one.priority)).then_with(|| one.name.cmp(&other.name))
        });
        found.dedup_by(|one, other| one.name == other.name);
        found
    }

    /// The policies that a subject may see and that permit an action, of whatever datasets; in no order, and some more than
    /// once. It looks only at those that name the subject, one of its groups, or everyone, and no further than it is asked.
    /// Which of them hold now is for evaluation to say.
    pub fn visible_to(
        &self,
        subject: &Subject,
        action: &str,
    ) -> impl Iterator<Item = &Arc<CompiledPolicy>> {
        let found = self.inner.index.of(subject);
        found.filter(move |policy| index::permits(policy, action) && policy.is_visible_to(subject))
    }

    /// What the site prohibits whatever its policies and agreements permit.
    #[must_use]
    pub fn restrictions(&self) -> &Restrictions {
        &self.inner.restrictions
    }

    /// What this release cannot read of a set that an earlier one put in force. It denies: a policy is offered to nobody, and
    /// where it is the site's restrictions, nothing is permitted.
    #[must_use]
    pub fn unreadable(&self) -> &[Diagnostic] {
        &self.inner.unreadable
    }

    /// The files of the set with their texts, by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inner.sources.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The text of one of its files, without byte order mark; empty where there is none of that name.
    #[must_use]
    pub fn text(&self, file: &str) -> &str {
        let text = self.inner.sources.files.get(file).map_or("", String::as_str);
        text.strip_prefix('\u{FEFF}').unwrap_or(text)
    }
}

/// The ODRL files whose policies have an identifier, by which others name them.
#[derive(Default)]
struct Identified {
    /// The policies, for those that inherit from them.
    policies: BTreeMap<String, odrl::Policy>,
    /// The names of their files.
    files: BTreeMap<String, String>,
    /// Identifiers that two files have. Neither is found by it.
    findings: Vec<Diagnostic>,
}

impl Identified {
    fn new(sources: &[Source]) -> Self {
        let mut found: BTreeMap<String, Vec<(&Source, odrl::Policy, Spot)>> = BTreeMap::new();
        for source in sources {
            if let Some((policy, spot)) = file::identified(&source.name, &source.bytes) {
                found.entry(policy.uid.clone()).or_default().push((source, policy, spot));
            }
        }
        let mut identified = Self::default();
        for (uid, mut found) in found {
            match (found.pop(), found.first()) {
                (Some((source, policy, _)), None) => {
                    identified.files.insert(uid.clone(), source.name.clone());
                    identified.policies.insert(uid, policy);
                }
                (Some((source, _, spot)), Some((other, _, place))) => {
                    let message = format!(
                        "the identifier `{uid}` is that of {}:{}:{} as well",
                        other.name, place.line, place.column
                    );
                    let help = "give each policy an identifier of its own";
                    let text = String::from_utf8_lossy(&source.bytes);
                    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
                    let finding = Diagnostic::spotted(&source.name, text, spot, message, help);
                    identified.findings.push(finding);
                }
                (None, _) => {}
            }
        }
        identified
    }
}

/// The sources of a set, compiled as far as they are right.
#[derive(Default)]
struct Compiled {
    policies: BTreeMap<String, Arc<CompiledPolicy>>,
    restrictions: Restrictions,
    findings: Vec<Diagnostic>,
}

impl Compiled {
    fn new(
        sources: &[Source],
        groups: &Groups,
        purposes: &Purposes,
        unhonoured: Unhonoured,
    ) -> Self {
        let identified = Identified::new(sources);
        let parents = &identified.policies;
        let words = file::Words { groups, purposes, parents, unhonoured };
        let mut compiled = Self { findings: identified.findings, ..Self::default() };
        for source in sources {
            if let Err(errors) = compiled.add(source, &words) {
                compiled.findings.extend(errors);
            }
        }
        compiled.name_next_policies(sources, &identified.files);
        compiled
    }

    /// Says in each duty `nextPolicy` what the policy that it names says, from its file here. A policy that names none, or one
    /// of no file, is left out: nobody could show that something is as strict.
    fn name_next_policies(&mut self, sources: &[Source], files: &BTreeMap<String, String>) {
        let policies = self.policies.values();
        let said: BTreeMap<&str, [u8; 32]> =
            policies.map(|policy| (policy.file.as_str(), policy.own_sha256)).collect();
        let said: BTreeMap<&str, [u8; 32]> = (files.iter())
            .filter_map(|(uid, file)| Some((uid.as_str(), *said.get(file.as_str())?)))
            .collect();
        let (mut named, mut left_out) = (Vec::new(), Vec::new());
        for policy in self.policies.values() {
            let mut policy = CompiledPolicy::clone(policy);
            match policy.name_next(&said) {
                Ok(false) => {}
                Ok(true) => named.push(policy),
                Err((spot, message, help)) => {
                    let source = sources.iter().find(|source| source.name == policy.file);
                    let bytes = source.map(|source| source.bytes.as_slice()).unwrap_or_default();
                    let text = String::from_utf8_lossy(bytes);
                    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
                    let finding = Diagnostic::spotted(&policy.file, text, spot, message, help);
                    self.findings.push(finding);
                    left_out.push(policy.name);
                }
            }
        }
        self.policies
            .extend(named.into_iter().map(|policy| (policy.name.clone(), Arc::new(policy))));
        self.policies.retain(|name, _| !left_out.contains(name));
    }

    fn add(&mut self, source: &Source, words: &file::Words<'_>) -> Result<(), Vec<Diagnostic>> {
        if source.name == RESTRICTIONS_FILE {
            // Of an unreadable prohibition nobody knows what it leaves permitted.
            self.restrictions = Restrictions::unreadable();
            self.restrictions = file::read_restrictions(&source.bytes, words)?;
            return Ok(());
        }
        let policy = file::read(&source.name, &source.bytes, words)
            .and_then(|read| CompiledPolicy::new(source, read, words.unhonoured))?;
        match self.policies.entry(policy.name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(policy));
                Ok(())
            }
            Entry::Occupied(_) => Err(vec![Diagnostic::at(
                &source.name,
                "",
                0..0,
                format!("there are two policies named `{}`", policy.name),
                "give one of the files another name",
            )]),
        }
    }
}

impl Inner {
    fn new(sources: Sources, compiled: Compiled) -> Self {
        let Compiled { policies, restrictions, findings: unreadable } = compiled;
        let mut by_dataset: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut by_tag: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for policy in policies.values() {
            for dataset in &policy.datasets {
                by_dataset.entry(dataset.clone()).or_default().insert(policy.name.clone());
            }
            for tag in &policy.tags {
                by_tag.entry(tag.clone()).or_default().insert(policy.name.clone());
            }
        }
        let index = index::Index::new(&policies);
        let hash = sources.hash();
        Self { hash, sources, policies, restrictions, by_dataset, by_tag, index, unreadable }
    }
}

impl Sources {
    /// Length-prefixed, so that no two different sets give the same bytes.
    fn hash(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut add = |part: &str| {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        };
        add("sekisho rule set 1");
        add("files");
        for (name, text) in &self.files {
            add(name);
            add(text);
        }
        add("groups");
        for (name, members) in &self.groups {
            add(name);
            add(&members.len().to_string());
            members.iter().for_each(|member| add(member));
        }
        add("purposes");
        for (name, purpose) in self.purposes.iter() {
            add(name);
            add(&purpose.title);
            add(&purpose.part_of.len().to_string());
            purpose.part_of.iter().for_each(|wider| add(wider));
        }
        if self.unhonoured == Unhonoured::Named {
            add("not strict");
        }
        digest.finalize().into()
    }
}

impl From<RuleSet> for Sources {
    fn from(set: RuleSet) -> Self {
        set.inner.sources.clone()
    }
}

impl TryFrom<Sources> for RuleSet {
    type Error = RebuildError;

    fn try_from(stored: Sources) -> Result<Self, Self::Error> {
        if stored.version != STORED_VERSION {
            return Err(RebuildError::Version { found: stored.version });
        }
        Ok(Self::restored(stored))
    }
}

impl PartialEq for RuleSet {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Eq for RuleSet {}

impl CompiledPolicy {
    fn new(
        source: &Source,
        read: PolicyFile,
        unhonoured: Unhonoured,
    ) -> Result<Self, Vec<Diagnostic>> {
        let file_name = source.name.as_str();
        let terms = read.terms.to_json();
        let hash = odrl::canonical_hash(&terms).map_err(|error| {
            let help = "write numbers beyond 2^53 as text";
            vec![Diagnostic::at(file_name, "", 0..0, error.to_string(), help)]
        })?;
        let clauses = crate::classify::classify(&read.terms);
        let refused = clauses.iter().filter(|clause| clause.class == Class::Refused);
        let refused: Vec<Diagnostic> = refused
            .map(|clause| {
                let message = format!("{}: `{}`: {}", clause.place, clause.clause, clause.note);
                let help = "this node refuses what it cannot honour; remove the clause";
                let bytes = source.bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(&source.bytes);
                let text = String::from_utf8_lossy(bytes);
                let spot = file::clause_spot(file_name, &text, &read.places, &read.terms, clause);
                Diagnostic::spotted(file_name, &text, spot, message, help)
            })
            .collect();
        if unhonoured == Unhonoured::Refused && !refused.is_empty() {
            return Err(refused);
        }
        Ok(Self {
            name: file::stem(file_name).to_owned(),
            title: read.title,
            description: read.description,
            hash,
            own_sha256: hash,
            template: read.terms,
            terms,
            audience: read.audience,
            datasets: read.datasets,
            tags: read.tags,
            priority: read.priority,
            clauses,
            file: file_name.to_owned(),
            places: read.places,
            handling: read.handling,
        })
    }

    /// Says in each duty `nextPolicy` what the policies that they name say, by identifier. Whether there was one.
    fn name_next(
        &mut self,
        said: &BTreeMap<&str, [u8; 32]>,
    ) -> Result<bool, (Spot, String, &'static str)> {
        let mut any = false;
        let rules = self.template.permissions.iter_mut().zip(&self.places.permissions);
        let before = rules.flat_map(|(rule, place)| {
            let spots = place.duties.iter().copied().chain(std::iter::repeat(place.rule));
            rule.duties.iter_mut().zip(spots)
        });
        let spots =
            self.places.obligations.iter().copied().chain(std::iter::repeat(Spot::default()));
        let after = self.template.obligations.iter_mut().zip(spots);
        for (duty, spot) in before.chain(after).filter(|(duty, _)| duty.is_next_policy()) {
            let Some(target) = &duty.target else {
                let help = "name it: policy = \"urn:…\" beside the action (in ODRL, the `target` of the duty); or remove the duty: what is passed on is then bound by these terms";
                let message = "the duty `nextPolicy` does not name the policy".to_owned();
                return Err((spot, message, help));
            };
            let Some(digest) = said.get(target.id.as_str()) else {
                let message = format!("`{}` is not the identifier of a policy here", target.id);
                let help = "put the policy beside this one as NAME.jsonld with that `@id`: partners are bound by what it says";
                return Err((spot, message, help));
            };
            if duty.target_sha256.is_some_and(|given| given != *digest) {
                let message =
                    format!("`{}` says something else than the SHA-256 given here", target.id);
                return Err((spot, message, "remove the SHA-256: it is added from the file"));
            }
            (duty.target_sha256, any) = (Some(*digest), true);
        }
        if any {
            self.terms = self.template.to_json();
            self.hash = odrl::canonical_hash(&self.terms).map_err(|error| {
                (Spot::default(), error.to_string(), "write numbers beyond 2^53 as text")
            })?;
        }
        Ok(any)
    }

    /// Whether a participant may know of the offer. This decides what its catalog shows and what it
    /// may negotiate; the rules of the policy are judged besides.
    #[must_use]
    pub fn is_visible_to(&self, subject: &Subject) -> bool {
        self.audience.includes(subject)
    }

    /// The identifier of the policy as it is exported: the SHA-256 of its terms, and of its name the first 16 digits of the
    /// SHA-256. So two policies of equal terms are two, and an edited one is another.
    #[must_use]
    pub fn uid(&self) -> String {
        let name = hex::encode(Sha256::digest(&self.name));
        let name = name.get(..16).unwrap_or(&name);
        format!("urn:sekisho:policy:{}:{name}", hex::encode(self.hash))
    }

    /// The identifier of the offer on a dataset. It follows from the policy's name, its terms and
    /// the dataset: an edited policy is a new offer.
    #[must_use]
    pub fn offer_id(&self, dataset: &str) -> String {
        let mut digest = Sha256::new();
        digest.update(self.hash);
        for part in [self.name.as_str(), dataset] {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        format!("urn:sekisho:offer:{}", hex::encode(digest.finalize()))
    }

    /// The offer on a dataset as it stands in a catalog: compact JSON without target.
    #[must_use]
    pub fn offer_for(&self, dataset: &str, assigner: &str) -> Value {
        terms::offer(&self.terms, &self.offer_id(dataset), assigner)
    }

    /// The same offer as messages carry it: with target.
    #[must_use]
    pub fn message_offer_for(&self, dataset: &str, assigner: &str) -> Value {
        terms::message_offer(&self.offer_for(dataset, assigner), dataset)
    }
}
