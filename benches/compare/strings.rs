//! Text as keys.

use super::contender::Contender;
use super::heap;
use super::keys::{strip, Draw, Fresh, Keys, Strip, RESIDENT};
use super::sample::Sample;
use super::timed::{ns, Done, Gate};
use std::hint::black_box;
use std::time::Duration;

/// [`Work::Strings`](super::case::Work::Strings).
pub(crate) struct Strings<C: 'static> {
    of: &'static C,
    never: bool,
    time: Duration,
    fresh: u64,
    strip: Vec<u32>,
    names: &'static [String],
}

/// 32 bytes of text for a number. Eight digits at a time: one by one they took half as long as an acquisition.
fn write(name: &mut [u8; 32], n: u64) {
    let halves = name[16..].chunks_exact_mut(8);
    for (bytes, half) in halves.zip([n & 0xffff_ffff, n >> 32]) {
        let mut digits = half;
        digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
        digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
        digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        let gap = u64::from(b'a' - b'9' - 1);
        let text = digits + 0x3030_3030_3030_3030 + letters * gap;
        bytes.copy_from_slice(&text.to_le_bytes());
    }
}

const NAME: [u8; 32] = *b"user/profile/k0:0000000000000000";

impl<C: Contender<str>> Strings<C> {
    pub(crate) fn new(never: bool, time: Duration) -> Self {
        let of: &'static C = Box::leak(Box::new(C::new(RESIDENT as usize)));
        let names = (0..RESIDENT).map(|n| {
            let mut name = NAME;
            write(&mut name, n);
            String::from_utf8_lossy(&name).into_owned()
        });
        let names = names.collect::<Vec<_>>().leak();
        if !never {
            for name in &*names {
                std::mem::forget(of.keep(name));
            }
        }
        Self {
            of,
            never,
            time,
            fresh: 1 << 32,
            strip: strip(Keys::Resident, 0),
            names,
        }
    }

    pub(crate) fn round(&mut self) -> Sample {
        let mut sample = Sample::default();
        self.fresh += 1 << 32;
        sample.set("ns", ns(&self.part(self.time)));
        self.fresh += 1 << 32;
        sample.set("allocs", self.allocations());
        sample
    }

    fn part(&self, time: Duration) -> Vec<Done> {
        Gate::all(1, time, |_, gate| gate.run(self.op()))
    }

    /// Lock and unlock the next name.
    fn op(&self) -> impl FnMut() + '_ {
        let mut fresh = Fresh::new(0, 1, self.fresh);
        let mut strip = Strip::new(&self.strip, 0);
        let mut name = NAME;
        move || {
            if self.never {
                write(&mut name, fresh.next());
                // SAFETY: ASCII and digits. (Checking that takes 8 ns, a fifth of what is to be measured.)
                let name = unsafe { std::str::from_utf8_unchecked(&name) };
                drop(black_box(self.of.lock(name)));
            } else {
                let name = &self.names[strip.next() as usize];
                drop(black_box(self.of.lock(name)));
            }
        }
    }

    /// Per operation, in a part that is not timed.
    fn allocations(&self) -> f64 {
        let mut op = self.op();
        let ops = 10_000;
        (0..ops).for_each(|_| op());
        heap::counting(true);
        let before = heap::allocations();
        (0..ops).for_each(|_| op());
        let after = heap::allocations();
        heap::counting(false);
        (after - before) / f64::from(ops)
    }
}
