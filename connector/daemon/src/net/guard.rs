//! Where this node may dial: only an origin in the partner's own file, only an address that passed.
//!
//! Nothing here opens a socket. An address that a partner sent (a `callbackAddress`, a data endpoint) is
//! input of that partner: it must not reach our own network through us. Every address that a name
//! resolves to has to pass, and the one that passed is the one dialled, so a name that answers
//! differently a moment later gains nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::uri::PathAndQuery;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The longest address that is looked at, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// Why an address is not dialled.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum GuardError {
    /// Not an absolute URL.
    #[error("`{url}` is not an absolute URL: {reason}")]
    Unreadable {
        /// What was given, shortened.
        url: String,
        /// What the parser says.
        reason: String,
    },
    /// Plain HTTP or another scheme.
    #[error("`{url}` has the scheme `{scheme}`; partners are reached by https only")]
    Scheme {
        /// What was given, shortened.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// A user name, password or fragment, which a message's address never has.
    #[error("the URL at `{origin}` contains {part}; ask the partner for an address without it")]
    Part {
        /// Scheme, host and port: the rest may be a secret.
        origin: Origin,
        /// What it contains.
        part: &'static str,
    },
    /// Not one of the partner's endpoints.
    #[error(
        "`{origin}` is no registered origin of this partner (registered: {}); if it is right, add it to the partner's file",
        shown(registered)
    )]
    Origin {
        /// Scheme, host and port of the address.
        origin: Origin,
        /// The partner's origins.
        registered: Vec<Origin>,
    },
    /// One of the resolved addresses is not public, and the partner's file does not allow it.
    #[error(
        "`{origin}` resolves to {address}, which is {class}; if the partner is there, add a network that contains {form} to `networks` in the partner's file"
    )]
    Address {
        /// The origin that was resolved.
        origin: Origin,
        /// The address that did not pass.
        address: IpAddr,
        /// That address, or the IPv4 address inside it.
        form: IpAddr,
        /// What kind of address it is.
        class: AddressClass,
    },
    /// The name resolves to no address.
    #[error("`{origin}` resolves to no address; check the name and this host's resolver")]
    NoAddress {
        /// The origin that was resolved.
        origin: Origin,
    },
}

/// Scheme, host and port; the scheme is always https.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    host: Host<String>,
    port: u16,
}

impl Origin {
    /// The host: a name in lower case, or an address.
    #[must_use]
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// The port, 443 where the address names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and, where it is not 443, port: the value of the `Host` field (RFC 9110, 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            443 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }

    fn of(url: &Url) -> Result<Self, GuardError> {
        if url.scheme() != "https" {
            return Err(GuardError::Scheme {
                url: shortened(url.as_str()),
                scheme: url.scheme().to_owned(),
            });
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(GuardError::Unreadable {
                url: shortened(url.as_str()),
                reason: "it has no host".to_owned(),
            });
        };
        let host = host.to_owned();
        if port == 0 {
            return Err(GuardError::Unreadable {
                url: shortened(url.as_str()),
                reason: "port 0 cannot be dialled".to_owned(),
            });
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "https://{}", self.authority())
    }
}

impl FromStr for Origin {
    type Err = GuardError;

    /// Reads `https://HOST` or `https://HOST:PORT`, with or without a final slash.
    fn from_str(text: &str) -> Result<Self, GuardError> {
        let target = Target::from_str(text)?;
        if target.path.as_str() != "/" {
            return Err(GuardError::Part {
                origin: target.origin,
                part: "a path or query, which an origin does not have",
            });
        }
        Ok(target.origin)
    }
}

/// A URL that can be dialled as far as its text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whom to dial.
    pub origin: Origin,
    /// What to ask there.
    pub path: PathAndQuery,
}

impl FromStr for Target {
    type Err = GuardError;

    fn from_str(text: &str) -> Result<Self, GuardError> {
        let unreadable = |reason: String| GuardError::Unreadable { url: shortened(text), reason };
        if text.len() > MAX_URL_BYTES {
            return Err(unreadable(format!("it is longer than {MAX_URL_BYTES} bytes")));
        }
        let url = Url::parse(text).map_err(|error| unreadable(error.to_string()))?;
        let origin = Origin::of(&url)?;
        let part = if !url.username().is_empty() || url.password().is_some() {
            Some("a user name or password")
        } else if url.fragment().is_some() {
            Some("a fragment")
        } else {
            None
        };
        if let Some(part) = part {
            return Err(GuardError::Part { origin, part });
        }
        let path = match url.query() {
            None => url.path().to_owned(),
            Some(query) => format!("{}?{query}", url.path()),
        };
        let path = PathAndQuery::try_from(path).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { origin, path })
    }
}

/// What one partner's file allows: its origins, and the networks beside the public Internet.
#[derive(Clone, Debug)]
pub struct Guard {
    origins: Vec<Origin>,
    networks: Vec<IpNet>,
}

impl Guard {
    /// A guard for these origins; addresses that are not public pass only inside `networks`.
    #[must_use]
    pub fn new(origins: Vec<Origin>, networks: Vec<IpNet>) -> Self {
        Self { origins, networks }
    }

    /// Reads a URL and finds its origin among the partner's.
    ///
    /// # Errors
    /// [`GuardError`], saying what to change if the address is right.
    pub fn target(&self, url: &str) -> Result<Target, GuardError> {
        let target = Target::from_str(url)?;
        if self.origins.contains(&target.origin) {
            return Ok(target);
        }
        Err(GuardError::Origin { origin: target.origin, registered: self.origins.clone() })
    }

    /// Checks everything that an origin resolved to and returns what may be dialled, in order.
    ///
    /// # Errors
    /// When there is no address, or when any one of them does not pass.
    pub fn addresses(
        &self,
        origin: &Origin,
        resolved: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<SocketAddr>, GuardError> {
        let mut passed = Vec::new();
        for address in resolved {
            // An IPv4-mapped address is that IPv4 address to the kernel.
            let address = address.to_canonical();
            if let Some((form, class)) = self.objection(address) {
                return Err(GuardError::Address { origin: origin.clone(), address, form, class });
            }
            let address = SocketAddr::new(address, origin.port);
            if !passed.contains(&address) {
                passed.push(address);
            }
        }
        if passed.is_empty() {
            return Err(GuardError::NoAddress { origin: origin.clone() });
        }
        Ok(passed)
    }

    /// The form of an address (itself, or the IPv4 address that it carries) that does not pass.
    fn objection(&self, address: IpAddr) -> Option<(IpAddr, AddressClass)> {
        [Some(address), embedded(address).map(IpAddr::V4)]
            .into_iter()
            .flatten()
            .map(|form| (form, AddressClass::of(form)))
            .find(|(form, class)| match class {
                AddressClass::Public => false,
                // Nobody lives there, whatever a file says: 0.0.0.0 would reach this very host.
                AddressClass::Unspecified | AddressClass::Multicast => true,
                _ => !self.networks.iter().any(|network| network.contains(form)),
            })
    }
}

/// The kinds of address that the IANA special-purpose registries (RFC 6890) set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// Globally reachable.
    Public,
    /// `0.0.0.0/8` and `::`.
    Unspecified,
    /// This host.
    Loopback,
    /// RFC 1918, unique local (RFC 4193) and the retired site-local addresses.
    Private,
    /// This link; clouds serve instance credentials there.
    LinkLocal,
    /// Carrier-grade translation, `100.64.0.0/10` (RFC 6598).
    SharedByCarrier,
    /// Groups of hosts.
    Multicast,
    /// Documentation, benchmarks, transition mechanisms, and everything not assigned.
    Reserved,
}

impl AddressClass {
    /// The class of an address as it stands; what an address carries inside is looked at apart.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => IPV4_CLASSES
                .iter()
                .find(|(network, _)| network.contains(&address))
                .map_or(Self::Public, |(_, class)| *class),
            // Outside 2000::/3 nothing is global, but for the translation prefix.
            IpAddr::V6(address) => IPV6_CLASSES
                .iter()
                .find(|(network, _)| network.contains(&address))
                .map_or(Self::Reserved, |(_, class)| *class),
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Public => "public",
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "this host's loopback",
            Self::Private => "a private network",
            Self::LinkLocal => "link-local",
            Self::SharedByCarrier => "shared carrier space",
            Self::Multicast => "a multicast group",
            Self::Reserved => "reserved",
        })
    }
}

/// The IPv4 address that a NAT64 (RFC 6052) or 6to4 (RFC 3056) address leads to.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [a, b, _, _, _, _, _, _, _, _, _, _, w, x, y, z] = address.octets();
    let [_, _, c, d, e, f, ..] = address.octets();
    if NAT64.contains(&address) {
        Some(Ipv4Addr::new(w, x, y, z))
    } else if (a, b) == (0x20, 0x02) {
        Some(Ipv4Addr::new(c, d, e, f))
    } else {
        None
    }
}

const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 0, 96);

/// First match decides.
const IPV4_CLASSES: &[(Ipv4Net, AddressClass)] = &[
    (v4(0, 0, 0, 8), AddressClass::Unspecified),
    (v4(10, 0, 0, 8), AddressClass::Private),
    (v4(100, 64, 0, 10), AddressClass::SharedByCarrier),
    (v4(127, 0, 0, 8), AddressClass::Loopback),
    (v4(169, 254, 0, 16), AddressClass::LinkLocal),
    (v4(172, 16, 0, 12), AddressClass::Private),
    (v4(192, 0, 0, 24), AddressClass::Reserved),
    (v4(192, 0, 2, 24), AddressClass::Reserved),
    (v4(192, 88, 99, 24), AddressClass::Reserved),
    (v4(192, 168, 0, 16), AddressClass::Private),
    (v4(198, 18, 0, 15), AddressClass::Reserved),
    (v4(198, 51, 100, 24), AddressClass::Reserved),
    (v4(203, 0, 113, 24), AddressClass::Reserved),
    (v4(224, 0, 0, 4), AddressClass::Multicast),
    (v4(240, 0, 0, 4), AddressClass::Reserved),
];

/// First match decides; what matches nothing is reserved.
const IPV6_CLASSES: &[(Ipv6Net, AddressClass)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), AddressClass::Unspecified),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), AddressClass::Loopback),
    (NAT64, AddressClass::Public),
    (v6(0x2001, 0, 0, 0, 23), AddressClass::Reserved),
    (v6(0x2001, 0xdb8, 0, 0, 32), AddressClass::Reserved),
    (v6(0x2002, 0, 0, 0, 16), AddressClass::Public),
    (v6(0x3fff, 0, 0, 0, 20), AddressClass::Reserved),
    (v6(0x2000, 0, 0, 0, 3), AddressClass::Public),
    (v6(0xfc00, 0, 0, 0, 7), AddressClass::Private),
    (v6(0xfe80, 0, 0, 0, 10), AddressClass::LinkLocal),
    (v6(0xfec0, 0, 0, 0, 10), AddressClass::Private),
    (v6(0xff00, 0, 0, 0, 8), AddressClass::Multicast),
];

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn v6(a: u16, b: u16, c: u16, d: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

fn shortened(url: &str) -> String {
    // Query and user information may be secrets, and a control character may not reach a log.
    let plain =
        url.split(['?', '#']).next().and_then(|url| url.rsplit('@').next()).unwrap_or_default();
    plain.chars().filter(|character| !character.is_control()).take(120).collect()
}

fn shown(origins: &[Origin]) -> String {
    if origins.is_empty() {
        return "none".to_owned();
    }
    let origins: Vec<_> = origins.iter().map(|origin| format!("`{origin}`")).collect();
    origins.join(", ")
}

#[cfg(test)]
mod tests;
