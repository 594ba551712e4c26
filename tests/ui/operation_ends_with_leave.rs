// What has been left is over.
use perkey::storage::{Digest, Intent, Memory, Scope, Storage};

fn main() {
    let store = Memory::new();
    let key = Digest::of("apple");
    let mut operation = store.operation(Scope::Key(&key), Intent::Write).unwrap();
    operation.save_as(&key, "apple").unwrap();
    operation.leave().unwrap();
    operation.save_as(&key, "pear").unwrap(); //~ E0382
}
