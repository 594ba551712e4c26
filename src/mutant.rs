//! Deliberately broken twins of the code.
//!
//! A build with `--cfg perkey_mutant` carries every mutant and switches on the one named by the environment variable
//! `PERKEY_MUTANT`; a test that guards an invariant has to fail on its mutants (`loom-tests/src/suite.rs` lists which).
//! In every other build [`mutant`] is a constant `false` and the broken code is not there.

/// Is the mutant of this name switched on?
#[cfg(perkey_mutant)]
pub(crate) fn mutant(name: &str) -> bool {
    static NAME: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    NAME.get_or_init(|| std::env::var("PERKEY_MUTANT").ok())
        .as_deref()
        == Some(name)
}

/// Is the mutant of this name switched on? Never, in this build.
#[cfg(not(perkey_mutant))]
#[inline(always)]
pub(crate) const fn mutant(_name: &str) -> bool {
    false
}
