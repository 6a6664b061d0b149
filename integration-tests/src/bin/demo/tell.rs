//! How the demonstration speaks.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use integration_tests::narration::line;

static CHAPTER: AtomicU32 = AtomicU32::new(1);

/// Begins a chapter.
pub(crate) fn chapter(title: &str) {
    let number = CHAPTER.fetch_add(1, Ordering::Relaxed);
    line(format!("\n{number}. {title}"));
}

/// Says what somebody did, when it is so.
///
/// # Errors
/// When it is not so.
pub(crate) fn shows(who: &str, what: &str, holds: bool) -> Result<()> {
    line(format!("  [{}] {who} {what}", if holds { "ok" } else { "NOT SO" }));
    ensure!(holds, "{who} {what}: this did not hold");
    Ok(())
}
