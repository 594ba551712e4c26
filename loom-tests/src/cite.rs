//! Which invariants a test cites, in the comment above it.

use crate::run::root;
use std::fs;

/// The file of a test. One in the library itself is named by its module.
fn source(file: &str, test: &str) -> Option<String> {
    let unit = |test: &str| {
        let (module, _) = test.rsplit_once("::")?;
        let path = format!("src/{}.rs", module.replace("::", "/"));
        fs::read_to_string(root().join(path)).ok()
    };
    if file == "perkey" {
        return unit(test);
    }
    ["loom-tests/tests", "tests"]
        .iter()
        .find_map(|dir| fs::read_to_string(root().join(dir).join(format!("{file}.rs"))).ok())
}

/// The invariants that the comment above the test names, such as `I1` or `S3`, in the order in which it does.
pub(crate) fn invariants(file: &str, test: &str) -> Vec<String> {
    let name = test.rsplit("::").next().unwrap_or(test);
    let Some(text) = source(file, test) else {
        return Vec::new();
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let defines = |line: &&str| {
        let line = line.strip_prefix("fn ").unwrap_or(line);
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['(', ' ']))
    };
    let Some(at) = lines.iter().position(defines) else {
        return Vec::new();
    };
    let above = lines[..at].iter().rev();
    let comment = above
        .skip_while(|l| l.starts_with("#["))
        .take_while(|l| l.starts_with("///"));
    let mut cited = Vec::new();
    for line in comment.collect::<Vec<_>>().into_iter().rev() {
        for word in line.split(|c: char| !c.is_alphanumeric()) {
            let is_one = word.starts_with(['I', 'S', 'M', 'Q', 'F'])
                && word.len() > 1
                && word[1..].chars().all(|c| c.is_ascii_digit());
            if is_one && !cited.iter().any(|c| c == word) {
                cited.push(word.to_owned());
            }
        }
    }
    cited
}
