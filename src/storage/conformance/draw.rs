//! Operations drawn at random.

use super::ops::{Name, Op, K, NOBODY, SHARED, SHORT};
use super::Promise;
use crate::storage::Bytes;

/// Numbers that follow from a first one (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> usize {
        usize::try_from(self.next() % n).unwrap_or(0)
    }
}

/// An operation that the promise makes a step of its own.
pub(super) fn promised(dice: &mut Dice, promise: Promise) -> Op {
    let key = K::ALL[dice.below(3)];
    let other = K::ALL[dice.below(3)];
    let byte = b'a' + u8::try_from(dice.below(26)).unwrap_or(0);
    let value = Bytes::from(vec![byte]);
    if promise == Promise::Nothing {
        return match dice.below(3) {
            0 => Op::SaveAs(key, value),
            1 => Op::Load(Name::Full(key)),
            _ => Op::Contains(Name::Full(key)),
        };
    }
    let at = dice.below(3);
    let name = match dice.below(if promise == Promise::Serial { 8 } else { 6 }) {
        0 => Name::Upper(K::ALL[at]),
        1 => SHORT[at],
        6 => SHARED,
        7 => NOBODY,
        _ => Name::Full(K::ALL[at]),
    };
    match dice.below(if promise == Promise::Serial { 18 } else { 14 }) {
        0 => Op::SaveAs(key, value),
        1 => Op::SaveBoth([key, other], value),
        2 => Op::Load(name),
        3 => Op::LoadMany(vec![key, other]),
        4 => Op::Contains(name),
        5 => Op::Evict(name),
        6..=8 => Op::Append(name, byte),
        9 => Op::Clear(name),
        10 => Op::FailUpdate(name),
        11 => Op::GetOrInsert(key, value),
        12 => Op::FailInsert(key),
        13 | 14 => Op::Rename(name, other),
        15 => Op::Expand(name),
        16 => Op::Shrink(name),
        _ => Op::List,
    }
}

/// Any operation.
pub(super) fn any(dice: &mut Dice) -> Op {
    let key = K::ALL[dice.below(3)];
    let other = K::ALL[dice.below(3)];
    let name = match dice.below(7) {
        0 => Name::Upper(key),
        1 | 2 => SHORT[dice.below(3)],
        3 => SHARED,
        4 => NOBODY,
        _ => Name::Full(key),
    };
    let byte = b'a' + u8::try_from(dice.below(3)).unwrap_or(0);
    match dice.below(18) {
        0 | 1 => Op::SaveAs(key, vec![byte].into()),
        2 => Op::SaveBoth([key, other], vec![byte; 2].into()),
        3 => Op::Load(name),
        4 => Op::LoadMany(vec![key, other, key]),
        5 => Op::Contains(name),
        6 | 7 => Op::Evict(name),
        8 => Op::Append(name, byte),
        9 => Op::Clear(name),
        10 => Op::FailUpdate(name),
        11 | 12 => Op::GetOrInsert(key, vec![byte].into()),
        13 => Op::FailInsert(key),
        14 => Op::Rename(name, other),
        15 => Op::Expand(name),
        16 => Op::Shrink(name),
        _ => Op::List,
    }
}
