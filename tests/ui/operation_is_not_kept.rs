// An operation that is dropped at once has done nothing.
#![deny(unused_must_use)]
use perkey::storage::{Intent, Memory, Scope, Storage};

fn main() {
    let store = Memory::new();
    store.operation(Scope::Store, Intent::Write).unwrap(); //~ unused_must_use
    store.operation(Scope::Store, Intent::Write).unwrap().leave().unwrap();
}
