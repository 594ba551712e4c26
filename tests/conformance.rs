//! The suite for storages, on what there is here; and what it has to reject.
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

use perkey::storage::conformance::{self, Promise};
use perkey::storage::{Memory, PerKey, Serializing, Traced};

#[test]
fn memory() {
    conformance::backend(Memory::new);
}

#[test]
fn memory_with_a_limit() {
    conformance::backend(|| Memory::with_limit(1 << 24));
}

#[test]
fn layers() {
    conformance::layer(Serializing::new, Promise::Serial);
    conformance::layer(PerKey::new, Promise::PerKey);
    conformance::layer(|inner| Traced::new("traced", inner), Promise::Nothing);
}
