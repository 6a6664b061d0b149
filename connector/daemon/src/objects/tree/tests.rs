use proptest::prelude::*;

use super::*;

fn tree_of(bytes: &[u8]) -> Tree {
    let mut hasher = TreeHasher::default();
    for group in bytes.chunks(GROUP_SIZE) {
        hasher.push(group);
    }
    hasher.finish()
}

/// Bytes that differ everywhere, so that a misplaced group is seen.
fn bytes_of(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"bytes").finalize_xof().fill(&mut bytes);
    bytes
}

fn check(size: usize) {
    let bytes = bytes_of(size);
    let tree = tree_of(&bytes);
    let root = blake3::hash(&bytes);
    assert_eq!(tree.root(), root, "size {size}");
    assert_eq!(tree.groups(), group_count(size as u64));
    let file = tree.write();
    assert_eq!(file.len() as u64, file_length(size as u64));
    let read = Tree::read(&file, size as u64, &root).unwrap();
    assert_eq!(read, tree);
    let mut seen = 0;
    for group in 0..read.groups() {
        let (offset, length) = read.extent(group).unwrap();
        assert_eq!(offset, seen as u64);
        let bytes = &bytes[seen..seen + length];
        assert!(read.holds(group, bytes), "size {size} group {group}");
        seen += length;
    }
    assert_eq!(seen, size);
    assert_eq!(read.extent(read.groups()), None);
}

#[test]
fn the_root_is_blake3s_at_each_boundary() {
    let group = GROUP_SIZE;
    for size in [
        0,
        1,
        1023,
        1024,
        1025,
        group - 1,
        group,
        group + 1,
        2 * group - 1,
        2 * group,
        2 * group + 1,
        3 * group,
        3 * group + 1,
        4 * group,
        5 * group - 1024,
        7 * group + 1025,
        8 * group,
        9 * group + 1,
    ] {
        check(size);
    }
}

#[test]
fn a_tree_file_that_does_not_fit_is_refused() {
    let bytes = bytes_of(3 * GROUP_SIZE);
    let root = blake3::hash(&bytes);
    let size = bytes.len() as u64;
    let file = tree_of(&bytes).write();
    assert_eq!(Tree::read(&[], size, &root), Err(TreeError::UnknownVersion));
    assert_eq!(Tree::read(&file[..27], size, &root), Err(TreeError::UnknownVersion));
    let wrong_size = TreeError::WrongSize { expected: size };
    assert_eq!(Tree::read(&file[..file.len() - 1], size, &root), Err(wrong_size.clone()));
    assert_eq!(Tree::read(&file[..file.len() - 32], size, &root), Err(wrong_size));
    assert_eq!(
        Tree::read(&file, size - 1, &root),
        Err(TreeError::WrongSize { expected: size - 1 })
    );
    let other = blake3::hash(b"other");
    assert_eq!(
        Tree::read(&file, size, &other),
        Err(TreeError::WrongRoot { root: other.to_hex().to_string() })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_root_is_blake3s(size in 0_usize..4 * 1024 * 1024) {
        check(size);
    }

    #[test]
    fn any_flipped_bit_of_a_tree_file_is_found(
        size in 0_usize..2 * 1024 * 1024,
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let bytes = bytes_of(size);
        let mut file = tree_of(&bytes).write();
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        prop_assert!(Tree::read(&file, size as u64, &blake3::hash(&bytes)).is_err());
    }

    #[test]
    fn any_flipped_bit_of_a_group_is_found(
        size in 1_usize..1024 * 1024,
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = bytes_of(size);
        let tree = tree_of(&bytes);
        let at = at.index(size);
        bytes[at] ^= 1 << bit;
        for (group, chunk) in bytes.chunks(GROUP_SIZE).enumerate() {
            prop_assert_eq!(tree.holds(group as u64, chunk), group != at / GROUP_SIZE);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(file in prop::collection::vec(any::<u8>(), 0..256), size: u64) {
        let _ = Tree::read(&file, size, &blake3::hash(&file));
    }
}
