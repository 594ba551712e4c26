//! `layers_vs_model`: see the library.
#![cfg_attr(all(fuzzing, not(any(perkey_loom, perkey_shuttle))), no_main)]

perkey_fuzz::entry!(
    layers,
    not(any(perkey_loom, perkey_shuttle)),
    "an ordinary build"
);
