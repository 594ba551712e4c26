// What a key borrows must live as long as the table, which keeps the key until it drops it.
use perkey::LockTable;

fn main() {
    let text = String::from("apple");
    let table = LockTable::<&str>::new();
    let key: &str = &text;
    drop(table.lock_with(&key, |k| *k).unwrap());
    drop(text); //~ E0505
    assert!(!table.is_locked(&"pear"));
}
