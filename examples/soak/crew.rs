//! Threads that come and go.

use crate::graves::Graves;
use crate::key::was_planned;
use crate::tally::Event;
use crate::worker::Worker;
use crate::world::World;
use fastrand::Rng;
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// How often the crew is looked at, and how often it gets another size.
const LOOK: Duration = Duration::from_millis(20);
const CHANGE: Duration = Duration::from_millis(300);

/// How many threads there should be. `World::threads` says how many there are.
struct Crew<'a> {
    world: &'a World,
    wanted: AtomicU64,
}

impl Crew<'_> {
    /// Is the calling thread one too many? Then it has to go.
    fn too_many(&self) -> bool {
        // Two may go where one would do: the next look hires again.
        self.world.threads.load(SeqCst) > self.wanted.load(SeqCst)
    }
}

/// Takes a thread off the count, however it ends.
struct Counted<'a>(&'a World);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, SeqCst);
    }
}

/// Lets a crew of 1 to `most` threads work for so long, or until something is violated; all of them have ended then.
pub(crate) fn round(world: &World, most: u64, length: Duration, next: &mut u64, rng: &mut Rng) {
    let graves = Graves::new();
    let crew = Crew {
        world,
        wanted: AtomicU64::new(most),
    };
    thread::scope(|s| {
        let mut hired: Vec<ScopedJoinHandle<'_, ()>> = Vec::new();
        let (end, mut change) = (Instant::now() + length, Instant::now() + CHANGE);
        while Instant::now() < end && world.faults.all() == 0 {
            if Instant::now() > change {
                change += CHANGE;
                crew.wanted.store(rng.u64(1..=most), SeqCst);
            }
            while world.threads.load(SeqCst) < crew.wanted.load(SeqCst) {
                world.threads.fetch_add(1, SeqCst);
                *next += 1;
                world.tally.note(Event::Hire);
                let (me, rng, graves, crew) = (*next, rng.fork(), &graves, &crew);
                hired.push(s.spawn(move || {
                    let _counted = Counted(world);
                    Worker::new(world, graves, me, rng).work(|| crew.too_many());
                }));
            }
            for gone in hired.extract_if(.., |h| h.is_finished()) {
                end_of(gone, world);
            }
            thread::sleep(LOOK.min(length));
        }
        crew.wanted.store(0, SeqCst);
        for last in hired {
            end_of(last, world);
        }
    });
    graves.muster(&world.faults);
}

/// A thread may end by a panic that was planned, and by no other.
fn end_of(thread: ScopedJoinHandle<'_, ()>, world: &World) {
    if let Err(panic) = thread.join() {
        world.faults.check(was_planned(&*panic), || {
            format!("a thread has panicked: {}", message(&*panic))
        });
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message")
}
