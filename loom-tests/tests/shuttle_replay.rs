//! What is found under shuttle can be found again: the same seed gives the same executions, and a schedule that was written down is replayed.
#![cfg(perkey_shuttle)]
#![allow(clippy::pedantic, clippy::type_complexity)]

mod shuttle_common;
#[allow(dead_code)] // nothing is counted here
#[path = "shuttle_table/world.rs"]
mod world;

use perkey::model::tick;
use shuttle_common::{check, Registry};
use world::{Tally, World, MS};

/// The same seed gives the same executions: what is found can be replayed.
#[test]
fn executions_are_deterministic() {
    let (registry, tally) = (Registry::leak(), Tally::default());
    shuttle::check_uncontrolled_nondeterminism(
        move || {
            let program = |w: &World| (0..3).for_each(|_| w.step(0));
            World::new(registry, &tally, 3, |id| id as u64)
                .run((0..4).map(|_| Box::new(program) as _).collect(), |_| {
                    tick(MS * 2)
                });
        },
        100,
    );
}

/// With the right key this is correct; with `PERKEY_PLANTED` one task locks a wrong one, for
/// `a_schedule_that_was_found_can_be_replayed`.
#[test]
fn planted() {
    let wrong = usize::from(std::env::var_os("PERKEY_PLANTED").is_some());
    let registry = Registry::leak();
    check("planted", move || {
        let w = World::new(registry, &Tally::default(), 2, |_| 7);
        let sloppy = |k: usize| {
            move |w: &World| {
                // Visits key 0 with the lock of key k.
                let _guard = w.table.lock(&w.keys[k]);
                w.data.visit(0);
            }
        };
        w.run(vec![Box::new(sloppy(0)), Box::new(sloppy(wrong))], |_| ());
    });
}

#[test]
fn a_schedule_that_was_found_can_be_replayed() {
    let me = std::env::current_exe().unwrap();
    let dir = std::env::temp_dir().join(format!("perkey-schedules-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let run = |name: &str, value: &std::path::Path| {
        let out = std::process::Command::new(&me)
            .args(["--exact", "planted", "--nocapture"])
            .env("PERKEY_PLANTED", "1")
            .env_remove("PERKEY_REPLAY")
            .env(name, value)
            .output()
            .unwrap();
        assert!(!out.status.success(), "the planted bug was not found");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    };
    run("PERKEY_PERSIST", &dir);
    let file = dir.join("schedule000.txt");
    let said = run("PERKEY_REPLAY", &file);
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(
        said.contains("replaying") && said.contains("two holders"),
        "{said}"
    );
}
