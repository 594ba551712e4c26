// A guard cannot outlive its table.
use perkey::LockTable;

fn main() {
    let table = LockTable::<u64>::new();
    let guard = table.lock(&1);
    drop(table); //~ E0505
    drop(guard);
}
