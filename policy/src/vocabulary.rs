//! The terms of ODRL that this connector knows: actions and how they include each other, left
//! operands, operators.

mod operand;

pub use operand::{Fact, Operand, Operators, Profile, ValueType};

/// Namespace of the ODRL 2.2 vocabulary.
pub const ODRL: &str = "http://www.w3.org/ns/odrl/2/";

/// The short name of an ODRL term given in any of its spellings; names of other vocabularies stay
/// as they are.
#[must_use]
pub fn short(name: &str) -> &str {
    let local = name.strip_prefix(ODRL).or_else(|| name.strip_prefix("odrl:"));
    // What has a prefix still is no term of ODRL; shortened, it could become one when it is written and read again.
    local.filter(|local| !local.contains(':')).unwrap_or(name)
}

/// The name of an action given in any of its spellings, those of the profiles included.
#[must_use]
pub fn short_action(name: &str) -> &str {
    match name {
        "cx-policy:access"
        | "https://w3id.org/catenax/policy/access"
        | "https://w3id.org/catenax/2025/9/policy/access" => "access",
        "idsc:LOG" | "https://w3id.org/idsa/code/LOG" => "log",
        name => short(name),
    }
}

/// What a constraint compares (ODRL vocabulary 4.5), as far as this connector knows the fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeftOperand {
    /// Now. Judged in every phase; before the transfer only for what can no longer come true.
    DateTime,
    /// Uses made of the offer by this partner, this one included. Judged from the transfer on.
    Count,
    /// The declared purpose. Judged from the negotiation on.
    Purpose,
    /// ISO 3166 region of the partner, as our administrator declared it. Judged in every phase.
    Spatial,
    /// The subject: participant, its groups, its node, application or person. Judged in every phase.
    Recipient,
    /// Time since the agreement. ODRL counts from the first use, which is never earlier: this is
    /// the stricter reading, and both sides know the instant. Judged from the transfer on.
    ElapsedTime,
    /// Time since the agreement before the first use. Judged from the transfer on.
    DelayPeriod,
    /// Time since the use before this one. Judged from the transfer on.
    TimeInterval,
    /// Any other, ODRL's or a profile's, evaluated by its entry in [`Operand`]'s tables.
    Other(&'static Operand),
}

impl LeftOperand {
    const OWN: [Self; 8] = [
        Self::DateTime,
        Self::Count,
        Self::Purpose,
        Self::Spatial,
        Self::Recipient,
        Self::ElapsedTime,
        Self::DelayPeriod,
        Self::TimeInterval,
    ];

    /// The operand of a name, in any spelling.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let own = Self::OWN.into_iter().find(|operand| operand.term() == short(name));
        own.or_else(|| Operand::parse(name).map(Self::Other))
    }

    /// The local name, as conditions in policy files use it.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::Other(operand) => operand.term,
            Self::DateTime => "dateTime",
            Self::Count => "count",
            Self::Purpose => "purpose",
            Self::Spatial => "spatial",
            Self::Recipient => "recipient",
            Self::ElapsedTime => "elapsedTime",
            Self::DelayPeriod => "delayPeriod",
            Self::TimeInterval => "timeInterval",
        }
    }

    /// The name as ODRL documents carry it: the term for ODRL's own, the IRI for a profile's.
    #[must_use]
    pub fn written(self) -> String {
        match self {
            Self::Other(operand) => operand.written(),
            own => own.term().to_owned(),
        }
    }

    /// All known terms, for error messages.
    #[must_use]
    pub fn terms() -> Vec<&'static str> {
        Self::all().map(Self::term).collect()
    }

    /// Every operand.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OWN.into_iter().chain(Operand::all().map(Self::Other))
    }

    /// What its right operand is.
    #[must_use]
    pub const fn value(self) -> ValueType {
        match self {
            Self::DateTime => ValueType::Instant,
            Self::Count => ValueType::Decimal,
            Self::ElapsedTime | Self::DelayPeriod | Self::TimeInterval => ValueType::Duration,
            Self::Purpose | Self::Spatial | Self::Recipient => ValueType::Terms,
            Self::Other(operand) => operand.value,
        }
    }

    /// Which operators it takes.
    #[must_use]
    pub const fn operators(self) -> Operators {
        match self {
            Self::Purpose | Self::Spatial | Self::Recipient => Operators::Named,
            Self::Other(operand) => operand.operators,
            _ => Operators::Ordered,
        }
    }

    /// Whether the declared purpose decides it.
    #[must_use]
    pub const fn is_purpose(self) -> bool {
        match self {
            Self::Purpose => true,
            Self::Other(operand) => matches!(operand.fact, Fact::Purpose),
            _ => false,
        }
    }

    /// Whether the application that gets the data decides it.
    #[must_use]
    pub const fn is_application(self) -> bool {
        matches!(self, Self::Other(operand) if matches!(operand.fact, Fact::Application))
    }

    /// Whether its values are ordered (instants, durations, numbers) rather than named.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        !matches!(self.value(), ValueType::Terms)
    }
}

/// The twelve operators of ODRL (vocabulary 4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Equal; for named values, the fact or one of its wider terms.
    Eq,
    /// Not equal.
    Neq,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Gteq,
    /// Less than.
    Lt,
    /// Less than or equal.
    Lteq,
    /// Is an instance of.
    IsA,
    /// Contains.
    HasPart,
    /// Is contained in.
    IsPartOf,
    /// Is any of a list.
    IsAnyOf,
    /// Is all of a list.
    IsAllOf,
    /// Is none of a list.
    IsNoneOf,
}

impl Operator {
    const ALL: [Self; 12] = [
        Self::Eq,
        Self::Neq,
        Self::Gt,
        Self::Gteq,
        Self::Lt,
        Self::Lteq,
        Self::IsA,
        Self::HasPart,
        Self::IsPartOf,
        Self::IsAnyOf,
        Self::IsAllOf,
        Self::IsNoneOf,
    ];

    /// The operator of a name, in any spelling; `term-lteq` is a misspelling in DSP 2025-1's schema.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = short(name);
        if name == "term-lteq" {
            return Some(Self::Lteq);
        }
        Self::ALL.into_iter().find(|operator| operator.term() == name)
    }

    /// The ODRL term.
    #[must_use]
    pub const fn term(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::Gt => "gt",
            Self::Gteq => "gteq",
            Self::Lt => "lt",
            Self::Lteq => "lteq",
            Self::IsA => "isA",
            Self::HasPart => "hasPart",
            Self::IsPartOf => "isPartOf",
            Self::IsAnyOf => "isAnyOf",
            Self::IsAllOf => "isAllOf",
            Self::IsNoneOf => "isNoneOf",
        }
    }

    /// All terms, for error messages.
    #[must_use]
    pub fn terms() -> Vec<&'static str> {
        Self::ALL.into_iter().map(Self::term).collect()
    }

    /// Whether the right operand may be a list (IM 2.5.1).
    #[must_use]
    pub const fn takes_list(self) -> bool {
        matches!(self, Self::IsAnyOf | Self::IsAllOf | Self::IsNoneOf)
    }

    /// Whether it compares by order.
    #[must_use]
    pub const fn is_ordering(self) -> bool {
        matches!(self, Self::Gt | Self::Gteq | Self::Lt | Self::Lteq)
    }
}

/// Every action of the ODRL 2.2 common vocabulary with the action it is included in (vocabulary
/// 4.3). Those that it calls deprecated are left out, except `share`, which the information model
/// uses. `transfer` is of ownership; a pull of data is `use`, and so what that implies. `access` is of the Catena-X profile: to see an offer;
/// `log` of the IDSA's: to record each use.
const ACTIONS: &[(&str, Option<&str>)] = &[
    ("use", None),
    ("transfer", None),
    ("access", None),
    ("log", Some("use")),
    ("acceptTracking", Some("use")),
    ("aggregate", Some("use")),
    ("annotate", Some("use")),
    ("anonymize", Some("use")),
    ("archive", Some("use")),
    ("attribute", Some("use")),
    ("compensate", Some("use")),
    ("concurrentUse", Some("use")),
    ("delete", Some("use")),
    ("derive", Some("use")),
    ("digitize", Some("use")),
    ("display", Some("play")),
    ("distribute", Some("use")),
    ("ensureExclusivity", Some("use")),
    ("execute", Some("use")),
    ("extract", Some("reproduce")),
    ("give", Some("transfer")),
    ("grantUse", Some("use")),
    ("include", Some("use")),
    ("index", Some("use")),
    ("inform", Some("use")),
    ("install", Some("use")),
    ("modify", Some("use")),
    ("move", Some("use")),
    ("nextPolicy", Some("use")),
    ("obtainConsent", Some("use")),
    ("play", Some("use")),
    ("present", Some("use")),
    ("print", Some("use")),
    ("read", Some("use")),
    ("reproduce", Some("use")),
    ("reviewPolicy", Some("use")),
    ("sell", Some("transfer")),
    ("share", Some("use")),
    ("stream", Some("use")),
    ("synchronize", Some("use")),
    ("textToSpeech", Some("use")),
    ("transform", Some("use")),
    ("translate", Some("use")),
    ("uninstall", Some("use")),
    ("watermark", Some("use")),
];

/// Actions that cannot be done without another (IM 2.4, `implies`): that of the information model's own example, and what
/// it is to be given data for use: the recipient obtains the data (`read`) and has a copy of it (`reproduce`).
const IMPLIES: &[(&str, &str)] =
    &[("share", "distribute"), (DELIVERY, "read"), (DELIVERY, "reproduce")];

/// What a pull or push of data is judged as.
const DELIVERY: &str = "use";

/// Whether this node can refuse an action itself, by not delivering data: a delivery is the action or implies it.
#[must_use]
pub fn is_of_delivery(name: &str) -> bool {
    name == DELIVERY || implies(DELIVERY, name)
}

/// Whether the action is of the vocabulary.
#[must_use]
pub fn is_action(name: &str) -> bool {
    ACTIONS.iter().any(|(action, _)| *action == name)
}

/// Whether `narrow` is `wide` or included in it, at any depth (IM 2.4, `includedIn`).
#[must_use]
pub fn is_included_in(narrow: &str, wide: &str) -> bool {
    let mut current = Some(narrow);
    // The table has no cycle; the bound only makes that visible.
    for _ in 0..ACTIONS.len() {
        let Some(name) = current else { return false };
        if name == wide {
            return true;
        }
        current = ACTIONS.iter().find(|(action, _)| *action == name).and_then(|(_, up)| *up);
    }
    false
}

/// Whether permitting one action and prohibiting the other contradict each other (IM 2.10): they
/// are equal, one includes the other, or the permitted one implies the prohibited one.
#[must_use]
pub fn overlap(permitted: &str, prohibited: &str) -> bool {
    is_included_in(permitted, prohibited)
        || is_included_in(prohibited, permitted)
        || implies(permitted, prohibited)
}

/// Whether doing `action` means doing `other` too.
#[must_use]
pub fn implies(action: &str, other: &str) -> bool {
    IMPLIES.iter().any(|(from, to)| *from == action && is_included_in(to, other))
}

/// Every action, for error messages.
#[must_use]
pub fn actions() -> Vec<&'static str> {
    ACTIONS.iter().map(|(action, _)| *action).collect()
}
