//! The committed corpus of the fuzz targets, through the same functions: what was found once is not found again.

use anyhow::{Context as _, Result, ensure};
use std::path::Path;

#[path = "../../fuzz/src/targets.rs"]
mod targets;

#[test]
fn the_corpus_of_every_fuzz_target_holds() -> Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut known = 0;
    for (name, target) in targets::TARGETS {
        let directory = corpus.join(name);
        let entries = std::fs::read_dir(&directory);
        let mut seeds = 0;
        for entry in entries.with_context(|| format!("`{name}` has no corpus"))? {
            let path = entry?.path();
            let bytes = std::fs::read(&path)?;
            let held = std::panic::catch_unwind(|| target(&bytes));
            ensure!(held.is_ok(), "`{}` does not hold", path.display());
            seeds += 1;
        }
        ensure!(seeds > 0, "`{name}` has an empty corpus");
        known += 1;
    }
    let directories = std::fs::read_dir(&corpus)?.count();
    assert_eq!(directories, known, "a corpus without a target");
    Ok(())
}
