//! Makes interleavings visible to a fuzzer that is guided by coverage.
//!
//! Two executions of the same code in another order cover the same code. So each switch from one task to another calls one of 2,048 small functions,
//! chosen by where the two tasks are: the fuzzer sees a new edge where tasks have met at a new place.

/// A switch between two tasks; `place` says where they are.
pub(super) fn visit(place: [u8; 4]) {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a
    for byte in place {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let [low, high, ..] = (hash >> 32).to_le_bytes();
    CELLS[usize::from(low) % CELLS.len()][usize::from(high) % CELLS[0].len()]();
}

#[inline(never)]
fn cell<const N: usize>() {
    std::hint::black_box(N); // so that they are not one function
}

macro_rules! row {
    ($row:literal: $($column:literal)*) => {
        [$(cell::<{ $row * 32 + $column }> as fn()),*]
    };
}

macro_rules! cells {
    ($($row:literal)*) => {
        [$(row!($row: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)),*]
    };
}

static CELLS: [[fn(); 32]; 64] = cells!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
);
