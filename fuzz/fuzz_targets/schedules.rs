//! `schedules`: see the library.
#![cfg_attr(all(fuzzing, perkey_shuttle), no_main)]

perkey_fuzz::entry!(
    schedules,
    perkey_shuttle,
    "a build with --cfg perkey_shuttle"
);
