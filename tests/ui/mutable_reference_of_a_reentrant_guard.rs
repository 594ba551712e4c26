// Trap 24, the other way of writing it.
use perkey::ReentrantLock;

fn main() {
    let lock = ReentrantLock::new(vec![1]);
    let mut guard = lock.lock();
    guard.push(2); //~ E0596
    assert_eq!(guard.len(), 1);
    let _ = &mut guard;
}
