//! What the loom scenarios share: exploring a model, keys with chosen hashes, data that shows an overlap.
#![cfg_attr(not(perkey_loom), allow(unused))]

/// What a scenario says if it runs on loom as published (`loom.patch`). The runner takes that for a failure.
pub const INCOMPLETE: &str = "with a loom that skips executions";

#[cfg(perkey_loom)]
mod scenario;
#[cfg(all(perkey_loom, target_os = "linux", target_env = "gnu"))]
mod stacks;
#[cfg(perkey_loom)]
pub use scenario::*;
