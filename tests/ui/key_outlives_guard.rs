// The reference to the key ends with the guard.
use perkey::LockTable;

fn main() {
    let table = LockTable::<String>::new();
    let guard = table.lock("apple");
    let key = guard.key();
    drop(guard); //~ E0505
    assert_eq!(key, "apple");
}
