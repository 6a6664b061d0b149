//! The file store: journal as the database, sled as its index.
