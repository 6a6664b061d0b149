use std::fs;

use engine::{LogId, Position};
use journal::tlog::{Frontier, Hash, leaf_hash};

use super::{Leaf, Trees};

fn leaf(number: u32) -> Leaf {
    let hash = leaf_hash(&number.to_be_bytes());
    Leaf { hash, position: Position { frame: 0, record: number } }
}

fn root(leaves: u32) -> Hash {
    let mut frontier = Frontier::default();
    for number in 0..leaves {
        frontier.append(leaf(number).hash);
    }
    frontier.root()
}

#[test]
fn files_that_lack_leaves_are_left_alone_until_they_are_rebuilt() {
    let directory = tempfile::tempdir().unwrap();
    let tree = LogId::Site.in_epoch(1);
    let mut frontier = Frontier::default();
    frontier.append(leaf(0).hash);
    let trees = Trees::open(directory.path(), vec![(tree.clone(), frontier)]).unwrap();
    trees.append([(&tree, leaf(1))].into_iter());
    let place = trees.place(&tree);
    assert!(place.exists(), "they were opened, and found to be short");
    fs::remove_dir_all(&place).unwrap();
    trees.append([(&tree, leaf(2))].into_iter());
    assert!(!place.exists(), "they are not opened again at each commit");
    assert_eq!(trees.head(&tree), (3, root(3)), "the tree itself goes on");
}
