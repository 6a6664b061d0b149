//! Offline verification of a bundle, step by step. Each step has a name in the [`Report`]; one that
//! needs what an earlier step refused is not made, so that the first failure names the part to blame.

use certs::chain::{self, Signer};
use certs::jose::JoseError;
use certs::key::{Algorithm, VerifyingKey};
use certs::x509::Certificate;
use jiff::{SignedDuration, Timestamp};
use journal::tlog::{Checkpoint, leaf_hash, verify_checkpoint, verify_inclusion};
use rustls_pki_types::CertificateDer;

use crate::bundle::Bundle;
use crate::claims::Claims;
use crate::digest::{Digest, Digests};
use crate::leaf::Leaf;
use crate::parents;
use crate::report::{Check, Part, Refused, Report};
use crate::text::{line, shorten};
use crate::token::{SignedToken, Token, TokenError};

/// How far two honest clocks may be apart.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The kind of record that grants a release: the only one that commits its writer to a token.
const GRANT: &str = "transfer-granted";

/// What the verifier trusts. With both, both must agree; with neither, nothing is verified.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trust<'a> {
    /// The authorities to whom the signing certificate must lead. Whom they may speak for is the
    /// caller's choice: with a partner's own anchors, expect that partner as provider.
    pub anchors: &'a [Certificate],
    /// A participant whose signing key is known beforehand, such as a registered partner.
    pub registered: Option<&'a Registered>,
}

/// A participant and the key that it is registered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The participant id.
    pub participant: String,
    /// Its signing key.
    pub key: VerifyingKey,
}

/// The exchange that a bundle is expected to be about. What is absent may be anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// The participant id of the provider.
    pub provider: Option<&'a str>,
    /// The participant id of the recipient.
    pub recipient: Option<&'a str>,
    /// The dataset's id.
    pub dataset: Option<&'a str>,
    /// The agreement's id.
    pub agreement: Option<&'a str>,
    /// The provider's id of the transfer process.
    pub transfer: Option<&'a str>,
    /// The consumer's id of the transfer process.
    pub consumer_process: Option<&'a str>,
}

/// Verifies a bundle as of `now`, and with it the file whose digests the caller computed
/// ([`digest_reader`](crate::digest_reader)). Revocation lists are not consulted.
#[must_use]
pub fn verify(
    bundle: &Bundle,
    trust: Trust<'_>,
    file: Option<&Digests>,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Report {
    let mut report = Report::new(now);
    let proven = token(&mut report, bundle, trust, expected, now);
    match &proven {
        Some(proven) => {
            evidence(&mut report, bundle, proven);
            whole(&mut report, bundle, &proven.claims, file);
        }
        None => {
            let rest =
                [Check::LogEntry, Check::Checkpoint, Check::Inclusion, Check::Parents, Check::File];
            for check in rest {
                report.skip(check, "the token was refused before");
            }
        }
    }
    report.claims = proven.map(|proven| proven.claims);
    report
}

/// A token whose signature is that of `key`, and what it says.
struct Proven {
    sha256: Digest,
    key: VerifyingKey,
    claims: Claims,
}

/// Checks the token itself: form, chain, signature, claims, issuer, exchange.
fn token(
    report: &mut Report,
    bundle: &Bundle,
    trust: Trust<'_>,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Option<Proven> {
    let rest = [Check::Chain, Check::Signature, Check::Claims, Check::Issuer, Check::Expected];
    let Some(token) = report.note(Check::Form, form(bundle)) else {
        rest.into_iter().for_each(|check| report.skip(check, "the token cannot be read"));
        return None;
    };
    let sha256 = token.sha256();
    let presented = token.chain().to_vec();
    let signer = match (trust.anchors, trust.registered) {
        ([], Some(_)) => {
            report.skip(Check::Chain, "no anchors were given; the signer's key is registered");
            None
        }
        (anchors, _) => report.note(Check::Chain, signer(&presented, anchors, now)),
    };
    let signed = report.note(Check::Signature, signature(token, &presented, trust.registered));
    let Some((signed, key)) = signed else {
        rest.into_iter().skip(2).for_each(|check| report.skip(check, "nobody signed the token"));
        return None;
    };
    let Some(claims) = report.note(Check::Claims, claims(&signed, now)) else {
        rest.into_iter().skip(3).for_each(|check| report.skip(check, "the claims were refused"));
        return None;
    };
    let known = signer.is_some() || (trust.anchors.is_empty() && trust.registered.is_some());
    match known {
        true => {
            report.note(Check::Issuer, issuer(&claims, signer.as_ref(), trust.registered));
        }
        false => report.skip(Check::Issuer, "nobody that you trust vouches for the signer"),
    }
    report.note(Check::Expected, exchange(&claims, expected));
    Some(Proven { sha256, key, claims })
}

fn form(bundle: &Bundle) -> Result<(Token, String), Refused> {
    let token = Token::parse(bundle.token()).map_err(|error| match &error {
        TokenError::Jose(JoseError::Certificate(_)) => {
            Refused { part: Some(Part::Chain), reason: error.to_string() }
        }
        _ => Refused::from(&error),
    })?;
    let text = format!("a provenance token of SHA-256 {}", token.sha256());
    Ok((token, text))
}

fn signer(
    presented: &[Certificate],
    anchors: &[Certificate],
    now: Timestamp,
) -> Result<(Signer, String), Refused> {
    if anchors.is_empty() {
        return Err(Refused::from("no trust anchor was given that it could lead to"));
    }
    let chain: Vec<CertificateDer<'_>> = presented.iter().map(|one| one.der().clone()).collect();
    let signer = chain::verify(&chain, anchors, now)?;
    let names: Vec<String> = signer.participants.iter().map(|name| line(name)).collect();
    let (names, until) = (names.join(", "), signer.valid_until);
    Ok((signer, format!("lead to a trust anchor, for {names}, valid until {until}")))
}

/// The key is the registered one or else that of the presented certificate, whoever vouches for it: so
/// a changed certificate is told from a changed token.
fn signature(
    token: Token,
    presented: &[Certificate],
    registered: Option<&Registered>,
) -> Result<((SignedToken, VerifyingKey), String), Refused> {
    let (key, whose) = match (registered, presented.first()) {
        (Some(registered), _) => {
            let whose = format!("the key registered for {}", line(&registered.participant));
            (registered.key.clone(), whose)
        }
        (None, Some(leaf)) => (leaf.verifying_key()?, "the key of its certificate".to_owned()),
        (None, None) => return Err(Refused::from("it has no certificate to verify it with")),
    };
    let signed = token.verify_signature(&key)?;
    Ok(((signed, key), format!("made with {whose}")))
}

fn claims(signed: &SignedToken, now: Timestamp) -> Result<(Claims, String), Refused> {
    let claims = signed.claims()?;
    for (claim, time) in [("iat", Some(claims.issued_at)), ("nbf", claims.not_before)] {
        if let Some(time) = time
            && time.duration_since(now) > CLOCK_SKEW
        {
            return Err(Refused::from(format!("its `{claim}` is {time}, which is yet to come")));
        }
    }
    let text = format!("complete, signed at {}", claims.issued_at);
    Ok((claims, text))
}

fn issuer(
    claims: &Claims,
    signer: Option<&Signer>,
    registered: Option<&Registered>,
) -> Result<((), String), Refused> {
    let issuer = &claims.issuer;
    if let Some(signer) = signer
        && !signer.participants.contains(issuer)
    {
        let reason = format!("it speaks for `{}` with the certificate of another", line(issuer));
        return Err(Refused::from(reason));
    }
    if let Some(registered) = registered
        && registered.participant != *issuer
    {
        let reason = format!("it speaks for `{}` with the registered key of another", line(issuer));
        return Err(Refused::from(reason));
    }
    Ok(((), line(issuer)))
}

fn exchange(claims: &Claims, expected: &Expected<'_>) -> Result<((), String), Refused> {
    let activity = &claims.activity;
    let pairs = [
        ("provider", expected.provider, Some(&claims.issuer)),
        ("recipient", expected.recipient, Some(&claims.audience)),
        ("dataset", expected.dataset, Some(&claims.subject)),
        ("agreement", expected.agreement, Some(&claims.agreement.id)),
        ("transfer", expected.transfer, Some(&activity.transfer)),
        ("consumer's process", expected.consumer_process, activity.consumer_process.as_ref()),
    ];
    let mut compared = Vec::new();
    for (name, expected, found) in pairs {
        let Some(expected) = expected else { continue };
        let Some(found) = found else {
            return Err(Refused::from(format!("it does not name the {name}")));
        };
        if expected != found {
            let (found, expected) = (shorten(found), shorten(expected));
            let reason = format!("its {name} is `{found}` where `{expected}` is expected");
            return Err(Refused::from(reason));
        }
        compared.push(name);
    }
    let text = match compared.is_empty() {
        true => "nothing in particular was expected".to_owned(),
        false => format!("as expected: {}", compared.join(", ")),
    };
    Ok(((), text))
}

/// Checks that the token is in its issuer's log.
fn evidence(report: &mut Report, bundle: &Bundle, proven: &Proven) {
    report.note(Check::LogEntry, log_entry(bundle, proven));
    match report.note(Check::Checkpoint, checkpoint(bundle, proven)) {
        Some(checkpoint) => {
            report.note(Check::Inclusion, inclusion(bundle, &checkpoint));
        }
        None => report.skip(Check::Inclusion, "the checkpoint was refused before"),
    }
}

fn log_entry(bundle: &Bundle, proven: &Proven) -> Result<((), String), Refused> {
    let leaf = Leaf::parse(bundle.leaf())?;
    if leaf.kind != GRANT {
        let reason = format!("it is a record of `{}` and not of a grant", line(&leaf.kind));
        return Err(Refused::from(reason));
    }
    let digest = |name: &str| leaf.digests.get(name).and_then(|text| text.parse::<Digest>().ok());
    if digest("token") != Some(proven.sha256) {
        return Err(Refused::from("it does not hold the SHA-256 of this token"));
    }
    if digest("dataset") != Some(proven.claims.dataset.sha256) {
        return Err(Refused::from("it does not hold the SHA-256 of the dataset in the token"));
    }
    if proven.claims.issued_at.duration_since(leaf.time) > CLOCK_SKEW {
        let reason = format!("it is of {}, before the token was signed", leaf.time);
        return Err(Refused::from(reason));
    }
    Ok(((), format!("`{}` of {}, with this token and dataset", line(&leaf.kind), leaf.time)))
}

fn checkpoint(bundle: &Bundle, proven: &Proven) -> Result<(Checkpoint, String), Refused> {
    let log = &proven.claims.log;
    // A P-256 key cannot sign checkpoints; for it the signed token names the log's key.
    if proven.key.algorithm() == Algorithm::EdDsa && proven.key.public_key() != log.key.public {
        let reason = "it names a log key other than the key that signed it".to_owned();
        return Err(Refused { part: Some(Part::Token), reason });
    }
    let checkpoint = verify_checkpoint(bundle.checkpoint(), &log.key.name, &log.key.public)?;
    if checkpoint.origin != log.origin {
        let (found, named) = (shorten(&checkpoint.origin), shorten(&log.origin));
        let reason = format!("it is of the log `{found}` where the token names `{named}`");
        return Err(Refused::from(reason));
    }
    let text = format!("signed by {}, {} entries", line(&log.key.name), checkpoint.size);
    Ok((checkpoint, text))
}

fn inclusion(bundle: &Bundle, checkpoint: &Checkpoint) -> Result<((), String), Refused> {
    let (index, size) = (bundle.index(), checkpoint.size);
    let leaf = leaf_hash(bundle.leaf().as_bytes());
    verify_inclusion(&leaf, index, size, &checkpoint.root, bundle.proof())?;
    Ok(((), format!("the entry is number {index} of {size}, counted from 0")))
}

/// Checks what the token says about the file and its parents.
fn whole(report: &mut Report, bundle: &Bundle, claims: &Claims, file: Option<&Digests>) {
    let (openings, all) = (bundle.openings(), claims.parents.len());
    if openings.is_empty() {
        let text = match all {
            0 => "the token names none".to_owned(),
            _ => format!("none of the {all} is shown"),
        };
        report.skip(Check::Parents, text);
    } else {
        let checked = parents::check(openings, &claims.parents);
        let text = format!("{} of {all} are shown and belong to the token", openings.len());
        report.note(Check::Parents, checked.map(|()| ((), text)).map_err(Refused::from));
    }
    match file {
        Some(found) => {
            report.note(Check::File, same_file(&claims.dataset.digests(), found));
        }
        None => report.skip(Check::File, "no file was given"),
    }
}

fn same_file(named: &Digests, found: &Digests) -> Result<((), String), Refused> {
    if found.size != named.size {
        let reason = format!("it has {} bytes where the token names {}", found.size, named.size);
        return Err(Refused::from(reason));
    }
    let pairs = [("SHA-256", found.sha256, named.sha256), ("BLAKE3", found.blake3, named.blake3)];
    for (name, found, named) in pairs {
        if found != named {
            let reason =
                format!("its {name} is {found} where the token names {named}: it was changed");
            return Err(Refused::from(reason));
        }
    }
    Ok(((), format!("{} bytes with the size and both digests of the token", found.size)))
}

#[cfg(test)]
mod tests;
