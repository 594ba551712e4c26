//! What the loom scenarios share: exploring a model, keys with chosen hashes, data that shows an overlap.
#![cfg_attr(not(perkey_loom), allow(unused))]

#[cfg(perkey_loom)]
mod scenario;
#[cfg(all(perkey_loom, target_os = "linux", target_env = "gnu"))]
mod stacks;
#[cfg(perkey_loom)]
pub use scenario::*;
