//! Ctrl-C: the first one asks to stop, the second one kills.

use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;

/// Whether the program is asked to stop.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Is asked by Ctrl-C from now on.
    pub(crate) fn on_interrupt() -> io::Result<Self> {
        let stop = Self::default();
        // In this order: what the first one registers finds nothing set at the first Ctrl-C, and kills at the second.
        flag::register_conditional_default(SIGINT, Arc::clone(&stop.0))?;
        flag::register(SIGINT, Arc::clone(&stop.0))?;
        Ok(stop)
    }

    pub(crate) fn asked(&self) -> bool {
        self.0.load(Relaxed)
    }
}
