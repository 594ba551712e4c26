//! The loom that the models run on: as published, with `loom.patch`.
//!
//! Cargo takes it from the target directory in the place of the registry's (`paths`: same version, same dependencies, nothing in the lock file).

use crate::run::root;
use crate::steps::LOOM;
use cargo_metadata::MetadataCommand;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PATCH: &str = include_str!("../loom.patch");

/// The setting of cargo that brings it in.
pub(crate) fn setting() -> &'static str {
    static SETTING: OnceLock<String> = OnceLock::new();
    SETTING.get_or_init(|| match made() {
        Ok(path) => format!("paths=[{:?}]", path.display().to_string()),
        Err(e) => panic!("loom cannot be patched: {e}"),
    })
}

/// Where it is; made if it is not there yet, or of another patch.
fn made() -> Result<PathBuf, Box<dyn Error>> {
    let published = published()?;
    let name = published.file_name().ok_or("loom's directory has a name")?;
    let parent = root().join("target").join("patched");
    let made = parent.join(name);
    if fs::read_to_string(made.join("loom.patch")).is_ok_and(|text| text == PATCH) {
        return Ok(made);
    }
    fs::create_dir_all(&parent)?;
    let fresh = tempfile::tempdir_in(&parent)?; // somebody else may do the same
    let copy = fresh.path().join(name);
    copy_all(&published, &copy)?;
    apply(&copy)?;
    fs::write(copy.join("loom.patch"), PATCH)?;
    if let Err(e) = fs::rename(&copy, &made) {
        if !made.exists() {
            return Err(e.into());
        }
        fs::rename(&made, fresh.path().join("old"))?;
        fs::rename(&copy, &made)?;
    }
    Ok(made)
}

/// The source of the loom that the lock file names. (As for a build under loom: cargo needs to have no more packages than that takes.)
fn published() -> Result<PathBuf, Box<dyn Error>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let host = Command::new(rustc)
        .args(["--print", "host-tuple"])
        .output()?;
    let host = String::from_utf8(host.stdout)?;
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .env("RUSTFLAGS", LOOM)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .other_options(["--locked", "--filter-platform", host.trim()].map(str::to_owned))
        .exec()?;
    let mut looms = metadata.packages.iter().filter(|p| *p.name == "loom");
    let loom = looms.next().ok_or("there is no loom")?;
    if looms.next().is_some() {
        return Err("there are two looms".into());
    }
    let manifest = loom.manifest_path.as_std_path();
    Ok(manifest.parent().ok_or("no directory")?.to_owned())
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Applies the patch of each file.
fn apply(loom: &Path) -> Result<(), Box<dyn Error>> {
    for (at, _) in PATCH.match_indices("--- src/") {
        let part = &PATCH[at..];
        let end = part[1..].find("--- src/").map_or(part.len(), |end| end + 1);
        let patch = diffy::Patch::from_str(&part[..end])?;
        let file = loom.join(patch.original().ok_or("a file that is not named")?);
        let text = fs::read_to_string(&file)?;
        let text = diffy::apply(&text, &patch).map_err(|e| format!("{}: {e}", file.display()))?;
        fs::write(file, text)?;
    }
    Ok(())
}
