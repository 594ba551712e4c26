//! Runs the loom scenarios and their failing twins.
fn main() {}
