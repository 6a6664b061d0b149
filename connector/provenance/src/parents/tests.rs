use super::*;

fn opening(name: &str) -> Opening {
    Opening {
        salt: Digest::sha256(name.as_bytes()).0,
        parent: Parent {
            token: Digest::sha256(b"token"),
            role: name.to_owned(),
            digest: Digest::sha256(b"data"),
        },
    }
}

fn commitments(openings: &[Opening]) -> Vec<Commitment> {
    openings.iter().map(|one| one.commitment().unwrap()).collect()
}

#[test]
fn a_commitment_is_the_hash_of_salt_and_canonical_form() {
    let opening = opening("input");
    let text = format!(
        r#"{{"digest":"{}","role":"input","token":"{}"}}"#,
        opening.parent.digest, opening.parent.token
    );
    let salted = [&opening.salt[..], text.as_bytes()].concat();
    assert_eq!(opening.commitment().unwrap(), Commitment(Digest::sha256(&salted)));
}

#[test]
fn any_choice_of_parents_can_be_shown_in_any_order() {
    let all = [opening("a"), opening("b"), opening("c")];
    let closed = commitments(&all);
    let [a, b, c] = all;
    for shown in [vec![], vec![b.clone()], vec![c.clone(), a.clone()], vec![c, b, a]] {
        assert_eq!(check(&shown, &closed), Ok(()));
    }
}

#[test]
fn every_member_of_a_parent_and_its_salt_are_bound() {
    let closed = commitments(&[opening("a")]);
    let changes: [fn(&mut Opening); 4] = [
        |one| one.salt[31] ^= 1,
        |one| one.parent.token.0[0] ^= 1,
        |one| one.parent.digest.0[0] ^= 1,
        |one| one.parent.role.push('s'),
    ];
    for change in changes {
        let mut changed = opening("a");
        change(&mut changed);
        let token = changed.parent.token;
        assert_eq!(check(&[changed], &closed), Err(OpeningError::OpensNothing { token }));
    }
}

#[test]
fn one_commitment_is_opened_once() {
    let (one, twice) = (opening("a"), [opening("a"), opening("a")]);
    assert!(check(&twice, &commitments(&[one])).is_err());
    assert_eq!(check(&twice, &commitments(&twice)), Ok(()));
}

#[test]
fn a_role_has_a_length() {
    for (role, accepted) in [("", false), (&"r".repeat(256), true), (&"r".repeat(257), false)] {
        assert_eq!(opening(role).commitment().is_ok(), accepted, "{}", role.len());
    }
}
