//! What init refuses.

use super::*;

#[test]
fn only_an_absent_or_empty_directory_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    assert!(refuse_occupied(directory.path()).is_ok());
    assert!(refuse_occupied(&directory.path().join("absent")).is_ok());
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refuse_occupied(directory.path()).is_err());
    assert!(refuse_occupied(&file).is_err());
}
