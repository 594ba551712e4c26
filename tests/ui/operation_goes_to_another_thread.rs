// Trap 20: the thread that entered an operation leaves it.
use perkey::storage::{Intent, Memory, PerKey, Scope, Storage};

fn main() {
    let store = PerKey::new(Memory::new());
    std::thread::scope(|s| {
        let operation = store.operation(Scope::Store, Intent::Read).unwrap();
        s.spawn(move || operation.leave().unwrap()); //~ E0277
        s.spawn(|| store.list().unwrap());
    });
}
