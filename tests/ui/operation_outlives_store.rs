// What has been entered is of the store.
use perkey::storage::{Intent, Memory, PerKey, Scope, Storage};

fn main() {
    let store = PerKey::new(Memory::new());
    let operation = store.operation(Scope::Store, Intent::Read).unwrap();
    drop(store); //~ E0505
    operation.leave().unwrap();
}
