//! Empty on purpose: this package exists for its integration tests (`suite.rs`).
