// Trap 21: a thread is the owner, so a task that may change threads cannot keep an operation across an await.
use perkey::storage::{Intent, Memory, PerKey, Scope, Storage};

fn movable<T: Send>(_: T) {}

fn main() {
    let store = PerKey::new(Memory::new());
    movable(async {
        store.list().unwrap();
        std::future::ready(()).await;
    });
    let task = async {
        let operation = store.operation(Scope::Store, Intent::Read).unwrap();
        std::future::ready(()).await;
        operation.leave().unwrap();
    };
    movable(task); //~ -
}
