// Trap 20: the thread that took the lock gives it back.
use perkey::LockTable;

fn main() {
    let table = LockTable::<u64>::new();
    std::thread::scope(|s| {
        let guard = table.lock(&1);
        s.spawn(move || drop(guard)); //~ E0277
        s.spawn(|| drop(table.lock(&1)));
    });
}
