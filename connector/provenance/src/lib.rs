//! Provenance tokens and their evidence: issue, chain, verify offline.
