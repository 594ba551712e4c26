// A `ReentrantLock` is `Sync` only if its data is `Send`: `Cell` is, `Rc` is not.
use perkey::ReentrantLock;
use std::cell::Cell;
use std::rc::Rc;

fn main() {
    let (cell, rc) = (ReentrantLock::new(Cell::new(1)), ReentrantLock::new(Rc::new(1)));
    std::thread::scope(|s| {
        s.spawn(|| cell.lock().set(2));
        s.spawn(|| drop(rc.lock())); //~ E0277
    });
    drop(rc);
}
