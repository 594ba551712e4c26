//! Stacks for the threads of a model, kept for its next execution.
//!
//! loom runs a model's threads as coroutines of the crate `generator`, each on a stack that it maps, guards, touches and unmaps again for
//! every execution: more than half of the time of a small model went into that. Neither crate has a way to keep stacks. What they call is
//! libc's `mmap`, `mprotect` and `munmap`, and a program's own functions of these names come before those of a shared libc: these hand
//! everything to the kernel, but for mappings of one kind and size, of which each thread keeps a few that were given back. Such a stack
//! comes with its guard page and with what was last written to it; nobody reads a stack before writing it.
//!
//! Only in the loom build and on Linux with glibc. Elsewhere nothing is replaced, and models only take longer.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::ptr::null_mut;

/// The stacks that loom asks `generator` for, with the guard page: 4,096 words and a page. Others are left alone.
const SIZE: usize = 4096 * size_of::<usize>() + 4096;
/// As many as a model has threads, and then some.
const KEPT: usize = 16;
const FLAGS: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;

struct Kept {
    /// The first ones that this thread mapped. They stay its own.
    stacks: [Cell<*mut c_void>; KEPT],
    /// Which of them are not in use, a bit each.
    idle: Cell<u32>,
    mapped: Cell<usize>,
    /// The stack that was handed out last, until its guard has been asked for, which it has already.
    guarded: Cell<*mut c_void>,
}

thread_local! {
    // Const and without a destructor: it can be used as long as its thread runs, and using it maps nothing.
    static KEPT_HERE: Kept = const {
        Kept {
            stacks: [const { Cell::new(null_mut()) }; KEPT],
            idle: Cell::new(0),
            mapped: Cell::new(0),
            guarded: Cell::new(null_mut()),
        }
    };
}

impl Kept {
    fn take(&self) -> Option<*mut c_void> {
        let idle = self.idle.get();
        let stack = self.stacks.get(idle.trailing_zeros() as usize)?.get();
        self.idle.set(idle & (idle - 1));
        self.guarded.set(stack);
        Some(stack)
    }

    fn remember(&self, stack: *mut c_void) {
        let n = self.mapped.get();
        if let Some(room) = self.stacks.get(n) {
            room.set(stack);
            self.mapped.set(n + 1);
        }
    }

    fn give_back(&self, stack: *mut c_void) -> Option<()> {
        let n = self.stacks.iter().position(|s| s.get() == stack)?;
        self.idle.set(self.idle.get() | 1 << n);
        Some(())
    }
}

/// Makes the linker take this file along. The library's other code is looked for by name; these functions stand in for others'.
pub(crate) fn keep() {
    std::hint::black_box(mmap as *const ());
}

/// What libc answers for the kernel; `errno` is set already.
fn done(answer: c_long) -> c_int {
    if answer == 0 {
        0
    } else {
        -1
    }
}

/// libc's.
///
/// # Safety
/// As of libc's.
#[no_mangle]
unsafe extern "C" fn mmap(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let stack = len == SIZE && flags == FLAGS && addr.is_null();
    if stack {
        if let Some(kept) = KEPT_HERE.with(Kept::take) {
            return kept;
        }
    }
    // SAFETY: the caller's promise is libc's, and so is the call; the arguments are a word each.
    let new = unsafe {
        let [prot, flags, fd] = [prot, flags, fd].map(c_long::from);
        libc::syscall(libc::SYS_mmap, addr, len, prot, flags, fd, offset) as *mut c_void
    };
    if stack && new != libc::MAP_FAILED {
        KEPT_HERE.with(|k| k.remember(new));
    }
    new
}

/// libc's.
///
/// # Safety
/// As of libc's.
#[no_mangle]
unsafe extern "C" fn mprotect(addr: *mut c_void, len: usize, prot: c_int) -> c_int {
    let guarded = KEPT_HERE.with(|k| k.guarded.replace(null_mut()));
    if !addr.is_null() && addr == guarded && prot == libc::PROT_NONE {
        return 0;
    }
    // SAFETY: as in `mmap`.
    done(unsafe { libc::syscall(libc::SYS_mprotect, addr, len, c_long::from(prot)) })
}

/// libc's.
///
/// # Safety
/// As of libc's.
#[no_mangle]
unsafe extern "C" fn munmap(addr: *mut c_void, len: usize) -> c_int {
    if len == SIZE && KEPT_HERE.with(|k| k.give_back(addr)).is_some() {
        return 0;
    }
    // SAFETY: as in `mmap`.
    done(unsafe { libc::syscall(libc::SYS_munmap, addr, len) })
}
