//! Usage policies: the ODRL 2.2 model, policy files, evaluation, explanation.
//!
//! Everything here is a function of its arguments: the clock, the partner registry and what was
//! done before are given as a [`evaluate::World`]. What is not understood denies, and says so.
//!
//! | module | what it is |
//! |---|---|
//! | [`odrl`] | the information model and its compact JSON-LD form |
//! | [`file`](mod@file) | policy files in TOML, with errors that name the place and the remedy |
//! | [`set`] | the immutable, hashed set of policies that rules at a time |
//! | [`evaluate`](mod@evaluate) | may this subject do this, now, and until when |
//! | [`profile`] | which profiles are known, and what each forbids |
//! | [`restrict`](mod@restrict) | what the site prohibits besides, whatever is agreed |
//! | [`classify`](mod@classify) | which clause is enforced, observed, only declared, or refused |
//! | [`explain`] | a refusal for a partner and for an administrator; a policy in plain language |
//! | [`inquiry`] | may this partner do this, which clause decides, and what would change the answer |
//! | [`matrix`] | who may do what, and what another set would change |
//! | [`lint`](mod@lint) | what in a set is most likely not what was meant |
//! | [`cases`] | what an administrator expects of a set, checked |
//! | [`terms`] | offers, narrowing by a declared purpose, agreements, equality and strictness of terms |

pub mod cases;
pub mod classify;
pub mod diagnostic;
pub mod evaluate;
pub mod explain;
pub mod file;
pub mod inquiry;
pub mod lint;
pub mod matrix;
pub mod odrl;
pub mod profile;
pub mod restrict;
pub mod set;
pub mod terms;
pub mod vocabulary;
