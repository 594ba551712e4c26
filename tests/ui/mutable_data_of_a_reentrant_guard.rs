// Trap 24: two guards of one thread would give two `&mut`.
use perkey::ReentrantLock;

fn main() {
    let lock = ReentrantLock::new(1);
    let mut guard = lock.lock();
    *guard = 2; //~ E0594
    assert_eq!(*guard, 1);
    let _ = &mut guard;
}
