//! The rules of Catena-X, one by one.
