//! The lock of a table that this thread has taken last, if it holds it still: who takes it once more need not look for it.
//!
//! Rule: what is noted is an entry of the table with that number, which this thread holds, and whose key has that hash. It is noted after the lock has
//! been taken, and forgotten before the last level is given back; whatever lock that is, as one store costs less than a look. A guard that is
//! forgotten keeps both the lock and the note; should its table go, its number goes with it, and no other table has it.

use crate::mutant::mutant;
use crate::sync::with_note;
use std::ptr::NonNull;

/// The entry that this thread holds, if it is of this table, its key has this hash, and it is the one taken last.
#[inline]
pub(crate) fn find<T>(table: u64, hash: u64) -> Option<NonNull<T>> {
    with_note(|note| {
        let same = note.table.get() == table || mutant("latest_of_any_table");
        if same && note.hash.get() == hash {
            NonNull::new(note.place.get().cast())
        } else {
            None
        }
    })
}

/// This thread has taken the lock of `entry`, or taken it again.
#[inline]
pub(crate) fn set<T>(table: u64, hash: u64, entry: NonNull<T>) {
    with_note(|note| {
        note.table.set(table);
        note.hash.set(hash);
        note.place.set(entry.as_ptr().cast());
    });
}

/// This thread is about to give a lock back.
#[inline]
pub(crate) fn forget() {
    if mutant("latest_not_forgotten") {
        return;
    }
    with_note(|note| note.table.set(0));
}
