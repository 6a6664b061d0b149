use std::collections::HashMap;
use std::convert::Infallible;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;

/// All complete subtrees of a tree, computed the plain way.
struct Memory(HashMap<Node, Hash>);

impl Memory {
    fn of(leaves: &[Vec<u8>]) -> Self {
        let mut nodes = HashMap::new();
        let mut hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        for level in 0.. {
            if hashes.is_empty() {
                break;
            }
            for (index, hash) in hashes.iter().enumerate() {
                nodes.insert(Node { level, index: index as u64 }, *hash);
            }
            hashes = hashes.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        Self(nodes)
    }
}

impl HashReader for Memory {
    type Error = String;

    fn read_hash(&self, node: Node) -> Result<Hash, String> {
        self.0.get(&node).copied().ok_or_else(|| format!("{node:?}"))
    }
}

fn leaves(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("leaf {number}").into_bytes()).collect()
}

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

fn hash(text: &str) -> Hash {
    text.parse().unwrap()
}

#[test]
fn roots_are_those_of_the_certificate_transparency_reference_tests() {
    let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
        .map(|text| hex::decode(text).unwrap())
        .into_iter()
        .chain([hex::decode("606162636465666768696a6b6c6d6e6f").unwrap()]);
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::new();
    assert_eq!(
        frontier.root(),
        hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
    for (leaf, root) in leaves.zip(roots) {
        frontier.append(leaf_hash(&leaf));
        assert_eq!(frontier.root(), hash(root), "tree of {} leaves", frontier.size());
    }
}

#[test]
fn roots_and_proofs_agree_with_another_implementation_at_every_size() {
    const SIZE_MAX: usize = 200;
    let leaves = leaves(SIZE_MAX);
    let reader = Memory::of(&leaves);
    let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut oracle_roots = vec![oracle.root()];
    let mut frontier = Frontier::new();
    let mut roots = vec![frontier.root()];

    for size in 1..=SIZE_MAX {
        oracle.push(leaves[size - 1].clone());
        frontier.append(leaf_hash(&leaves[size - 1]));
        let root = frontier.root();
        oracle_roots.push(oracle.root());
        roots.push(root);
        let length = size as u64;
        assert_eq!(root.0[..], oracle.root().as_bytes()[..]);
        assert_eq!(tree_root(length, &reader).unwrap(), root);

        for (index, leaf) in leaves.iter().enumerate().take(size) {
            let proof = inclusion_proof(index as u64, length, &reader).unwrap();
            assert_eq!(bytes(&proof), oracle.prove_inclusion(index).as_bytes());
            let theirs = InclusionProof::try_from_bytes(bytes(&proof)).unwrap();
            oracle.root().verify_inclusion(leaf, index as u64, &theirs).unwrap();
            verify_inclusion(&leaf_hash(leaf), index as u64, length, &root, &proof).unwrap();
        }
        for old in 1..size {
            let proof = consistency_proof(old as u64, length, &reader).unwrap();
            assert_eq!(bytes(&proof), oracle.prove_consistency(size - old).as_bytes());
            let theirs = ConsistencyProof::try_from_bytes(bytes(&proof)).unwrap();
            oracle.root().verify_consistency(&oracle_roots[old], &theirs).unwrap();
            verify_consistency(old as u64, &roots[old], length, &root, &proof).unwrap();
        }
    }
}

#[test]
fn the_ends_of_consistency_need_no_proof() {
    let reader = Memory::of(&leaves(3));
    let root = tree_root(3, &reader).unwrap();
    let empty = Hash::EMPTY_TREE;
    for (old_size, old_root) in [(0, empty), (3, root)] {
        assert_eq!(consistency_proof(old_size, 3, &reader).unwrap(), []);
        verify_consistency(old_size, &old_root, 3, &root, &[]).unwrap();
        verify_consistency(old_size, &old_root, 3, &root, &[root]).unwrap_err();
    }
    verify_consistency(0, &empty, 0, &empty, &[]).unwrap();
    verify_consistency(0, &root, 3, &root, &[]).unwrap_err();
    verify_consistency(0, &empty, 0, &root, &[]).unwrap_err();
    verify_consistency(3, &empty, 3, &root, &[]).unwrap_err();
}

#[test]
fn proofs_outside_the_tree_are_refused() {
    let reader = Memory::of(&leaves(3));
    let root = tree_root(3, &reader).unwrap();
    assert_eq!(inclusion_proof(3, 3, &reader), Err(ProveError::Leaf { index: 3, size: 3 }));
    assert_eq!(
        consistency_proof(4, 3, &reader),
        Err(ProveError::Sizes { old_size: 4, new_size: 3 })
    );
    assert!(matches!(inclusion_proof(3, 9, &reader), Err(ProveError::Read(_))));
    let large = ProveError::Large { size: u64::MAX };
    assert_eq!(inclusion_proof(3, u64::MAX, &reader), Err(large.clone()));
    assert_eq!(consistency_proof(3, u64::MAX, &reader), Err(large.clone()));
    assert_eq!(tree_root(u64::MAX, &reader), Err(large));
    assert_eq!(
        verify_inclusion(&root, 3, 3, &root, &[]),
        Err(ProofError::Leaf { index: 3, size: 3 })
    );
    assert_eq!(
        verify_consistency(4, &root, 3, &root, &[]),
        Err(ProofError::Sizes { old_size: 4, new_size: 3 })
    );
    // What a peer states freely must not break the arithmetic.
    let long = vec![root; 66];
    for proof in [&[][..], &long[..64], &long[..65], &long] {
        verify_inclusion(&root, u64::MAX - 1, u64::MAX, &root, proof).unwrap_err();
        verify_consistency(u64::MAX - 1, &root, u64::MAX, &root, proof).unwrap_err();
        verify_consistency(1, &root, u64::MAX, &root, proof).unwrap_err();
    }
}

proptest! {
    #[test]
    fn a_changed_proof_is_refused(
        size in 2_usize..400,
        at in any::<prop::sample::Index>(),
        old in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        bit in 0_u32..256,
    ) {
        let leaves = leaves(size);
        let reader = Memory::of(&leaves);
        let (index, old, size) = (at.index(size) as u64, 1 + old.index(size - 1) as u64, size as u64);
        let root = tree_root(size, &reader).unwrap();
        let old_root = tree_root(old, &reader).unwrap();
        let leaf = leaf_hash(&leaves[at.index(leaves.len())]);

        let mut inclusion = inclusion_proof(index, size, &reader).unwrap();
        let mut consistency = consistency_proof(old, size, &reader).unwrap();
        let flip = |proof: &mut Vec<Hash>| {
            let place = place.index(proof.len());
            proof[place].0[bit as usize / 8] ^= 1 << (bit % 8);
        };
        flip(&mut inclusion);
        prop_assert!(verify_inclusion(&leaf, index, size, &root, &inclusion).is_err());
        flip(&mut inclusion);
        prop_assert!(verify_inclusion(&leaf, index, size, &root, &inclusion).is_ok());
        flip(&mut consistency);
        prop_assert!(verify_consistency(old, &old_root, size, &root, &consistency).is_err());
        flip(&mut consistency);
        prop_assert!(verify_consistency(old, &old_root, size, &root, &consistency).is_ok());

        inclusion.push(root);
        consistency.push(root);
        prop_assert!(verify_inclusion(&leaf, index, size, &root, &inclusion).is_err());
        prop_assert!(verify_consistency(old, &old_root, size, &root, &consistency).is_err());
        inclusion.truncate(inclusion.len() - 2);
        consistency.truncate(consistency.len() - 2);
        prop_assert!(verify_inclusion(&leaf, index, size, &root, &inclusion).is_err());
        prop_assert!(verify_consistency(old, &old_root, size, &root, &consistency).is_err());
    }

    #[test]
    fn a_stored_frontier_goes_on_as_the_one_that_was_kept(before in 0_usize..300, after in 0_usize..40) {
        let leaves = leaves(before + after);
        let mut kept = Frontier::new();
        for leaf in &leaves[..before] {
            kept.append(leaf_hash(leaf));
        }
        let text = serde_json::to_string(&kept).unwrap();
        let mut stored: Frontier = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&stored, &kept);
        for leaf in &leaves[before..] {
            prop_assert_eq!(stored.append(leaf_hash(leaf)), kept.append(leaf_hash(leaf)));
        }
        prop_assert_eq!(stored.root(), tree_root(leaves.len() as u64, &Memory::of(&leaves)).unwrap());
    }
}

#[test]
fn a_frontier_with_a_wrong_number_of_hashes_is_refused() {
    let node = Hash::of(b"node");
    assert!(Frontier::from_parts(5, vec![node]).is_err());
    assert!(Frontier::from_parts(5, vec![node; 3]).is_err());
    assert!(Frontier::from_parts(5, vec![node; 2]).is_ok());
    assert!(serde_json::from_str::<Frontier>(r#"{"size":1,"subtrees":[]}"#).is_err());
}

#[test]
fn a_hash_has_one_spelling() {
    let own = Hash::of(b"text");
    let text = own.to_string();
    assert_eq!(text.parse(), Ok(own));
    assert_eq!(Hash::from_base64(&own.to_base64()), Ok(own));
    assert_eq!(serde_json::from_str::<Hash>(&serde_json::to_string(&own).unwrap()).unwrap(), own);
    for wrong in
        [text.to_uppercase(), text.chars().skip(1).collect(), format!("{text}0"), "x".repeat(64)]
    {
        assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
    }
    let base64 = own.to_base64();
    for wrong in [base64.trim_end_matches('=').to_owned(), format!(" {base64}"), "AA==".to_owned()]
    {
        assert!(Hash::from_base64(&wrong).is_err(), "{wrong}");
    }
}

const NAME: &str = "connector.example/site/1";

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn public(key: &Ed25519KeyPair) -> [u8; 32] {
    key.public_key().as_ref().try_into().unwrap()
}

fn signer(key: &Ed25519KeyPair) -> impl Fn(&[u8]) -> Result<[u8; 64], Infallible> {
    |text| Ok(key.sign(text).as_ref().try_into().unwrap())
}

fn checkpoint() -> Checkpoint {
    let mut checkpoint = Checkpoint::new(NAME, 7, Hash::of(b"root"));
    checkpoint.extensions.push("an extension — kept".to_owned());
    checkpoint
}

#[test]
fn a_checkpoint_is_signed_and_verified() {
    let key = key();
    let note = sign_checkpoint(&checkpoint(), NAME, &public(&key), signer(&key)).unwrap();
    let body =
        format!("{NAME}\n7\n{}\nan extension — kept\n\n— {NAME} ", Hash::of(b"root").to_base64());
    assert!(note.starts_with(&body), "{note}");
    assert_eq!(verify_checkpoint(&note, NAME, &public(&key)), Ok(checkpoint()));

    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let unsigned = NoteError::Unsigned { key_name: NAME.to_owned() };
    assert_eq!(verify_checkpoint(&note, NAME, &public(&other)), Err(unsigned));
    let unsigned = NoteError::Unsigned { key_name: "another".to_owned() };
    assert_eq!(verify_checkpoint(&note, "another", &public(&key)), Err(unsigned));
}

#[test]
fn a_checkpoint_is_not_signed_in_another_name() {
    let key = key();
    let other = public(&Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap());
    assert!(matches!(
        sign_checkpoint(&checkpoint(), NAME, &other, signer(&key)),
        Err(SignError::Unverifiable(NoteError::Signature { .. }))
    ));
    for name in ["", "two words", "a+b", "line\nbreak"] {
        let refused = sign_checkpoint(&checkpoint(), name, &public(&key), signer(&key));
        assert!(matches!(refused, Err(SignError::KeyName { .. })), "{name}");
    }
    for line in ["", "two\nlines", "tab\t"] {
        let refused = Checkpoint::new(line, 1, Hash::EMPTY_TREE);
        let refused = sign_checkpoint(&refused, NAME, &public(&key), signer(&key));
        assert!(matches!(refused, Err(SignError::Checkpoint(_))), "{line}");
    }
    let failed = sign_checkpoint(&checkpoint(), NAME, &public(&key), |_| Err("no key"));
    assert_eq!(failed, Err(SignError::Signer("no key")));
}

#[test]
fn lines_of_other_keys_are_passed_over() {
    let key = key();
    let note = sign_checkpoint(&checkpoint(), NAME, &public(&key), signer(&key)).unwrap();
    let (body, own) = note.rsplit_once("\n\n").unwrap();
    let others = |count: usize, length: usize| -> String {
        (0..count)
            .map(|number| format!("— witness-{number} {}\n", STANDARD.encode(vec![7; 4 + length])))
            .collect()
    };
    // Sixteen witnesses with signatures of ML-DSA-44 size, before and after our line.
    for note in [
        format!("{body}\n\n{}{own}", others(16, 2_420)),
        format!("{body}\n\n{own}{}", others(16, 2_420)),
        format!("{body}\n\n{}{own}", others(99, 64)),
    ] {
        assert_eq!(verify_checkpoint(&note, NAME, &public(&key)), Ok(checkpoint()));
    }
    let many = format!("{body}\n\n{}{own}", others(100, 64));
    assert_eq!(verify_checkpoint(&many, NAME, &public(&key)), Err(NoteError::Malformed));
    let large = format!("{body}\n\n{}{own}", others(30, 2_420));
    let oversized = NoteError::Oversized { found: large.len() };
    assert_eq!(verify_checkpoint(&large, NAME, &public(&key)), Err(oversized));
}

#[test]
fn a_changed_or_respelled_note_is_refused() {
    let key = key();
    let public = public(&key);
    let note = sign_checkpoint(&checkpoint(), NAME, &public, signer(&key)).unwrap();
    let changed = note.replacen("\n7\n", "\n8\n", 1);
    let signature = NoteError::Signature { key_name: NAME.to_owned() };
    assert_eq!(verify_checkpoint(&changed, NAME, &public), Err(signature));
    for wrong in [
        String::new(),
        note.trim_end().to_owned(),
        format!("{note}\n"),
        note.replace('\n', "\r\n"),
        note.replacen("\n\n", "\n", 1),
        note.replacen("— ", "- ", 1),
        format!("{note}— x\n"),
        note.replacen('—', "\u{1b}", 1),
    ] {
        assert!(verify_checkpoint(&wrong, NAME, &public).is_err(), "{wrong:?}");
    }
    for (cut, _) in note.char_indices() {
        let (short, _) = note.split_at(cut);
        assert!(verify_checkpoint(short, NAME, &public).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_body_has_one_spelling() {
    let root = Hash::of(b"root").to_base64();
    let good = format!("origin\n7\n{root}\n");
    assert_eq!(Checkpoint::from_body(&good), Ok(Checkpoint::new("origin", 7, Hash::of(b"root"))));
    for wrong in [
        format!("\n7\n{root}\n"),
        format!("origin\n07\n{root}\n"),
        format!("origin\n+7\n{root}\n"),
        format!("origin\n-1\n{root}\n"),
        format!("origin\n18446744073709551616\n{root}\n"),
        format!("origin\n7\n{}\n", root.trim_end_matches('=')),
        format!("origin\n7\n{root}"),
        format!("origin\n7\n{root}\n\n"),
        format!("origin\n7\n{root}\n\nmore\n"),
        format!("origin\r\n7\n{root}\n"),
        "origin\n7\n".to_owned(),
        "origin\n7\nAAAA\n".to_owned(),
    ] {
        assert!(Checkpoint::from_body(&wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,200}", lines in prop::collection::vec("[— a-zA-Z0-9+/=\n]{0,60}", 0..8)) {
        let key = [3; 32];
        let _ = verify_checkpoint(&text, NAME, &key);
        let _ = verify_checkpoint(&lines.join("\n"), NAME, &key);
        let _ = Checkpoint::from_body(&text);
        let _ = Checkpoint::from_body(&lines.join("\n"));
    }
}
