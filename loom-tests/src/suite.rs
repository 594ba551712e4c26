//! Which mutant must be killed by which scenario: every scenario has a failing twin, every mutant a scenario.

/// A broken twin: with this mutant switched on, this test must fail.
pub struct Twin {
    /// The name in `perkey::mutant`.
    pub mutant: &'static str,
    /// The test binary.
    pub file: &'static str,
    /// The test.
    pub test: &'static str,
}

const fn twin(mutant: &'static str, file: &'static str, test: &'static str) -> Twin {
    Twin { mutant, file, test }
}

/// The twins of the loom scenarios.
pub const LOOM: &[Twin] = &[
    // The lock: owner, depth, orderings of taking and giving back.
    twin("take_relaxed", "loom_lock", "try_lock_against_lock"),
];
