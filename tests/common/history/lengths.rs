//! What `len` may have been.
//!
//! It looks at each place of the table once. A key that somebody has used all the while is in one place, and counted once. Any other key may be missed, or be counted
//! once in each of its lives, of which there are no more than threads that began to use it or were at it.

use super::{Line, Ret};
use std::collections::BTreeMap;

/// How many use a key.
#[derive(Clone, Copy, Debug, Default)]
struct Users {
    /// Without doubt: they have been told so, and have not begun to give it up.
    surely: usize,
    /// Those, and who may be about to, and who may not be through with it.
    perhaps: usize,
}

/// A `len` that has not returned: for each key the fewest that surely, and all that perhaps used it so far.
type Open = BTreeMap<usize, Users>;

/// Is each `len` possible, if `others` keys more are alive all the time?
pub fn judge(lines: &[Line], others: usize) -> Result<(), String> {
    let mut now: BTreeMap<usize, Users> = BTreeMap::new();
    let mut open: BTreeMap<usize, Open> = BTreeMap::new();
    for line in lines {
        match *line {
            Line::CallLen(thread) => {
                open.insert(thread, now.clone());
            }
            Line::ReturnLen(thread, told) => {
                let seen = open.remove(&thread).unwrap_or_default();
                let sure = |u: &&Users| u.surely > 0;
                let least = others + seen.values().filter(sure).count();
                let more: usize = seen.values().filter(|u| !sure(u)).map(|u| u.perhaps).sum();
                if !(least..=least + more).contains(&told) {
                    let most = least + more;
                    return Err(format!("len is {told}, and not from {least} to {most}"));
                }
            }
            Line::Call(_, key, op) => {
                let users = now.entry(key).or_default();
                users.perhaps += usize::from(op.takes());
                users.surely -= usize::from(op.gives());
                for seen in open.values_mut() {
                    let seen = seen.entry(key).or_default();
                    seen.perhaps += usize::from(op.takes());
                    seen.surely = seen.surely.min(users.surely);
                }
            }
            Line::Return(_, key, op, ret) => {
                let users = now.entry(key).or_default();
                let took = op.takes() && ret != Ret::No;
                users.surely += usize::from(took);
                users.perhaps -= usize::from(op.gives() || op.takes() && !took);
            }
        }
    }
    Ok(())
}
