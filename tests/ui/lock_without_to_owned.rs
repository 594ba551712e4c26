// `lock` builds a key only with `ToOwned<Owned = K>`; other pairs take `lock_with`.
use perkey::LockTable;
use std::sync::Arc;

fn main() {
    let table = LockTable::<Arc<str>>::new();
    drop(table.lock("apple")); //~ E0271
    drop(table.lock_with("apple", |k| Arc::from(k)).unwrap());
}
