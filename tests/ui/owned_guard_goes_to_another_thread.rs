// Trap 20: nor does an owned guard leave its thread; an owned handle may.
use perkey::LockTable;
use std::sync::Arc;

fn main() {
    let table = Arc::new(LockTable::<u64>::new());
    let handle = table.handle_owned(&1);
    let guard = table.lock_owned(&1);
    std::thread::spawn(move || drop(guard)); //~ E0277
    std::thread::spawn(move || drop(handle));
}
