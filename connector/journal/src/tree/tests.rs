use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::*;
use crate::files::OsFiles;
use crate::tlog::{Frontier, leaf_hash};

fn hashes(count: usize) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

fn root(hashes: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    hashes.iter().for_each(|hash| {
        frontier.append(*hash);
    });
    frontier.root()
}

fn open(directory: &Path) -> TreeFiles {
    TreeFiles::open(directory, OsFiles).unwrap()
}

#[test]
fn files_are_tiles() {
    let directory = tempfile::tempdir().unwrap();
    let hashes = hashes(66_000);
    let mut tree = open(directory.path());
    tree.append(&hashes[..255]).unwrap();
    assert!(!directory.path().join("level-1").exists());
    tree.append(&hashes[255..]).unwrap();
    tree.sync().unwrap();

    let level = |number| std::fs::read(directory.path().join(level_name(number))).unwrap();
    assert_eq!(level(0), hashes.iter().flat_map(|hash| hash.0).collect::<Vec<_>>());
    let tiles: Vec<Hash> = hashes.chunks_exact(256).map(root).collect();
    assert_eq!(level(1), tiles.iter().flat_map(|hash| hash.0).collect::<Vec<_>>());
    assert_eq!(level(2), root(&hashes[..65_536]).0);

    let whole = root(&hashes);
    for index in [0, 1, 255, 256, 40_000, 65_535, 65_536, 65_999] {
        let leaf = hashes[index];
        let proof = tree.inclusion_proof(&leaf, index as u64, 66_000, &whole).unwrap();
        verify_inclusion(&leaf, index as u64, 66_000, &whole, &proof).unwrap();
        assert_eq!(tree.leaf_hash(index as u64).unwrap(), leaf);
    }
}

#[test]
fn a_damaged_hash_is_found_and_a_rebuild_heals_it() {
    let directory = tempfile::tempdir().unwrap();
    let hashes = hashes(700);
    let whole = root(&hashes);
    let mut tree = open(directory.path());
    tree.append(&hashes).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(directory.path().join("level-0"));
    file.unwrap().write_all_at(&[0; 32], 300 * 32).unwrap();

    let damaged = |result| matches!(result, Err(TreeError::TreeDamaged { .. }));
    assert!(damaged(tree.inclusion_proof(&hashes[301], 301, 700, &whole)));
    assert!(damaged(tree.consistency_proof(301, 700, &whole).map(|(_, proof)| proof)));
    // A proof that does not touch the damaged hash is still right.
    tree.inclusion_proof(&hashes[0], 0, 700, &whole).unwrap();

    tree.truncate(0).unwrap();
    tree.append(&hashes).unwrap();
    tree.inclusion_proof(&hashes[301], 301, 700, &whole).unwrap();
    // Another leaf than the one at the index is no damage of the caller's making, but no proof.
    assert!(damaged(tree.inclusion_proof(&hashes[0], 301, 700, &whole)));
}

#[test]
fn what_exceeds_the_common_size_is_cut_off() {
    let hashes = hashes(1_000);
    for (level, length, expected) in [
        (0, 900 * 32 + 5, 900),
        (0, 0, 0),
        // Two tile roots: the tree has less than three full tiles.
        (1, 2 * 32, 767),
        (1, 31, 255),
    ] {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).append(&hashes).unwrap();
        let path = directory.path().join(level_name(level));
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
        let mut tree = open(directory.path());
        assert_eq!(tree.size(), expected);
        tree.append(&hashes[usize::try_from(expected).unwrap()..]).unwrap();
        assert_eq!(tree.root(1_000).unwrap(), root(&hashes));
    }
}

#[test]
fn a_lost_level_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let hashes = hashes(65_540);
    open(directory.path()).append(&hashes).unwrap();
    std::fs::remove_file(directory.path().join("level-1")).unwrap();
    let mut tree = open(directory.path());
    assert_eq!(tree.size(), 255);
    tree.append(&hashes[255..]).unwrap();
    assert_eq!(tree.root(65_540).unwrap(), root(&hashes));
}

#[test]
fn more_than_there_is_cannot_be_proven() {
    let directory = tempfile::tempdir().unwrap();
    let hashes = hashes(3);
    let mut tree = open(directory.path());
    assert_eq!(tree.root(0).unwrap(), Hash::EMPTY_TREE);
    tree.append(&hashes).unwrap();
    let whole = root(&hashes);
    let refused = |error| matches!(error, TreeError::Size { .. });
    assert!(refused(tree.root(4).unwrap_err()));
    assert!(refused(tree.leaf_hash(3).unwrap_err()));
    assert!(refused(tree.inclusion_proof(&hashes[0], 0, 4, &whole).unwrap_err()));
    assert!(refused(tree.inclusion_proof(&hashes[0], 3, 3, &whole).unwrap_err()));
    assert!(refused(tree.consistency_proof(3, 2, &whole).unwrap_err()));
    assert!(refused(tree.consistency_proof(0, u64::MAX, &whole).unwrap_err()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_way_of_appending_gives_the_same_proofs(
        pieces in prop::collection::vec(0_usize..400, 1..8),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        old in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let hashes = hashes(pieces.iter().sum::<usize>() + 1);
        let mut tree = open(directory.path());
        let mut done = 0;
        for piece in pieces {
            tree.append(&hashes[done..done + piece]).unwrap();
            done += piece;
            prop_assert_eq!(tree.size(), done as u64);
        }
        // Cut back, open anew, and go on.
        let cut = cut.index(done + 1);
        tree.truncate(cut as u64).unwrap();
        let mut tree = open(directory.path());
        prop_assert_eq!(tree.size(), cut as u64);
        tree.append(&hashes[cut..]).unwrap();

        let size = hashes.len() as u64;
        let whole = root(&hashes);
        prop_assert_eq!(tree.root(size).unwrap(), whole);
        let index = at.index(hashes.len());
        tree.inclusion_proof(&hashes[index], index as u64, size, &whole).unwrap();
        let old = old.index(hashes.len() + 1);
        let (old_root, _) = tree.consistency_proof(old as u64, size, &whole).unwrap();
        prop_assert_eq!(old_root, root(&hashes[..old]));
    }
}
