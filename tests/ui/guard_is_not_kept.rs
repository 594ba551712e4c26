// A guard that is dropped at once is a mistake.
#![deny(unused_must_use)]
use perkey::{LockTable, ReentrantLock};

fn main() {
    let table = LockTable::<u64>::new();
    let lock = ReentrantLock::new(1);
    table.lock(&1); //~ unused_must_use
    lock.lock(); //~ unused_must_use
    table.handle(&1); //~ unused_must_use
    table.lock_many(&[1]); //~ unused_must_use
    table.lock_many(&[1]).unwrap(); //~ unused_must_use
    let _guards = (table.lock(&1), lock.lock());
}
