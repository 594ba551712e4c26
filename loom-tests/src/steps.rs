//! What `cargo verify` runs before the model checkers: cargo, with these flags and arguments, in the order in which it fails fastest.

/// Name, flags for the compiler, target directory (none: the usual one), arguments of cargo.
pub(crate) struct Step(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static [&'static str],
);

/// How the loom tests are built.
pub(crate) const LOOM: &str = "--cfg perkey_loom --cfg perkey_mutant --cfg crossbeam_loom";
/// How they are built to show that the short forms of `src/sync/loom.rs` hide nothing.
pub(crate) const EXACT: &str = "--cfg perkey_loom --cfg perkey_exact --cfg crossbeam_loom";
/// How the shuttle tests are built.
pub(crate) const SHUTTLE: &str = "--cfg perkey_shuttle --cfg perkey_mutant";

/// clippy over the packages that exist under a checker.
const MODELS: &[&str] = &[
    "clippy",
    "-p",
    "loom-tests",
    "-p",
    "bank",
    "-p",
    "perkey-fuzz",
    "--all-targets",
    "--",
    "-D",
    "warnings",
];
/// What operations do to memory, in a build of its own.
const COUNT: &str = "--cfg perkey_count";
const BANK: &[&str] = &["test", "--release", "-p", "bank"];
/// The corpus of the fuzz targets, what they have found, and the planted bugs that they find.
const FUZZ: &[&str] = &["test", "--release", "-p", "perkey-fuzz"];

#[rustfmt::skip]
pub(crate) const STEPS: &[Step] = &[
    Step("formatting", "", "", &["fmt", "--all", "--check"]),
    Step("clippy", "", "", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    Step("clippy without storage", "", "", &["clippy", "-p", "perkey", "--lib", "--no-default-features", "--", "-D", "warnings"]),
    Step("clippy under loom", LOOM, "loom", MODELS),
    Step("clippy under shuttle", SHUTTLE, "shuttle", MODELS),
    Step("documentation", "", "", &["doc", "--no-deps", "-p", "perkey", "--all-features", "--document-private-items"]),
    Step("tests", "", "", &["test", "--release", "-p", "perkey", "--no-fail-fast"]),
    Step("tests without optimisation", "", "", &["test", "-p", "perkey", "--lib", "--test", "api", "--test", "api_guards", "--test", "api_handles", "--test", "api_observers", "--test", "foreign", "--test", "foreign_stopped", "--test", "storage_nested", "--test", "storage_order", "--test", "storage_transfer"]),
    Step("the ends of the counts", "--cfg perkey_mutant --cfg perkey_small", "small", &["test", "--release", "-p", "perkey", "--test", "widths"]),
    Step("clippy of the build that counts", COUNT, "count", &["clippy", "-p", "perkey", "--no-default-features", "--test", "counts", "--", "-D", "warnings"]),
    Step("accesses and cache lines", COUNT, "count", &["test", "-p", "perkey", "--no-default-features", "--test", "counts"]),
    Step("the runner of the models", "", "", &["test", "--release", "-p", "loom-tests", "--bins"]),
    Step("fuzz targets", "", "", FUZZ),
    Step("fuzz targets with planted bugs", "--cfg perkey_mutant", "threads", FUZZ),
    Step("fuzz targets under shuttle", SHUTTLE, "shuttle", FUZZ),
    Step("a user's model", "", "", BANK),
    Step("a user's model under shuttle", SHUTTLE, "shuttle", BANK),
    Step("a user's model under loom", LOOM, "loom", BANK),
];
