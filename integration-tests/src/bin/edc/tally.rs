//! What was tried and how it went.

use anyhow::Result;
use integration_tests::narration::line;

/// Counts steps, and says each.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Tally {
    /// Takes a step and says what it did, or what arrived instead. What it gives is for steps that build on it.
    pub(crate) fn step<T>(
        &mut self,
        title: &str,
        step: impl FnOnce() -> Result<(String, T)>,
    ) -> Option<T> {
        match step() {
            Ok((did, given)) => {
                self.passed += 1;
                line(format!("passed: {title}: {did}"));
                Some(given)
            }
            Err(error) => {
                self.failed += 1;
                line(format!("FAILED: {title}: {error:#}"));
                None
            }
        }
    }
}
