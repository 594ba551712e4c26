// What a guard shows of its keys goes with it.
use perkey::LockTable;

fn main() {
    let table = LockTable::<String>::new();
    let many = table.lock_many(["ann", "bob"]).unwrap();
    let keys: Vec<&String> = many.keys().collect();
    drop(many); //~ E0505
    drop(keys);
}
