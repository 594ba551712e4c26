//! What is behind a segment: for each of its buckets, which of the older segments has a key that belongs there (I2).
//!
//! A key that is not in the newest segment may be in any older one. To look into all of them costs a cache miss each. But once the older buckets
//! of a key are closed, keys only go from there: what is found in them then, once, is all there will ever be. So the first who gets there closes them
//! and writes down in a word of the newest bucket where he saw a key with which bits of the hash; he and whoever comes later look only there.
//!
//! (While a larger segment is behind the newest one, as when a table shrinks, nothing is written down: several of its buckets are behind each bucket.)
//!
//! A word has twenty cells of three bits, and *made* on top: zero says nothing. A bucket has two words, and forty cells. A cell is that of all keys of the
//! bucket whose next bits of the hash choose it. It says that no older segment has such a key, or how many segments further behind the only one is that does, or to look into all.
//! That is more than needed once keys have gone, never less. (The idea is that of a filter: Bloom, *Space/time trade-offs in hash coding with
//! allowable errors*, CACM 1970; here without errors of the other kind, too, as the place can be named.)

use crate::mutant::mutant;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::prefetch;
use crate::table::array::{Array, Zeroed};

const MADE: u64 = 1 << 63;
/// Cells of a word, three bits each.
const CELLS: usize = 20;
/// Words of a bucket; each says enough about its own cells, so a model needs one only.
const WORDS: usize = if cfg!(perkey_loom) { 1 } else { 2 };
/// In a cell: look into all.
const ALL: u64 = 7;

/// The words of each bucket of a segment; none if there was nothing behind it when it was made.
pub(super) struct Behind {
    words: Zeroed<AtomicU64>,
}

/// Where a key may be that is not in the newest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Older {
    /// Nobody has looked yet.
    Unknown,
    Nowhere,
    /// So many segments before the newest one, by their numbers, if that one is still there.
    At(u64),
    Anywhere,
}

/// The words of a bucket in the making.
pub(super) struct Notes {
    words: [u64; WORDS],
    bucket: usize,
}

/// Which word of its bucket has the cell of a hash, and at which bit.
#[allow(clippy::cast_possible_truncation)] // below the number of cells
#[allow(clippy::modulo_one)] // of one word in a model
fn cell<K>(array: &Array<K>, hash: u64) -> (usize, usize) {
    const ALL_CELLS: u64 = (CELLS * WORDS) as u64;
    let cell = (((array.below(hash) >> 32) * ALL_CELLS) >> 32) as usize;
    (cell % WORDS, cell / WORDS * 3)
}

fn read(word: u64, bit: usize) -> Older {
    match word >> bit & ALL {
        0 => Older::Nowhere,
        ALL => Older::Anywhere,
        n => Older::At(n),
    }
}

impl Behind {
    pub(super) fn new(buckets: usize) -> Self {
        Self {
            words: Zeroed::new(buckets * WORDS),
        }
    }

    /// Where a key with this hash may be. `array` is that of the segment.
    pub(super) fn of<K>(&self, array: &Array<K>, hash: u64) -> Older {
        let (at, bit) = cell(array, hash);
        let Some(word) = self.words.get(array.at(hash) * WORDS + at) else {
            return Older::Nowhere; // there was no older one, and there will be none
        };
        // ORDERING: Acquire, partner of the Release in `keep`: a key that is not in an older segment any more was released by a holder that comes
        // before us, as he comes before who did not find it there (I1).
        let word = word.load(Ordering::Acquire);
        if word == 0 && !mutant("behind_unmade_trusted") {
            return Older::Unknown;
        }
        read(word, bit)
    }

    /// The word of a hash will be asked for, if it is not found before that.
    #[inline]
    pub(super) fn prefetch<K>(&self, array: &Array<K>, hash: u64) {
        if let Some(word) = self.words.get(array.at(hash) * WORDS) {
            prefetch(word);
        }
    }

    /// For who closes the bucket of a key with this hash in all older segments, and notes each key there after that.
    pub(super) fn notes<K>(array: &Array<K>, hash: u64) -> Notes {
        Notes {
            words: [MADE; WORDS],
            bucket: array.at(hash),
        }
    }

    pub(super) fn keep(&self, notes: &Notes) {
        for (at, word) in notes.words.iter().enumerate() {
            // ORDERING: Release, partner of the Acquire in `of`. Whose word stays does not matter: each says enough.
            self.words[notes.bucket * WORDS + at].store(*word, Ordering::Release);
        }
    }
}

impl Notes {
    /// A key with this hash is, or was, so many segments behind the one that `array` is of.
    pub(super) fn note<K>(&mut self, array: &Array<K>, hash: u64, distance: u64) {
        if array.at(hash) != self.bucket {
            return;
        }
        let (at, bit) = cell(array, hash);
        let cell = match self.words[at] >> bit & ALL {
            0 if distance < ALL => distance,
            n if n == distance => n,
            _ => ALL,
        };
        self.words[at] |= cell << bit;
    }

    pub(super) fn of<K>(&self, array: &Array<K>, hash: u64) -> Older {
        let (at, bit) = cell(array, hash);
        read(self.words[at], bit)
    }
}

#[cfg(all(test, not(any(perkey_loom, perkey_shuttle))))]
mod tests {
    use super::*;

    const ALL_CELLS: usize = CELLS * WORDS;

    /// Hashes of one bucket of four, one for each cell: those of a word, then those of the next one.
    fn hashes(array: &Array<u64>) -> Vec<u64> {
        let mut found = vec![None; ALL_CELLS];
        for h in 1..10_000_u64 {
            if array.at(h) == 2 {
                let (at, bit) = cell(array, h);
                found[at * CELLS + bit / 3].get_or_insert(h);
            }
        }
        found
            .into_iter()
            .map(|h| h.expect("every cell is somebody's"))
            .collect()
    }

    #[test]
    fn words_say_where_each_key_may_be() {
        let array = Array::<u64>::new(4);
        let behind = Behind::new(array.len());
        let h = hashes(&array);
        assert_eq!(behind.of(&array, h[3]), Older::Unknown);
        let mut notes = Behind::notes(&array, h[0]);
        notes.note(&array, h[3], 1);
        notes.note(&array, h[4], 6);
        notes.note(&array, h[4], 6);
        notes.note(&array, h[5], 2);
        notes.note(&array, h[5], 3); // two segments
        notes.note(&array, h[6], 7); // too far
        notes.note(&array, h[7], 1 << 40);
        notes.note(&array, h[CELLS + 3], 5); // the second word
        let elsewhere = (1..100).find(|h| array.at(*h) != 2).unwrap();
        notes.note(&array, elsewhere, 4);
        behind.keep(&notes);
        let expected = |cell| match cell {
            3 => Older::At(1),
            4 => Older::At(6),
            5..=7 => Older::Anywhere,
            23 => Older::At(5),
            _ => Older::Nowhere,
        };
        for (cell, hash) in h.into_iter().enumerate() {
            assert_eq!(notes.of(&array, hash), expected(cell), "cell {cell}");
            assert_eq!(behind.of(&array, hash), expected(cell), "cell {cell}");
        }
        assert_eq!(behind.of(&array, elsewhere), Older::Unknown);
    }
}
