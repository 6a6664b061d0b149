//! Left operands beyond those that evaluation treats one by one: each with the type of its value, the operators it
//! takes, and the fact that decides it. The tables say only what this connector can know.

use super::Operator;

/// Namespaces of operands, in the spelling that is written: the vocabulary's IRI.
const NAMESPACES: [(Profile, &str, &[&str]); 5] = [
    (Profile::Odrl, super::ODRL, &["odrl:"]),
    (
        Profile::CatenaX,
        "https://w3id.org/catenax/2025/9/policy/",
        &["https://w3id.org/catenax/policy/", "cx-policy:"],
    ),
    (Profile::Edc, "https://w3id.org/edc/v0.0.1/ns/", &["edc:"]),
    (Profile::Idsa, "https://w3id.org/idsa/code/", &["idsc:"]),
    (Profile::Sekisho, "urn:sekisho:v1:", &["sekisho:"]),
];

/// The vocabulary that defines an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// The ODRL 2.2 common vocabulary.
    Odrl,
    /// The Catena-X ODRL profile (CX-0152).
    CatenaX,
    /// The Eclipse dataspace components' own operand.
    Edc,
    /// The usage control classes of the International Data Spaces Association.
    Idsa,
    /// Ours, for the operator identifiers of the Open Data Spaces.
    Sekisho,
}

/// An operand whose evaluation follows from its table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operand {
    /// The vocabulary that defines it.
    pub profile: Profile,
    /// Its local name.
    pub term: &'static str,
    /// What its right operand is.
    pub value: ValueType,
    /// Which operators it takes.
    pub operators: Operators,
    /// Which fact decides it.
    pub fact: Fact,
}

/// What a right operand is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// An instant with its zone.
    Instant,
    /// An instant, or `contractAgreement+` and a period.
    InForce,
    /// A period.
    Duration,
    /// A whole number of days since the agreement.
    Days,
    /// A number.
    Decimal,
    /// A number from 0 to 100.
    Percent,
    /// A number of bytes, in a unit.
    Bytes,
    /// An amount of money; the unit is the currency.
    Money,
    /// Names.
    Terms,
    /// A version: numbers between full stops, compared number by number.
    Version,
}

/// Which operators an operand takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operators {
    /// The six that compare by order.
    Ordered,
    /// The eight that compare names.
    Named,
    /// All twelve.
    Any,
    /// Just these, as the profile's schema says.
    Only(&'static [Operator]),
}

/// The fact that decides an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// The time. In Catena-X, whose end dates know no other operator, `eq` is read as "until".
    Now,
    /// The time since the agreement. `eq` is read as "within".
    SinceAgreement,
    /// The declared purpose.
    Purpose,
    /// The subject's chain and groups.
    Recipient,
    /// The node that fetches the data, by the names of its certificate.
    Node,
    /// The addresses that the partner's file registers for it.
    Location,
    /// The application that gets the data: the recipient's node knows it when it hands them out; else what is attested of it, as
    /// [`Fact::Attribute`].
    Application,
    /// What our administrator wrote about the partner under the operand's name, and what credentials say of it that are
    /// valid.
    Attribute,
    /// The media type as published.
    MediaType,
    /// The size as published.
    Size,
    /// How much of the dataset one transfer may read: all of it.
    Percentage,
    /// The version as published.
    Version,
    /// The language as published.
    Language,
    /// How the data is delivered.
    Channel,
    /// What is counted: transfers.
    CountedUnit,
    /// How long data flowed under the agreement.
    MeteredTime,
    /// What was paid.
    Paid,
    /// A term of contract that the recipient accepts by agreeing; no machine decides it.
    Agreed,
    /// Nothing that a connector can know.
    Unknown,
}

use Fact::{
    Agreed, Application, Attribute, Channel, CountedUnit, Language, Location, MediaType,
    MeteredTime, Node, Now, Paid, Percentage, Purpose, Recipient, SinceAgreement, Size, Unknown,
    Version,
};
use Operators::{Any, Named, Only, Ordered};
use ValueType as V;

const EQ: Operators = Only(&[Operator::Eq]);
const ANY_OF: Operators = Only(&[Operator::IsAnyOf]);
const ANY_OR_NONE: Operators = Only(&[Operator::IsAnyOf, Operator::IsNoneOf]);
const ALL_OF: Operators = Only(&[Operator::IsAllOf]);

const fn odrl(term: &'static str, value: ValueType, operators: Operators, fact: Fact) -> Operand {
    Operand { profile: Profile::Odrl, term, value, operators, fact }
}

const fn catena(term: &'static str, value: ValueType, operators: Operators, fact: Fact) -> Operand {
    Operand { profile: Profile::CatenaX, term, value, operators, fact }
}

const fn idsa(term: &'static str, fact: Fact) -> Operand {
    Operand { profile: Profile::Idsa, term, value: V::Terms, operators: Named, fact }
}

/// Every operand that evaluation treats by its table entry.
static OPERANDS: [Operand; 63] = [
    odrl("meteredTime", V::Duration, Ordered, MeteredTime),
    odrl("unitOfCount", V::Terms, Named, CountedUnit),
    odrl("systemDevice", V::Terms, Named, Node),
    odrl("virtualLocation", V::Terms, Named, Location),
    odrl("fileFormat", V::Terms, Named, MediaType),
    odrl("absoluteSize", V::Bytes, Ordered, Size),
    odrl("percentage", V::Percent, Ordered, Percentage),
    odrl("version", V::Version, Any, Version),
    odrl("language", V::Terms, Named, Language),
    odrl("event", V::Terms, Named, Attribute),
    odrl("deliveryChannel", V::Terms, Named, Channel),
    odrl("industry", V::Terms, Named, Attribute),
    odrl("payAmount", V::Money, Ordered, Paid),
    odrl("product", V::Terms, Named, Unknown),
    odrl("media", V::Terms, Named, Unknown),
    odrl("resolution", V::Decimal, Ordered, Unknown),
    odrl("relativeSize", V::Percent, Ordered, Unknown),
    odrl("absolutePosition", V::Terms, Named, Unknown),
    odrl("absoluteSpatialPosition", V::Terms, Named, Unknown),
    odrl("absoluteTemporalPosition", V::Terms, Named, Unknown),
    odrl("relativePosition", V::Terms, Named, Unknown),
    odrl("relativeSpatialPosition", V::Terms, Named, Unknown),
    odrl("relativeTemporalPosition", V::Terms, Named, Unknown),
    odrl("spatialCoordinates", V::Terms, Named, Unknown),
    catena("FrameworkAgreement", V::Terms, EQ, Attribute),
    catena("Membership", V::Terms, EQ, Attribute),
    catena("ExclusiveUsage", V::Terms, EQ, Agreed),
    catena("Precedence", V::Terms, EQ, Agreed),
    catena("VersionChanges", V::Terms, EQ, Agreed),
    catena("DataFrequency", V::Terms, EQ, Agreed),
    catena("ContractTermination", V::Terms, EQ, Agreed),
    catena("Liability", V::Terms, EQ, Agreed),
    catena("Warranty", V::Terms, EQ, Agreed),
    catena("WarrantyDefinition", V::Terms, EQ, Agreed),
    catena("WarrantyDurationMonths", V::Decimal, EQ, Agreed),
    catena("JurisdictionLocation", V::Terms, EQ, Agreed),
    catena("JurisdictionLocationReference", V::Terms, EQ, Agreed),
    catena("ConfidentialInformationMeasures", V::Terms, EQ, Agreed),
    catena("DataUsageEndDate", V::Instant, EQ, Now),
    catena("DataUsageEndDefinition", V::Terms, EQ, Agreed),
    catena("DataUsageEndDurationDays", V::Days, EQ, SinceAgreement),
    catena("DataProvisioningEndDate", V::Instant, EQ, Now),
    catena("DataProvisioningEndDurationDays", V::Days, EQ, SinceAgreement),
    catena("UsagePurpose", V::Terms, ANY_OF, Purpose),
    catena("AffiliatesBpnl", V::Terms, ANY_OF, Agreed),
    catena("AffiliatesRegion", V::Terms, ANY_OF, Agreed),
    catena("ManagedLegalEntityBpnl", V::Terms, ANY_OF, Agreed),
    catena("ManagedLegalEntityRegion", V::Terms, ANY_OF, Agreed),
    catena("ConfidentialInformationSharing", V::Terms, ANY_OF, Agreed),
    catena("BusinessPartnerGroup", V::Terms, ANY_OR_NONE, Recipient),
    catena("BusinessPartnerNumber", V::Terms, ANY_OR_NONE, Recipient),
    catena("ContractReference", V::Terms, ALL_OF, Agreed),
    catena("UsageRestriction", V::Terms, ALL_OF, Agreed),
    Operand {
        profile: Profile::Edc,
        term: "inForceDate",
        value: V::InForce,
        operators: Ordered,
        fact: Now,
    },
    idsa("CONNECTOR", Node),
    idsa("ROLE", Attribute),
    idsa("SECURITY_LEVEL", Attribute),
    idsa("APPLICATION", Application),
    idsa("STATE", Attribute),
    idsa("JSON_PATH", Unknown),
    idsa("LOG_LEVEL", Unknown),
    idsa("NOTIFICATION_LEVEL", Unknown),
    Operand {
        profile: Profile::Sekisho,
        term: "operatorId",
        value: V::Terms,
        operators: Named,
        fact: Attribute,
    },
];

impl Operand {
    /// The operand of a name: its IRI, prefixed, or its local name alone.
    pub(super) fn parse(name: &str) -> Option<&'static Self> {
        for (profile, iri, others) in NAMESPACES {
            let spellings = std::iter::once(iri).chain(others.iter().copied());
            if let Some(local) = spellings.into_iter().find_map(|prefix| name.strip_prefix(prefix))
            {
                return OPERANDS
                    .iter()
                    .find(|operand| operand.profile == profile && operand.term == local);
            }
        }
        OPERANDS.iter().find(|operand| operand.term == name)
    }

    /// Whether `eq` states an end or a period rather than an instant: use until then, or within it.
    #[must_use]
    pub const fn is_until(&self) -> bool {
        match self.fact {
            Fact::Now => matches!(self.profile, Profile::CatenaX),
            Fact::SinceAgreement | Fact::MeteredTime => true,
            _ => false,
        }
    }

    /// Every operand of the tables.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        OPERANDS.iter()
    }

    /// How it is written in ODRL: the bare term for ODRL's own, the IRI otherwise.
    #[must_use]
    pub fn written(&self) -> String {
        let namespace = NAMESPACES.iter().find(|(profile, ..)| *profile == self.profile);
        match namespace {
            Some((profile, iri, _)) if *profile != Profile::Odrl => format!("{iri}{}", self.term),
            _ => self.term.to_owned(),
        }
    }
}

impl Operators {
    /// Whether an operator is among them.
    #[must_use]
    pub fn include(self, operator: Operator) -> bool {
        match self {
            Any => true,
            Ordered => operator.is_ordering() || matches!(operator, Operator::Eq | Operator::Neq),
            Named => !operator.is_ordering(),
            Only(operators) => operators.contains(&operator),
        }
    }

    /// Their terms.
    #[must_use]
    pub fn terms(self) -> Vec<&'static str> {
        let all = Operator::ALL.into_iter().filter(|operator| self.include(*operator));
        all.map(Operator::term).collect()
    }

    /// Their terms, for error messages.
    #[must_use]
    pub fn listed(self) -> String {
        let terms = self.terms();
        match terms.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}
