//! The values that labels can have.

use opentelemetry::{KeyValue, StringValue};

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident as $key:literal { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }

        impl From<$name> for KeyValue {
            fn from(label: $name) -> Self {
                Self::new($key, StringValue::from(label.as_str()))
            }
        }
    )*};
}

labels! {
    /// How a TLS handshake on the partner listener ended.
    HandshakeOutcome as "outcome" {
        /// A registered partner.
        Accepted = "accepted",
        /// A certificate that no partner's file knows, or that does not hold.
        Refused = "refused",
        /// It took too long.
        TimedOut = "timed-out",
        /// Too many connections.
        TooMany = "too-many",
        /// The bytes were not TLS as we speak it.
        Failed = "failed",
    }

    /// What a request on the partner listener is for.
    RequestKind as "kind" {
        /// `/.well-known/dspace-version`.
        Version = "version",
        /// Catalog requests.
        Catalog = "catalog",
        /// Contract negotiation messages.
        Negotiation = "negotiation",
        /// Transfer process messages.
        Transfer = "transfer",
        /// Data.
        Data = "data",
        /// Our own wire.
        Own = "sekisho",
        /// Nothing that exists here.
        Unknown = "unknown",
    }

    /// The first digit of an HTTP status.
    StatusClass as "status" {
        /// 1xx.
        Informational = "1xx",
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirection = "3xx",
        /// 4xx.
        ClientError = "4xx",
        /// 5xx.
        ServerError = "5xx",
    }

    /// Which way data flow.
    DataDirection as "direction" {
        /// To a partner.
        Served = "served",
        /// From a partner.
        Received = "received",
    }

    /// How an attempt to deliver a message ended.
    DeliveryOutcome as "outcome" {
        /// Acknowledged.
        Acknowledged = "acknowledged",
        /// To be tried again.
        Retried = "retried",
        /// Refused for good.
        Refused = "refused",
        /// Given up at its deadline.
        GivenUp = "given-up",
    }

    /// Why a running stream was cut.
    CutReason as "reason" {
        /// The policy no longer permits it.
        Policy = "policy",
        /// The partner was suspended or removed.
        Partner = "partner",
        /// The agreement, transfer or dataset ended.
        Ended = "ended",
        /// The clock is not trusted.
        Clock = "clock",
        /// Nobody read.
        Stalled = "stalled",
        /// The node stopped.
        Shutdown = "shutdown",
    }
}

impl From<http::StatusCode> for StatusClass {
    fn from(status: http::StatusCode) -> Self {
        match status.as_u16() {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}
