//! What most suites begin with: a supplier, a customer, and policies.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use integration_tests::scene::Scene;
use integration_tests::site::{Site, befriend};

/// Partners may use it for reporting.
pub(crate) const REPORTING: &str = r#"
title = "Reporting"
description = "Partners may use the data for their reports."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
when = ["purpose isAnyOf [cfp-reporting, audit]"]
"#;

/// Partners may use it.
pub(crate) const OPEN: &str = r#"
title = "Open"
description = "Partners may use the data."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
"#;

/// Half a day after the agreement the data must be gone.
pub(crate) const FLEETING: &str = r#"
title = "Fleeting"
description = "For half a day."
[who]
groups = ["partners"]
[[permit]]
actions = ["use"]
[[duty]]
action = "delete"
within = "PT12H"
"#;

/// Nobody who is registered in these tests sees it.
pub(crate) const HIDDEN: &str = r#"
title = "Hidden"
description = "For somebody else."
[who]
partners = ["did:web:elsewhere.example"]
[[permit]]
actions = ["use"]
"#;

/// A supplier `b` and a customer `a`, both serving, partners of each other, `b` with the policies above.
pub(crate) struct Pair {
    pub(crate) supplier: Site,
    pub(crate) customer: Site,
}

impl Pair {
    pub(crate) fn new(scene: &Scene) -> Result<Self> {
        Self::of(scene.site("b")?, scene.site("a")?)
    }

    /// Two sites that serve become partners.
    pub(crate) fn of(supplier: Site, customer: Site) -> Result<Self> {
        befriend(&supplier, &customer)?;
        supplier.activate(&[("reporting", REPORTING), ("open", OPEN), ("hidden", HIDDEN)])?;
        Ok(Self { supplier, customer })
    }
}

/// Writes a small file into the scene.
pub(crate) fn note(scene: &Scene, name: &str, text: &str) -> Result<PathBuf> {
    let path = scene.file(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

/// A path as an argument.
pub(crate) fn word(path: &Path) -> Result<&str> {
    path.to_str().context("a path is not UTF-8")
}
