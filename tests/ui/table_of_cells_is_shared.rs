// A table is `Sync` only if its keys are `Send + Sync`.
use perkey::LockTable;
use std::cell::Cell;

fn main() {
    let (cells, numbers) = (LockTable::<Cell<u64>>::new(), LockTable::<u64>::new());
    std::thread::scope(|s| {
        s.spawn(|| numbers.len());
        s.spawn(|| cells.len()); //~ E0277
    });
    drop(cells);
}
