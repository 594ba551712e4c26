//! `keys`: see the library.
#![cfg_attr(all(fuzzing, not(any(perkey_loom, perkey_shuttle))), no_main)]

#[cfg(all(fuzzing, not(any(perkey_loom, perkey_shuttle))))]
libfuzzer_sys::fuzz_target!(|data: &[u8]| perkey_fuzz::keys::run(data));

/// Replays files.
#[cfg(not(any(fuzzing, perkey_loom, perkey_shuttle)))]
fn main() {
    perkey_fuzz::replay::main(perkey_fuzz::keys::run);
}

/// Not there in this build.
#[cfg(any(perkey_loom, perkey_shuttle))]
fn main() {
    eprintln!("keys runs in an ordinary build");
}
