//! Offers and agreements as they go over the wire: their identifiers checked, their rules kept as they came.
//!
//! What the rules mean is for the `policy` crate to say. A value that was read is kept member for member, because what
//! was agreed is what was sent. A value that is to be sent is made by `new`, which accepts only what the official
//! schemas do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::{Members, Node, put, put_list, term};
use super::{WireError, WireFault};
use crate::id::{AgreementId, DatasetId, OfferId, ParticipantId};

/// An offer of a catalog (`hasPolicy`): it applies to the dataset that has it, so it has no target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct CatalogOffer {
    id: OfferId,
    document: Value,
}

/// An offer of a negotiation message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct MessageOffer {
    id: OfferId,
    target: DatasetId,
    document: Value,
}

/// An agreement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Agreement {
    id: AgreementId,
    target: DatasetId,
    assigner: ParticipantId,
    assignee: ParticipantId,
    timestamp: Option<Timestamp>,
    document: Value,
}

/// Who agrees on what: the members of an agreement that are not rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreementTerms {
    /// What the agreement is called.
    pub id: AgreementId,
    /// The dataset.
    pub target: DatasetId,
    /// The provider.
    pub assigner: ParticipantId,
    /// The consumer.
    pub assignee: ParticipantId,
    /// When it was made (UTC).
    pub timestamp: Timestamp,
}

impl CatalogOffer {
    /// An offer to send with the rules of `policy`, an ODRL policy in compact form. A target of the policy is left out:
    /// the dataset that has the offer is its target.
    ///
    /// # Errors
    /// When the rules do not fit the official schema.
    pub fn new(id: &OfferId, policy: &Value) -> Result<Self, WireError> {
        let mut members = Members::new();
        put(&mut members, "@id", id.as_str());
        put(&mut members, "@type", "Offer");
        put_rules(&mut members, policy, None, "Offer")?;
        Ok(Self { id: id.clone(), document: Value::Object(members) })
    }

    /// What the offer is called.
    #[must_use]
    pub fn id(&self) -> &OfferId {
        &self.id
    }

    /// The whole offer in compact form.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The offer of the dataset `target`, as a request repeats it unchanged.
    ///
    /// # Errors
    /// When the offer's rules do not fit the official schema.
    pub fn for_dataset(&self, target: &DatasetId) -> Result<MessageOffer, WireError> {
        MessageOffer::new(&self.id, target, &self.document)
    }

    pub(super) fn read(node: &Node<'_>) -> Result<Self, WireError> {
        check_type(node, "Offer")?;
        Ok(Self { id: node.required("@id")?.id()?, document: node.value().clone() })
    }
}

impl MessageOffer {
    /// An offer to send with the rules of `policy`, an ODRL policy in compact form.
    ///
    /// # Errors
    /// When the rules do not fit the official schema.
    pub fn new(id: &OfferId, target: &DatasetId, policy: &Value) -> Result<Self, WireError> {
        let mut members = Members::new();
        put(&mut members, "@id", id.as_str());
        put(&mut members, "@type", "Offer");
        put(&mut members, "target", target.as_str());
        put_rules(&mut members, policy, Some(target.as_str()), "Offer")?;
        Ok(Self { id: id.clone(), target: target.clone(), document: Value::Object(members) })
    }

    /// What the offer is called.
    #[must_use]
    pub fn id(&self) -> &OfferId {
        &self.id
    }

    /// The dataset.
    #[must_use]
    pub fn target(&self) -> &DatasetId {
        &self.target
    }

    /// The whole offer in compact form.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    pub(super) fn read(node: &Node<'_>) -> Result<Self, WireError> {
        check_type(node, "Offer")?;
        Ok(Self {
            id: node.required("@id")?.id()?,
            target: node.required("target")?.id()?,
            document: node.value().clone(),
        })
    }
}

impl Agreement {
    /// An agreement to send with the rules of `policy`, an ODRL policy in compact form.
    ///
    /// # Errors
    /// When the rules do not fit the official schema.
    pub fn new(terms: &AgreementTerms, policy: &Value) -> Result<Self, WireError> {
        let mut members = Members::new();
        put(&mut members, "@id", terms.id.as_str());
        put(&mut members, "@type", "Agreement");
        put(&mut members, "target", terms.target.as_str());
        put(&mut members, "assigner", terms.assigner.as_str());
        put(&mut members, "assignee", terms.assignee.as_str());
        put(&mut members, "timestamp", &terms.timestamp.to_string());
        put_rules(&mut members, policy, Some(terms.target.as_str()), "Agreement")?;
        Ok(Self {
            id: terms.id.clone(),
            target: terms.target.clone(),
            assigner: terms.assigner.clone(),
            assignee: terms.assignee.clone(),
            timestamp: Some(terms.timestamp),
            document: Value::Object(members),
        })
    }

    /// What the agreement is called.
    #[must_use]
    pub fn id(&self) -> &AgreementId {
        &self.id
    }

    /// The dataset.
    #[must_use]
    pub fn target(&self) -> &DatasetId {
        &self.target
    }

    /// The provider.
    #[must_use]
    pub fn assigner(&self) -> &ParticipantId {
        &self.assigner
    }

    /// The consumer.
    #[must_use]
    pub fn assignee(&self) -> &ParticipantId {
        &self.assignee
    }

    /// When it was made, when it says so.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// The whole agreement in compact form.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    pub(super) fn read(node: &Node<'_>) -> Result<Self, WireError> {
        check_type(node, "Agreement")?;
        Ok(Self {
            id: node.required("@id")?.id()?,
            target: node.required("target")?.id()?,
            assigner: node.required("assigner")?.id()?,
            assignee: node.required("assignee")?.id()?,
            timestamp: node.optional("timestamp")?.map(|time| read_timestamp(&time)).transpose()?,
            document: node.value().clone(),
        })
    }
}

macro_rules! documents {
    ($($name:ident)*) => {$(
        impl TryFrom<Value> for $name {
            type Error = WireError;

            fn try_from(document: Value) -> Result<Self, WireError> {
                Self::read(&Node::root(&document, stringify!($name)))
            }
        }

        impl From<$name> for Value {
            fn from(policy: $name) -> Self {
                policy.document
            }
        }
    )*};
}

documents! { CatalogOffer MessageOffer Agreement }

fn check_type(node: &Node<'_>, expected: &'static str) -> Result<(), WireError> {
    let Some(kind) = node.optional("@type")? else { return Ok(()) };
    let named = |item: &Node<'_>| item.value().as_str().is_some_and(|name| odrl(name) == expected);
    if kind.items().any(|item| named(&item)) {
        Ok(())
    } else {
        Err(kind.refuse(WireFault::Type { expected }))
    }
}

/// An instant as XML Schema writes it; without a zone it is UTC, as peers that omit it mean.
fn read_timestamp(node: &Node<'_>) -> Result<Timestamp, WireError> {
    let text = node.value().get("@value").unwrap_or(node.value()).as_str().unwrap_or_default();
    text.parse()
        .or_else(|_| format!("{text}Z").parse())
        .map_err(|_| node.refuse(WireFault::Timestamp))
}

/// The members that `new` writes itself.
const OWN_MEMBERS: [&str; 10] = [
    "profile",
    "@context",
    "@id",
    "@type",
    "uid",
    "target",
    "timestamp",
    "permission",
    "prohibition",
    "obligation",
];
const CONNECTIVES: [&str; 4] = ["and", "andSequence", "or", "xone"];
const OPERATORS: [&str; 13] = [
    "eq",
    "gt",
    "gteq",
    "lteq",
    "hasPart",
    "isA",
    "isAllOf",
    "isAnyOf",
    "isNoneOf",
    "isPartOf",
    "lt",
    "term-lteq",
    "neq",
];

/// The left operands of ODRL (ODRL vocabulary, 3.6 and 4.3).
const LEFT_OPERANDS: [&str; 33] = [
    "absolutePosition",
    "absoluteSize",
    "absoluteSpatialPosition",
    "absoluteTemporalPosition",
    "count",
    "dateTime",
    "delayPeriod",
    "deliveryChannel",
    "device",
    "elapsedTime",
    "event",
    "fileFormat",
    "industry",
    "language",
    "media",
    "meteredTime",
    "payAmount",
    "percentage",
    "product",
    "purpose",
    "recipient",
    "relativePosition",
    "relativeSize",
    "relativeSpatialPosition",
    "relativeTemporalPosition",
    "resolution",
    "spatial",
    "spatialCoordinates",
    "systemDevice",
    "timeInterval",
    "unitOfCount",
    "version",
    "virtualLocation",
];

/// The actions of ODRL (ODRL vocabulary, 3.7 and 4.4) that DSP's context does not name.
const ACTIONS: [&str; 42] = [
    "acceptTracking",
    "aggregate",
    "annotate",
    "anonymize",
    "archive",
    "attribute",
    "compensate",
    "concurrentUse",
    "delete",
    "derive",
    "digitize",
    "display",
    "distribute",
    "ensureExclusivity",
    "execute",
    "extract",
    "give",
    "grantUse",
    "include",
    "index",
    "inform",
    "install",
    "modify",
    "move",
    "nextPolicy",
    "obtainConsent",
    "play",
    "present",
    "print",
    "read",
    "reproduce",
    "reviewPolicy",
    "sell",
    "share",
    "stream",
    "synchronize",
    "textToSpeech",
    "transfer",
    "transform",
    "translate",
    "uninstall",
    "watermark",
];

/// Writes the rules of `policy` as the official schema wants them: lists as lists, none of them empty, actions, operators
/// and left operands as strings, no target of a rule.
fn put_rules(
    members: &mut Members,
    policy: &Value,
    target: Option<&str>,
    name: &'static str,
) -> Result<(), WireError> {
    let node = Node::root(policy, name);
    let own_target = node.optional("target")?;
    if let (Some(own), Some(expected)) = (&own_target, target) {
        check_target(own, expected)?;
    }
    let own_target = own_target.map(|own| own.id_text()).transpose()?;
    let target = target.or(own_target);
    for key in ["permission", "prohibition", "obligation"] {
        let rules = node.list(key, |rule| rules_to_send(rule, target))?;
        put_list(members, key, rules.into_iter().flatten());
    }
    if !members.contains_key("permission") && !members.contains_key("prohibition") {
        return Err(node.refuse(WireFault::NoRule));
    }
    // One profile is a plain string, which every reader of the schema takes.
    match node.list("profile", |profile| profile.scalar())?.as_slice() {
        [] => {}
        [profile] => put(members, "profile", profile),
        profiles => put_list(members, "profile", profiles.iter().map(|name| name.as_str().into())),
    }
    for (key, value) in node.members()? {
        if !OWN_MEMBERS.contains(&key.as_str()) && !value.is_null() {
            members.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}

fn check_target(node: &Node<'_>, expected: &str) -> Result<(), WireError> {
    if node.id_text()? == expected {
        Ok(())
    } else {
        Err(node.refuse(WireFault::Contradiction { other: "the dataset" }))
    }
}

/// A rule with several actions is short for several rules (ODRL IM 2.7.1); the schema has one action each.
fn rules_to_send(rule: &Node<'_>, target: Option<&str>) -> Result<Vec<Value>, WireError> {
    let mut members = rule.members()?.clone();
    match rule.optional("target")? {
        // The duty's target is a policy (ODRL vocabulary, `nextPolicy`), so it says something of its own.
        Some(own) if is_next_policy(rule)? => put(&mut members, "target", own.id_text()?),
        // Any other rule that names a target is about something else, unless it repeats the dataset.
        Some(own) => {
            check_target(&own, target.unwrap_or_default())?;
            members.shift_remove("target");
        }
        None => {}
    }
    replace_list(&mut members, rule, "constraint", |constraint| {
        Ok(vec![constraint_to_send(constraint)?])
    })?;
    for key in ["duty", "remedy", "consequence"] {
        replace_list(&mut members, rule, key, |duty| rules_to_send(duty, target))?;
    }
    let actions = rule.required("action")?;
    let rules: Vec<Value> = actions
        .items()
        .map(|action| {
            let mut members = members.clone();
            put(&mut members, "action", &in_context(action_to_send(&action)?, &ACTIONS));
            Ok(Value::Object(members))
        })
        .collect::<Result<_, WireError>>()?;
    if rules.is_empty() { Err(actions.refuse(WireFault::Empty)) } else { Ok(rules) }
}

/// Whether a rule is a duty that names the policy under which others may be given the data.
fn is_next_policy(rule: &Node<'_>) -> Result<bool, WireError> {
    let actions: Vec<String> =
        rule.list("action", |action| Ok(action_to_send(action)?.to_owned()))?;
    Ok(!actions.is_empty() && actions.iter().all(|action| odrl(action) == "nextPolicy"))
}

/// An action is a plain string on the wire, so one with a refinement would lose it.
fn action_to_send<'a>(action: &Node<'a>) -> Result<&'a str, WireError> {
    if action.value().as_object().is_some_and(|members| members.keys().any(|key| key != "@id")) {
        let expected = "an action without refinement, which is all that DSP 2025-1 can carry";
        return Err(action.refuse(WireFault::Kind { expected, found: "an object" }));
    }
    action.id_text()
}

fn constraint_to_send(constraint: &Node<'_>) -> Result<Value, WireError> {
    let mut members = constraint.members()?.clone();
    let connectives: Vec<_> =
        CONNECTIVES.into_iter().filter(|connective| members.contains_key(*connective)).collect();
    match connectives.as_slice() {
        [] => {
            let left = constraint.required("leftOperand")?;
            put(&mut members, "leftOperand", &in_context(left.id_text()?, &LEFT_OPERANDS));
            let operator = constraint.required("operator")?;
            let name = odrl(operator.id_text()?);
            if !OPERATORS.contains(&name) {
                let expected = "the operators of ODRL that DSP has";
                return Err(operator.refuse(WireFault::Unknown { expected }));
            }
            put(&mut members, "operator", name);
            let right = constraint.required("rightOperand")?;
            if right.value().is_number() || right.value().is_boolean() {
                put(&mut members, "rightOperand", &right.scalar()?);
            }
        }
        [connective] => {
            replace_list(&mut members, constraint, connective, |operand| {
                Ok(vec![constraint_to_send(operand)?])
            })?;
            if !members.contains_key(*connective) {
                return Err(constraint.required(connective)?.refuse(WireFault::Empty));
            }
        }
        _ => {
            let members = "`and`, `andSequence`, `or` and `xone`";
            return Err(constraint.refuse(WireFault::ExactlyOne { members }));
        }
    }
    Ok(Value::Object(members))
}

/// How a term is written so that it is ODRL's for a reader of JSON-LD too. The context of DSP 2025-1 names ODRL's operators and
/// the action `use`, and neither the other actions nor any left operand; a bare `count` is no term there, and such a reader
/// sees an agreement on other terms than it requested.
fn in_context(name: &str, terms: &[&str]) -> String {
    if terms.contains(&name) { format!("odrl:{name}") } else { name.to_owned() }
}

/// Replaces the member `key` by the list that is sent; an empty one is removed.
fn replace_list(
    members: &mut Members,
    node: &Node<'_>,
    key: &str,
    to_send: impl Fn(&Node<'_>) -> Result<Vec<Value>, WireError>,
) -> Result<(), WireError> {
    let entries: Vec<Value> = node.list(key, to_send)?.into_iter().flatten().collect();
    if entries.is_empty() {
        members.shift_remove(key);
    } else {
        members.insert(key.to_owned(), Value::Array(entries));
    }
    Ok(())
}

/// The name of an ODRL term that may be written with a prefix or as an absolute IRI.
fn odrl(name: &str) -> &str {
    const NAMESPACE: &str = "http://www.w3.org/ns/odrl/2/";
    let name = term(name);
    name.strip_prefix(NAMESPACE).or_else(|| name.strip_prefix("odrl:")).unwrap_or(name)
}
