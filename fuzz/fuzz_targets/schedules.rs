//! `schedules`: see the library.
#![cfg_attr(all(fuzzing, perkey_shuttle), no_main)]

#[cfg(all(fuzzing, perkey_shuttle))]
libfuzzer_sys::fuzz_target!(|data: &[u8]| perkey_fuzz::schedules::run(data));

/// Replays files.
#[cfg(all(not(fuzzing), perkey_shuttle))]
fn main() {
    perkey_fuzz::replay::main(perkey_fuzz::schedules::run);
}

/// Not there in this build.
#[cfg(not(perkey_shuttle))]
fn main() {
    eprintln!("schedules runs in a build with --cfg perkey_shuttle");
}
