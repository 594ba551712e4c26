//! Files through a target: a corpus, or an input that failed, where there is no libFuzzer.

use std::io;
use std::path::{Path, PathBuf};

/// The files under these paths, in order of their names.
///
/// # Errors
/// If one of them cannot be read.
pub fn files(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                files.push(entry?.path());
            }
        } else {
            files.push(path.to_owned());
        }
    }
    files.sort();
    Ok(files)
}

/// What a target does without libFuzzer: runs the files, or folders of files, that are named on the command line.
///
/// # Panics
/// If one cannot be read, or if the target panics on it.
pub fn main(run: fn(&[u8])) {
    let files = files(std::env::args_os().skip(1).map(PathBuf::from)).expect("files to run");
    for file in &files {
        eprintln!("{}", file.display());
        run(&std::fs::read(file).expect("a file that can be read"));
    }
    println!("{} inputs, no failure", files.len());
}

/// `count` inputs of up to `longest` bytes, the same every time.
pub fn drawn(seed: u64, count: usize, longest: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut dice = fastrand::Rng::with_seed(seed);
    (0..count).map(move |_| {
        let length = dice.usize(..=longest);
        std::iter::repeat_with(|| dice.u8(..))
            .take(length)
            .collect()
    })
}
