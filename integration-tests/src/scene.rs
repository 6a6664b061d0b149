//! The place where sites meet: a temporary directory, and the logs of everything in it when something fails.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use tempfile::TempDir;

use crate::judged::Judged;
use crate::process::tail;
use crate::proxy::Proxy;
use crate::site::{Plan, Site};

/// A temporary directory with sites.
#[derive(Debug)]
pub struct Scene {
    directory: TempDir,
    judged: Option<Arc<Judged>>,
}

impl Scene {
    /// An empty scene.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("sekisho-").tempdir()?;
        Ok(Self { directory, judged: None })
    }

    /// Plays a test; its failure carries the logs of all daemons. What its sites sent is held against the official schemas,
    /// where those are at hand.
    ///
    /// # Errors
    /// That of the test, or what violates its schema.
    pub fn play(test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let judged = Arc::new(Judged::default());
        let mut scene = Self::new()?;
        scene.judged = Some(Arc::clone(&judged));
        test(&scene).map_err(|error| error.context(scene.logs()))?;
        judged.verdict()
    }

    /// What was judged so far of what its sites sent: each time that one stops. Nothing outside of [`Scene::play`].
    pub fn judged(&self) -> usize {
        self.judged.as_ref().map_or(0, |judged| judged.count())
    }

    /// How many answers of each DSP type were judged so far, by its `@type`.
    pub fn answers(&self) -> BTreeMap<String, usize> {
        self.judged.as_ref().map(|judged| judged.answers()).unwrap_or_default()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file of the scene.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A site to be made here, under the name by which its partners will know it.
    pub fn plan(&self, name: &str) -> Plan {
        Plan::new(self.path(), name, self.judged.clone())
    }

    /// A site that serves.
    ///
    /// # Errors
    /// When it cannot be made or does not start.
    pub fn site(&self, name: &str) -> Result<Site> {
        let mut site = self.plan(name).make()?;
        site.start()?;
        Ok(site)
    }

    /// A site that serves, which others reach only through a line that the test controls.
    ///
    /// # Errors
    /// When it cannot be made or does not start.
    pub fn site_behind_a_line(&self, name: &str) -> Result<(Site, Proxy)> {
        let line = Proxy::new()?;
        let mut site = self.plan(name).dialled_at(line.address()).make()?;
        line.lead_to(site.address());
        site.start()?;
        Ok((site, line))
    }

    fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.path()).into_iter().flatten().flatten();
        let mut logs = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
            .collect::<Vec<_>>();
        logs.sort();
        logs.iter().map(|log| tail(log)).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.logs());
        }
    }
}
