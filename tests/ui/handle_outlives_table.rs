// Neither can a handle, nor the guard that it gives.
use perkey::LockTable;

fn main() {
    let table = LockTable::<u64>::new();
    let handle = table.handle(&1);
    let guard = handle.lock();
    drop(handle); // the guard does not need it
    drop(table); //~ E0505
    drop(guard);
}
