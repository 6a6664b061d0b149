//! Usage policies: ODRL model, policy files, evaluation, explanation. Pure.
