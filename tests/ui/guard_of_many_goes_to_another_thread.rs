// Trap 20: the thread that took the locks gives them back.
use perkey::LockTable;

fn main() {
    let table = LockTable::<u64>::new();
    std::thread::scope(|s| {
        let many = table.lock_many(&[1, 2]).unwrap();
        s.spawn(move || drop(many)); //~ E0277
        s.spawn(|| drop(table.lock_many(&[2, 1])));
    });
}
