// Trap 20: a key guard is not shared either.
use perkey::LockTable;

fn main() {
    let table = LockTable::<u64>::new();
    let guard = table.lock(&1);
    std::thread::scope(|s| {
        s.spawn(|| guard.depth()); //~ E0277
        s.spawn(|| table.is_locked(&1));
    });
}
