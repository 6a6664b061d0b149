//! Reading policies and purposes.

use std::fs;

use super::*;

#[test]
fn only_policy_files_are_read_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["b.toml", "a.jsonld", "c.json", "d.toml.example", ".e.toml", "f.txt"] {
        fs::write(directory.path().join(name), name).unwrap();
    }
    let found = sources(directory.path()).unwrap();
    let names = found.iter().map(|source| source.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["a.jsonld", "b.toml", "c.json"]);
    assert!(sources(&directory.path().join("absent")).is_err());
    // What else is there is named: a policy may have been meant.
    for name in ["g.TOML", "h.tml"] {
        fs::write(directory.path().join(name), name).unwrap();
    }
    fs::create_dir(directory.path().join("i.toml")).unwrap();
    assert_eq!(sources(directory.path()).unwrap().len(), 3);
    assert_eq!(not_read(directory.path()).unwrap(), ["f.txt", "g.TOML", "h.tml", "i.toml"]);
}

#[test]
fn what_is_nearly_the_file_of_restrictions_is_refused() {
    for name in ["restrictions.TOML", "Restrictions.toml", "restriction.toml", "restrictions.tml"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), "").unwrap();
        let problem = sources(directory.path()).unwrap_err().to_string();
        assert!(problem.contains(name) && problem.contains("restrictions.toml"), "{problem}");
    }
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("restrictions.toml")).unwrap();
    assert!(sources(directory.path()).is_err(), "no policy, and no leave either");
}

#[test]
fn purposes_are_optional_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("purposes.toml");
    assert!(purposes(&path).unwrap().knows("anything"));
    fs::write(&path, "[reporting]\ntitle = \"R\"\n[cfp-reporting]\npart-of = [\"reporting\"]\n")
        .unwrap();
    let known = purposes(&path).unwrap();
    assert!(known.is_within("cfp-reporting", "reporting") && !known.knows("anything"));
    fs::write(&path, "[reporting]\ntitel = \"R\"\n").unwrap();
    let problem = purposes(&path).unwrap_err().to_string();
    assert!(problem.contains("purposes.toml:2:"), "{problem}");
}

#[test]
fn a_file_too_large_for_a_policy_is_refused_unread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.toml");
    let file = fs::File::create(&path).unwrap();
    file.set_len(u64::try_from(policy::file::MAX_BYTES).unwrap() + 1).unwrap();
    assert!(source(&path, "large.toml").unwrap_err().to_string().contains("at most"));
}
