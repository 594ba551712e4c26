// Trap 21: a thread is the owner, so a task that may change threads cannot keep a guard across an await.
use perkey::LockTable;

fn movable<T: Send>(_: T) {}

fn main() {
    let table = LockTable::<u64>::new();
    movable(async {
        drop(table.lock(&1));
        std::future::ready(()).await;
    });
    let task = async {
        let guard = table.lock(&1);
        std::future::ready(()).await;
        drop(guard);
    };
    movable(task); //~ -
}
