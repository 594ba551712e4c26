//! Locks by key, side by side: this table, published crates, what people write by hand, and the floor below them all.
//!
//! ```text
//! cargo bench --bench compare -- --quick         within two minutes: does it work, and what is it like
//! cargo bench --bench compare                    the full run: writes benches/RESULTS.md and benches/charts/*.svg
//! cargo bench --bench compare -- zipf held/1     some workloads or cases only (by the beginning of the name); --list names them
//! cargo bench --bench compare -- --only perkey,lockmap    some contenders only
//! cargo bench --bench compare -- --pool A.json B.json     with what earlier runs have measured; --report measures nothing more
//! ```
//! Each contender plays each case in a process of its own: what it leaves in the allocator or in a collector is nobody else's, its heap can be
//! counted, and if it hangs it can be ended. In each round all of them play a few milliseconds, one at a time, in an order that rotates, so that a
//! machine whose speed drifts slows all alike; ratios are taken within a round. What one run has measured is in `target/compare/*.json`.
//!
//! [`contender`](compare::contender): the trait and the list · `compare/case.rs`: the cases · `compare/parent.rs`: rounds and processes ·
//! `compare/child.rs`: the workloads' side · `compare/report.rs`, `compare/charts.rs`: what is made of it.

#[cfg(any(perkey_loom, perkey_shuttle))]
fn main() {}

#[cfg(not(any(perkey_loom, perkey_shuttle)))]
#[path = "compare/mod.rs"]
mod compare;

#[cfg(not(any(perkey_loom, perkey_shuttle)))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    compare::main()
}
