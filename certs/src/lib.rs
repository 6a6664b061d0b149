//! Keys, X.509 identities, TLS configuration, revocation and JOSE.
