// Neither can a weak handle (an owned one can).
use perkey::LockTable;
use std::sync::Arc;

fn main() {
    let table = Arc::new(LockTable::<u64>::new());
    let owned = table.handle_owned(&1).downgrade();
    let weak = table.handle(&1).downgrade();
    drop(table); //~ E0505
    drop(weak.upgrade());
    drop(owned.upgrade());
}
