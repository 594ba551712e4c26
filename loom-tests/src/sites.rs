//! Every atomic access and fence in the library's source, found by reading it.

use crate::run::root;
use proc_macro2::Span;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ExprMethodCall, ImplItemFn, ItemFn, ItemMod};

/// The back ends of the checkers themselves, which are no part of what is checked.
const CHECKERS: &[&str] = &[
    "sync/count.rs",
    "sync/loom.rs",
    "sync/shuttle.rs",
    "sync/sites.rs",
];

/// The ordering of one access: an exchange has two of them.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// File, function and number of the access in it: stays when lines move.
    pub(crate) id: String,
    /// Below `src`.
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The method that is called.
    pub(crate) op: String,
    /// The ordering of an exchange's failure.
    pub(crate) failure: bool,
    pub(crate) ordering: String,
}

impl Site {
    /// As the instrumented build names it.
    pub(crate) fn place(&self) -> String {
        format!("src/{}:{}:{}", self.file, self.line, self.column)
    }

    /// What it may be weakened to, one step each.
    pub(crate) fn weaker(&self) -> &'static [&'static str] {
        match (&*self.ordering, &*self.op) {
            ("SeqCst", "load") => &["Acquire"],
            ("SeqCst", "store") => &["Release"],
            ("SeqCst", "fence") => &["AcqRel", "none"],
            ("SeqCst", _) => &["AcqRel"],
            ("AcqRel", "fence") => &["Acquire", "Release", "none"],
            ("AcqRel", _) => &["Acquire", "Release"],
            ("Acquire" | "Release", "fence") => &["none"],
            ("Acquire" | "Release", _) => &["Relaxed"],
            _ => &[],
        }
    }
}

/// What an ordering may be called.
pub(crate) const NAMES: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// All of them, by file.
pub(crate) fn sites() -> BTreeMap<String, Vec<Site>> {
    let src = root().join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let mut found = BTreeMap::new();
    for path in files {
        let name = path.strip_prefix(&src).expect("below src");
        let name = name.to_string_lossy().replace('\\', "/");
        if CHECKERS.contains(&&*name) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the source can be read");
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut finder = Finder {
            file: name.clone(),
            function: Vec::new(),
            count: BTreeMap::new(),
            sites: Vec::new(),
        };
        finder.visit_file(&parsed);
        if !finder.sites.is_empty() {
            found.insert(name, finder.sites);
        }
    }
    found
}

/// What says whether a file has changed.
pub(crate) fn fingerprint(file: &str) -> String {
    let bytes = fs::read(root().join("src").join(file)).unwrap_or_default();
    blake3::hash(&bytes).to_hex()[..16].to_owned()
}

/// All Rust files below a directory, in order.
pub(crate) fn walk(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

struct Finder {
    file: String,
    function: Vec<String>,
    count: BTreeMap<String, usize>,
    sites: Vec<Site>,
}

impl Finder {
    fn found(&mut self, at: Span, op: &str, orderings: &[String]) {
        let function = self.function.last().map_or("-", String::as_str).to_owned();
        let number = self.count.entry(function.clone()).or_default();
        *number += 1;
        for (i, ordering) in orderings.iter().enumerate() {
            let part = match (orderings.len(), i) {
                (1, _) => "",
                (_, 0) => " success",
                _ => " failure",
            };
            self.sites.push(Site {
                id: format!("{} {function}.{number}{part}", self.file),
                file: self.file.clone(),
                line: at.start().line,
                column: at.start().column + 1,
                op: op.to_owned(),
                failure: i == 1,
                ordering: ordering.clone(),
            });
        }
    }

    fn inside(&mut self, name: String, f: impl FnOnce(&mut Self)) {
        self.function.push(name);
        f(self);
        self.function.pop();
    }
}

/// The orderings among the arguments of a call.
fn orderings<'a>(args: impl IntoIterator<Item = &'a Expr>) -> Vec<String> {
    args.into_iter()
        .filter_map(|arg| {
            let Expr::Path(path) = arg else { return None };
            let mut names = path.path.segments.iter().rev().map(|s| s.ident.to_string());
            let last = names.next()?;
            let ours = match names.next() {
                Some(of) => of == "Ordering",
                None => NAMES.contains(&&*last), // imported
            };
            ours.then_some(last)
        })
        .collect()
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.inside(item.sig.ident.to_string(), |me| {
            visit::visit_item_fn(me, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.inside(item.sig.ident.to_string(), |me| {
            visit::visit_impl_item_fn(me, item);
        });
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        visit::visit_expr_method_call(self, call);
        let orderings = orderings(&call.args);
        if !orderings.is_empty() {
            self.found(call.method.span(), &call.method.to_string(), &orderings);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        visit::visit_expr_call(self, call);
        let orderings = orderings(&call.args);
        if let (false, Expr::Path(path)) = (orderings.is_empty(), &*call.func) {
            let name = path.path.segments.last().expect("a path has a name");
            self.found(
                path.path.segments[0].ident.span(),
                &name.ident.to_string(),
                &orderings,
            );
        }
    }
}

/// The value of `PERKEY_WEAKEN` that weakens a site.
pub(crate) fn weakening(site: &Site, to: &str) -> String {
    let part = if site.failure { "failure" } else { "success" };
    format!("{}:{part}={to}", site.place())
}
