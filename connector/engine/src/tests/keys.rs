//! Keys of the management API: which are made, taken and revoked, and what is recorded of it.

use jiff::{SignedDuration, Timestamp};

use super::world::*;
use crate::keys::{KeyEnded, KeyError, ManagementKey, Role, Scope, create, key, revoke};
use crate::{Key, Kind, RecordKind};

fn asked(name: &str, role: Role) -> ManagementKey {
    ManagementKey {
        v: 1,
        name: name.to_owned(),
        sha256: "ab".repeat(32),
        role,
        scope: Scope::default(),
        application: None,
        created: Timestamp::UNIX_EPOCH,
        expires: None,
        revoked: None,
    }
}

fn make(world: &mut World, asked: &ManagementKey) -> Result<ManagementKey, KeyError> {
    world.decide(|view| create(view, asked, Some("sato")))
}

fn end(world: &mut World, name: &str) -> Result<ManagementKey, KeyError> {
    world.decide(|view| revoke(view, name, Some("lost"), Some("sato")))
}

#[test]
fn a_key_is_made_as_asked_or_refused_without_a_trace() {
    let limited = Scope { purposes: Some(["audit".to_owned()].into()), ..Scope::default() };
    let now = World::new(CONSUMER).now;
    let with_scope = |role| ManagementKey { scope: limited.clone(), ..asked("k", role) };
    let held_by = |role, application: &str| ManagementKey {
        application: Some(application.to_owned()),
        ..asked("k", role)
    };
    let expiring = |seconds| ManagementKey {
        expires: Some(now.checked_add(SignedDuration::from_secs(seconds)).unwrap()),
        ..asked("k", Role::Auditor)
    };
    let long = "a".repeat(64);
    let table = [
        (asked("k", Role::Administrator), None),
        (asked("k", Role::PolicyAdministrator), None),
        (asked("k", Role::Auditor), None),
        (asked("k", Role::Application), None),
        (asked(&"a".repeat(63), Role::Auditor), None),
        (asked(&long, Role::Auditor), Some(KeyError::Name(long.clone()))),
        (asked("", Role::Auditor), Some(KeyError::Name(String::new()))),
        (asked("K", Role::Auditor), Some(KeyError::Name("K".to_owned()))),
        (asked("a.b", Role::Auditor), Some(KeyError::Name("a.b".to_owned()))),
        (with_scope(Role::Application), None),
        (with_scope(Role::Auditor), Some(KeyError::Scope)),
        (with_scope(Role::PolicyAdministrator), Some(KeyError::Scope)),
        (with_scope(Role::Administrator), Some(KeyError::Scope)),
        (held_by(Role::Application, "https://a.example/apps/solver"), None),
        (held_by(Role::Application, "urn:app:1"), None),
        (held_by(Role::Auditor, "urn:app:1"), Some(KeyError::NoApplication)),
        (held_by(Role::Administrator, "urn:app:1"), Some(KeyError::NoApplication)),
        (held_by(Role::Application, ""), Some(KeyError::Application(String::new()))),
        (held_by(Role::Application, "solver"), Some(KeyError::Application("solver".to_owned()))),
        (held_by(Role::Application, "urn:"), Some(KeyError::Application("urn:".to_owned()))),
        (held_by(Role::Application, "urn:a b"), Some(KeyError::Application("urn:a b".to_owned()))),
        (expiring(1), None),
        (expiring(0), Some(KeyError::Expired(now))),
        (expiring(-1), Some(KeyError::Expired(expiring(-1).expires.unwrap()))),
        (asked("taken", Role::Auditor), Some(KeyError::Taken("taken".to_owned()))),
        (asked("ended", Role::Auditor), Some(KeyError::Taken("ended".to_owned()))),
    ];
    for (wanted, refused) in table {
        let mut world = World::new(CONSUMER);
        make(&mut world, &asked("taken", Role::Auditor)).unwrap();
        make(&mut world, &asked("ended", Role::Auditor)).unwrap();
        end(&mut world, "ended").unwrap();
        let (before, keys) = (world.records.len(), world.of_kind(Kind::ManagementKey).len());
        match (make(&mut world, &wanted), refused) {
            (Ok(made), None) => {
                assert_eq!(made, ManagementKey { created: world.now, ..wanted.clone() });
                assert_eq!(world.look(|view| key(view, &wanted.name)), Some(made));
                assert_eq!(world.kinds(before), [RecordKind::KeyCreated]);
                let record = world.records.last().unwrap();
                assert_eq!(record.body.person.as_deref(), Some("sato"));
                assert_eq!(record.account.facts["role"], wanted.role.name());
            }
            (Err(error), Some(refused)) => {
                assert_eq!(error, refused);
                assert_eq!(world.records.len(), before, "{error}");
                assert_eq!(world.of_kind(Kind::ManagementKey).len(), keys);
            }
            (outcome, refused) => panic!("{wanted:?}: {outcome:?}, not {refused:?}"),
        }
    }
}

#[test]
fn a_key_is_revoked_once_and_stays_so() {
    let mut world = World::new(CONSUMER);
    assert_eq!(end(&mut world, "k"), Err(KeyError::Unknown("k".to_owned())));
    let expires = world.now.checked_add(SignedDuration::from_secs(60)).unwrap();
    let wanted = ManagementKey { expires: Some(expires), ..asked("k", Role::Auditor) };
    let made = make(&mut world, &wanted).unwrap();
    assert_eq!(made.check(world.now), Ok(()));
    assert_eq!(made.check(expires), Err(KeyEnded::Expired(expires)));
    let before = world.records.len();
    let revoked = end(&mut world, "k").unwrap();
    // Who holds it is told that it was revoked, even when it would have expired since.
    assert_eq!(revoked.check(world.now), Err(KeyEnded::Revoked(world.now)));
    assert_eq!(revoked.check(expires), Err(KeyEnded::Revoked(world.now)));
    assert_eq!(world.kinds(before), [RecordKind::KeyRevoked]);
    let record = world.records.last().unwrap();
    assert_eq!(record.account.reason.as_deref(), Some("lost"));
    assert!(record.essential, "a full disk keeps no key in force");
    assert_eq!(end(&mut world, "k"), Err(KeyError::Revoked("k".to_owned())));
    assert!(world.get(&Key::ManagementKey("k".to_owned())).is_some(), "its name stays taken");
}
