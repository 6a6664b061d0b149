use std::fs;

use super::*;

fn file_with_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.key");
    fs::write(&path, b"secret").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

#[test]
fn only_the_owner_and_the_own_group_may_read() {
    for mode in [0o600, 0o400, 0o640, 0o440] {
        let (_directory, path) = file_with_mode(mode);
        assert_eq!(read_private(&path).unwrap().as_slice(), b"secret", "{mode:o}");
    }
    for mode in [0o604, 0o644, 0o602, 0o601, 0o620, 0o660, 0o666, 0o777] {
        let (_directory, path) = file_with_mode(mode);
        let error = read_private(&path).unwrap_err();
        assert!(matches!(error, FileError::Exposed { mode: shown, .. } if shown == mode));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

#[test]
fn foreign_owners_and_groups_are_refused() {
    let path = Path::new("a.key");
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let foreign = 4_000_000_000;
    assert!(check_access(path, 0o600, user, foreign).is_ok());
    assert!(check_access(path, 0o440, 0, group).is_ok());
    assert!(matches!(
        check_access(path, 0o600, foreign, group),
        Err(FileError::ForeignOwner { owner, .. }) if owner == foreign
    ));
    assert!(matches!(
        check_access(path, 0o640, user, foreign),
        Err(FileError::ForeignGroup { group, .. }) if group == foreign
    ));
}

#[test]
fn what_is_no_small_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(read_private(directory.path()), Err(FileError::NotAFile { .. })));
    assert!(read_private(&directory.path().join("absent")).unwrap_err().is_not_found());
    let path = directory.path().join("large");
    let limit = usize::try_from(MAX_PRIVATE_FILE_BYTES).unwrap();
    create_private(&path, &vec![0; limit + 1]).unwrap();
    assert!(matches!(read_private(&path), Err(FileError::TooLarge { .. })));
}

#[test]
fn a_secret_is_created_once_and_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.key");
    create_private(&path, b"first").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(matches!(create_private(&path, b"second"), Err(FileError::Exists { .. })));
    assert_eq!(read_private(&path).unwrap().as_slice(), b"first");
    replace_private(&path, b"third").unwrap();
    assert_eq!(read_private(&path).unwrap().as_slice(), b"third");
    // Nothing temporary is left behind.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
