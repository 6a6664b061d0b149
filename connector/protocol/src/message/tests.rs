use serde_json::json;

use super::*;

mod policies;
mod reading;
mod round_trips;
mod samples;

fn pid(text: &str) -> Pid {
    Pid::new(text).unwrap()
}

/// Reads `document` as a message of type `T`.
fn read<T: Message>(document: &Value) -> Result<Incoming<T>, WireError> {
    parse(document.to_string().as_bytes(), &Limits::default())
}

/// `document` with the member at the JSON pointer `place` set, or removed when `value` is nothing.
fn with(document: &Value, place: &str, value: Option<Value>) -> Value {
    let mut changed = document.clone();
    let (parent, key) = place.rsplit_once('/').unwrap();
    let members = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    let key = key.replace("~1", "/");
    match value {
        Some(value) => members.insert(key, value),
        None => members.shift_remove(&key),
    };
    changed
}
