//! `schedules`: the input is a program for two to four tasks on one table *and* their schedule; one execution each, by shuttle.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | number of tasks, how keys are hashed, how many other keys take up slots |
//! | 1 | number of keys, steps of each program, what becomes of the other keys |
//! | … | the programs, a byte a step (`program`) |
//! | rest | the schedule, two bytes a choice (`scheduler`) |
//!
//! The programs make the table grow and tend to what is older, as the table otherwise does by itself with more keys than these.
//!
//! Checked: exclusion and no lost change (I1), one entry per key (I2), depths (I3), weak handles and `len` (I5), no lost wake-up, which is
//! a deadlock (I6), no touch of a freed node (I7, by the facade), every key dropped once and nothing left (I5, I8), no endless
//! repetition (I4, by a bound on the steps).

mod cells;
mod program;
mod scheduler;
mod world;

use perkey::model::{set_lagging, tick};
use program::World;
use scheduler::{step_begins, Fed};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::sync::Arc;
use std::time::Duration;
use world::{Key, Notes, Registry, Table};

/// Scheduling points of one execution at most.
const POINTS: usize = 50_000;

/// What an input says, but for the schedule.
#[derive(Clone, Debug)]
struct Plan {
    programs: Vec<Vec<u8>>,
    keys: usize,
    /// 0: all hashes are equal; 1: each its own; 2: two are.
    hash: u8,
    /// Other keys that are in use.
    fillers: usize,
    /// What the main task does meanwhile.
    main: u8,
}

/// Runs one input.
///
/// # Panics
/// If anything that the table promises does not hold in this execution.
pub fn run(data: &[u8]) {
    let (first, second, rest) = match data {
        [first, second, rest @ ..] => (*first, *second, rest),
        _ => return,
    };
    let tasks = usize::from(first % 3) + 2;
    let steps = usize::from(second / 3 % 6) + 1;
    let (programs, schedule) = rest.split_at((tasks * steps).min(rest.len()));
    let plan = Plan {
        programs: programs.chunks(steps).map(<[u8]>::to_vec).collect(),
        keys: usize::from(second % 3) + 1,
        hash: first / 3 % 3,
        fillers: usize::from(first / 9 % 8),
        main: second / 18,
    };
    let mut config = Config::new();
    config.stack_size = 0x1_0000;
    config.silence_warnings = true;
    config.failure_persistence = FailurePersistence::None; // the input is the schedule
    config.max_steps = MaxSteps::FailAfter(POINTS);
    Runner::new(Fed::new(schedule.to_vec()), config).run(move || execute(&plan));
}

fn execute(plan: &Plan) {
    let registry = Arc::new(Registry::default());
    let key = |id: usize| {
        let hash = [7, id as u64, id as u64 % 2][usize::from(plan.hash)];
        Key::asking(&registry, id, hash)
    };
    let world = World {
        table: Arc::new(Table::default()),
        keys: (0..plan.keys).map(key).collect(),
        notes: Notes::new(plan.keys),
    };
    let others: Vec<Key> = (plan.keys..plan.keys + plan.fillers).map(key).collect();
    let table = world.table.clone();
    let mut fillers: Vec<_> = others.iter().map(|key| table.handle(key)).collect();
    let world = Arc::new(world);
    let tasks = plan.programs.iter().map(|program| {
        let (world, program) = (world.clone(), program.clone());
        shuttle::thread::spawn(move || program::run(&world, &program))
    });
    let tasks: Vec<_> = tasks.collect();
    step_begins(31);
    match plan.main {
        12 => table.grow(1),
        13 => {
            table.grow(2);
            fillers.truncate(1);
            table.tend();
            table.grow(1);
        }
        14 => {
            table.grow(1);
            table.grow(1);
            fillers.clear();
            (0..4).for_each(|_| table.tend());
        }
        n if n % 4 == 1 => tick(Duration::from_millis(2)),
        n if n % 4 == 2 => fillers.clear(),
        n if n % 4 == 3 => {
            fillers.truncate(1);
            table.shrink_to_fit();
        }
        _ => {}
    }
    for task in tasks {
        task.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
    }
    drop(fillers);
    drop(table);
    end(
        Arc::into_inner(world).expect("all are joined"),
        others.len(),
        &registry,
    );
}

/// Nothing is left.
fn end(world: World, fillers: usize, registry: &Registry) {
    world.notes.verify();
    let World { table, keys, .. } = world;
    for key in &keys {
        assert!(!table.is_locked(key) && !table.is_held(key));
    }
    let shown = format!("{table:?}");
    assert_eq!(table.len(), 0, "something is left behind: {shown}");
    let all = 0..keys.len() + fillers;
    for id in all.clone() {
        assert!(registry.alive(id) <= 1, "key {id} is there twice");
    }
    set_lagging(false);
    table.shrink_to_fit();
    let shown = format!("{table:?}");
    assert!(shown.contains("overflow: 0"), "a node is left: {shown}");
    let left: usize = all.clone().map(|id| registry.alive(id)).sum();
    assert_eq!(left, 0, "after shrinking");
    drop(Arc::into_inner(table).expect("no owned guard is left"));
    let left: usize = all.map(|id| registry.alive(id)).sum();
    assert_eq!(left, 0, "after the table");
}
