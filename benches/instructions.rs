//! Instructions of the hot paths, counted by callgrind: they repeat exactly, where times do not.
//!
//! ```text
//! cargo bench --bench instructions               compare with benches/instructions.txt; fails if something takes 3 % more
//! cargo bench --bench instructions -- --update   write that file
//! ```
//! One row is the instructions of one turn of a loop, its own two or three included. They are those of a compiler and a C library, which stand
//! in the file: with others there is nothing to compare with, and that is said. Without valgrind nothing is counted, and that is said, too.

#[cfg(any(perkey_loom, perkey_shuttle))]
fn main() {}

#[cfg(not(any(perkey_loom, perkey_shuttle)))]
fn main() -> std::process::ExitCode {
    if std::env::var_os(real::INSIDE).is_some() {
        real::run();
        return std::process::ExitCode::SUCCESS;
    }
    match real::compare() {
        Ok(said) => {
            println!("{said}");
            std::process::ExitCode::SUCCESS
        }
        Err(said) => {
            eprintln!("FAILED: {said}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(any(perkey_loom, perkey_shuttle)))]
mod real {
    use foldhash::fast::FixedState;
    use perkey::{LockTable, ReentrantLock};
    use std::collections::BTreeMap;
    use std::fmt::Write;
    use std::hash::Hash;
    use std::hint::black_box;
    use std::mem::forget;
    use std::path::PathBuf;
    use std::process::Command;

    /// Set in the process that is counted.
    pub(crate) const INSIDE: &str = "PERKEY_INSTRUCTIONS";
    /// Operations in each path.
    const OPS: u32 = 10_240;
    /// Keys that are there in a path with many.
    const KEYS: u64 = 1024;
    /// A regression, in percent.
    const TOLERANCE: f64 = 3.0;

    /// The default hasher's algorithm, with the same seed each time.
    type Table<K> = LockTable<K, FixedState>;

    // ---- what is counted ------------------------------------------------------------------------------------------

    // No two may be the same code: a compiler makes them one.
    macro_rules! paths {
        ($($name:ident($on:ident: $type:ty, $i:ident) $operation:expr;)*) => {
            /// The functions whose instructions are counted, in the order of the file.
            const PATHS: &[&str] = &[$(stringify!($name)),*];
            $(
                #[inline(never)]
                fn $name($on: $type) {
                    for $i in 0..OPS {
                        black_box($operation);
                    }
                }
            )*
        };
    }

    paths! {
        op_reentrant_lock(lock: &ReentrantLock<u64>, _i) drop(black_box(lock).lock());
        op_reentrant_again(lock: &ReentrantLock<u64>, _i) drop(black_box(lock).try_lock());
        op_hot_key(table: &Table<u64>, _i) drop(table.lock(black_box(&42)));
        op_held_key(table: &Table<u64>, _i) drop(table.lock(black_box(&43)));
        op_resident_key(table: &Table<u64>, i) drop(table.lock(&resident(i)));
        op_grown_key(table: &Table<u64>, i) drop(table.lock(&black_box(resident(i))));
        op_grown_new_key(table: &Table<u64>, i) drop(table.lock(&(u64::from(i) + (1 << 40))));
        op_new_key(table: &Table<u64>, i) drop(table.lock(&u64::from(i)));
        op_busy_key(table: &Table<u64>, _i) table.try_lock(black_box(&44)).is_some();
        op_is_locked(table: &Table<u64>, _i) table.is_locked(black_box(&42));
        op_handle_and_lock(table: &Table<u64>, _i) drop(table.handle(black_box(&42)).lock());
        op_handle_lock(handle: &perkey::KeyLock<'_, u64>, _i) drop(black_box(handle).lock());
        op_resident_str(on: &(Table<String>, Vec<String>), i) drop(on.0.lock(on.1[i as usize % 1024].as_str()));
        op_new_str(on: &(Table<String>, Vec<String>), i) drop(on.0.lock(on.1[i as usize].as_str()));
    }

    /// Resident keys, each after the others, in an order that is not theirs.
    fn resident(i: u32) -> u64 {
        u64::from(i) * 577 % KEYS
    }

    fn table<K: Hash + Eq>(keys: u64) -> Table<K> {
        Table::with_capacity_and_hasher(usize::try_from(keys).unwrap(), FixedState::with_seed(1))
    }

    /// Keys of 32 bytes.
    fn strings(keys: impl Iterator<Item = u64>) -> Vec<String> {
        keys.map(|k| format!("{k:032}")).collect()
    }

    /// What is counted: each path once, on what has been warmed up by other code.
    pub(crate) fn run() {
        let lock = ReentrantLock::new(1);
        op_reentrant_lock(&lock);
        let guard = lock.lock();
        op_reentrant_again(&lock);
        drop(guard);

        let few = table(128);
        std::thread::scope(|s| s.spawn(|| forget(few.lock(&44))).join()).unwrap();
        drop(few.lock(&42));
        let held = few.lock(&43);
        op_hot_key(&few);
        op_held_key(&few);
        op_busy_key(&few);
        op_is_locked(&few);
        op_handle_and_lock(&few);
        op_handle_lock(&few.handle(&42));
        drop(held);

        let many = table(KEYS);
        (0..KEYS).for_each(|k| drop(many.lock(&k)));
        op_resident_key(&many);

        let grown = Table::with_hasher(FixedState::with_seed(1));
        let capacity = grown.capacity();
        (0..KEYS).for_each(|k| forget(grown.handle(&k)));
        assert!(grown.capacity() > capacity, "it was to grow");
        op_grown_key(&grown);
        op_grown_new_key(&grown);

        let full = table(128);
        (0..10 * KEYS).for_each(|k| drop(full.lock(&(k + (1 << 40)))));
        op_new_key(&full);

        let keys = strings(0..KEYS);
        let many = (table(KEYS), keys);
        many.1.iter().for_each(|k| drop(many.0.lock(k.as_str())));
        op_resident_str(&many);

        let full = (table(128), strings(0..u64::from(OPS)));
        for key in strings((1 << 40)..(1 << 40) + 10 * KEYS) {
            drop(full.0.lock(key.as_str()));
        }
        op_new_str(&full);
    }

    // ---- counting -------------------------------------------------------------------------------------------------

    type Counts = BTreeMap<String, u64>;

    /// This program once more, under callgrind: the instructions of each path, with all that they call.
    fn count() -> Result<Counts, String> {
        let dir = tempfile::tempdir().map_err(|e| format!("a directory for callgrind: {e}"))?;
        let file = dir.path().join("out");
        let exe = std::env::current_exe().map_err(|e| format!("this program: {e}"))?;
        let out = Command::new("valgrind")
            .args([
                "--tool=callgrind",
                "--compress-strings=no",
                "--compress-pos=no",
            ])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(exe)
            .env(INSIDE, "1")
            .output()
            .map_err(|e| format!("valgrind: {e}"))?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(format!("under valgrind: {}\n{said}", out.status));
        }
        let text = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let text = String::from_utf8_lossy(&text);
        let mut counts = Counts::new();
        let mut lines = text.lines();
        // `cfn=` names who is called, `calls=` stands below, and below that the cost: a position and the instructions.
        while let Some(line) = lines.next() {
            let Some(called) = line.strip_prefix("cfn=") else {
                continue;
            };
            let Some(path) = PATHS.iter().find(|p| called.contains(**p)) else {
                continue;
            };
            let cost = lines.find(|l| l.starts_with("calls=")).and(lines.next());
            let cost = cost.and_then(|c| c.split(' ').nth(1)?.parse::<u64>().ok());
            let cost = cost.ok_or_else(|| format!("{path}: no cost in callgrind's file"))?;
            if counts.insert((*path).to_owned(), cost).is_some() {
                return Err(format!("{path} was called more than once"));
            }
        }
        match PATHS.iter().find(|p| !counts.contains_key(**p)) {
            Some(path) => Err(format!("{path} was not called")),
            None => Ok(counts),
        }
    }

    // ---- comparing ------------------------------------------------------------------------------------------------

    fn file() -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "benches", "instructions.txt"]
            .iter()
            .collect()
    }

    /// The first line of what a command says.
    fn asked(command: &str, args: &[&str]) -> Option<String> {
        let out = Command::new(command).args(args).output().ok()?;
        let text = String::from_utf8(out.stdout).ok()?;
        Some(text.lines().next()?.to_owned())
    }

    /// What the instructions depend on, besides the code.
    fn tools() -> String {
        let unknown = || "unknown".to_owned();
        let rustc = asked("rustc", &["--version"]).unwrap_or_else(unknown);
        let libc = asked("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_else(unknown);
        let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
        format!("{rustc}, {arch}, {os}, {libc}")
    }

    /// Tenths of an instruction would say nothing; hundredths show that a constant part is not in them.
    fn each(total: u64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        let total = total as f64;
        total / f64::from(OPS)
    }

    pub(crate) fn compare() -> Result<String, String> {
        if asked("valgrind", &["--version"]).is_none() {
            return Ok("SKIPPED: instructions (no valgrind)".to_owned());
        }
        let tools = tools();
        let now = count()?;
        let again = count()?;
        if let Some(path) = PATHS.iter().find(|p| now[**p] != again[**p]) {
            let (a, b) = (now[*path], again[*path]);
            return Err(format!("{path} does not repeat: {a} and {b} instructions"));
        }
        if std::env::args().any(|a| a == "--update") {
            let mut text = format!(
                "# Instructions of one operation, written by `cargo bench --bench instructions -- --update`.\n\
                 {tools}\n"
            );
            for path in PATHS {
                writeln!(text, "{path:20} {:8.2}", each(now[*path])).expect("a string");
            }
            let file = file();
            std::fs::write(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
            return Ok(text);
        }
        let text = std::fs::read_to_string(file())
            .map_err(|e| format!("benches/instructions.txt: {e}"))?;
        judge(&text, &tools, &now)
    }

    /// What is in the file, against what has been counted.
    fn judge(text: &str, tools: &str, now: &Counts) -> Result<String, String> {
        let mut lines = text.lines().filter(|l| !l.starts_with('#'));
        let theirs = lines.next().unwrap_or_default();
        let mut before = BTreeMap::new();
        for line in lines {
            let row = line
                .split_once(' ')
                .and_then(|(path, n)| Some((path, n.trim().parse::<f64>().ok()?)));
            let (path, n) =
                row.ok_or_else(|| format!("benches/instructions.txt: {line:?} is no row"))?;
            before.insert(path, n);
        }
        let mut said = format!("{:20} {:>8} {:>8}\n", "path", "before", "now");
        let mut worse = String::new();
        for path in PATHS {
            let now = each(now[*path]);
            let Some(before) = before.remove(path) else {
                writeln!(
                    worse,
                    "{path}: {now:.2} instructions, and none in benches/instructions.txt"
                )
                .expect("a string");
                continue;
            };
            let more = ((now / before - 1.0) * 1000.0).round() / 10.0 + 0.0; // no -0
            writeln!(said, "{path:20} {before:8.2} {now:8.2} {more:+6.1} %").expect("a string");
            if now > before * (1.0 + TOLERANCE / 100.0) {
                writeln!(
                    worse,
                    "{path}: {now:.2} instructions, {before:.2} before: {more:+.1} %"
                )
                .expect("a string");
            }
        }
        for path in before.keys() {
            writeln!(
                worse,
                "{path} is in benches/instructions.txt and no longer counted"
            )
            .expect("a string");
        }
        if theirs != tools {
            return Ok(format!(
                "{said}SKIPPED: the comparison of instructions (those of the file are of {theirs}, these of {tools})"
            ));
        }
        if worse.is_empty() {
            Ok(said)
        } else {
            Err(format!("more instructions than in benches/instructions.txt\n{said}{worse}if that is meant: cargo bench --bench instructions -- --update"))
        }
    }
}
