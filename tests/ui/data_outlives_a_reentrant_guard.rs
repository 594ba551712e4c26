// The data is only there while the lock is held.
use perkey::ReentrantLock;

fn main() {
    let lock = ReentrantLock::new(String::from("a"));
    let guard = lock.lock();
    let data: &str = &guard;
    drop(guard); //~ E0505
    assert_eq!(data, "a");
}
