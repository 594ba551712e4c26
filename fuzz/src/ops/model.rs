//! The obvious model: how many guards and handles each key has, and how many lives it has behind it.

/// More keys than the six slots of the smallest table.
pub(super) const KEYS: u8 = 10;

/// A life that is over.
pub(super) const OVER: u64 = u64::MAX;

/// Counts what is alive, forgotten guards and handles included.
#[derive(Debug, Default)]
pub(super) struct Model {
    guards: [usize; KEYS as usize],
    handles: [usize; KEYS as usize],
    lives: [u64; KEYS as usize],
}

impl Model {
    /// How often the key is held.
    pub(super) fn depth(&self, key: u8) -> usize {
        self.guards[usize::from(key)]
    }

    pub(super) fn is_alive(&self, key: u8) -> bool {
        self.guards[usize::from(key)] + self.handles[usize::from(key)] > 0
    }

    /// How many keys are alive.
    pub(super) fn alive(&self) -> usize {
        (0..KEYS).filter(|key| self.is_alive(*key)).count()
    }

    /// The number of the key's present life, or of its next one.
    pub(super) fn life(&self, key: u8) -> u64 {
        self.lives[usize::from(key)]
    }

    pub(super) fn lock(&mut self, key: u8) {
        self.guards[usize::from(key)] += 1;
    }

    pub(super) fn handle(&mut self, key: u8) {
        self.handles[usize::from(key)] += 1;
    }

    pub(super) fn unlock(&mut self, key: u8) {
        self.guards[usize::from(key)] -= 1;
        self.ended(key);
    }

    pub(super) fn put_handle(&mut self, key: u8) {
        self.handles[usize::from(key)] -= 1;
        self.ended(key);
    }

    fn ended(&mut self, key: u8) {
        if !self.is_alive(key) {
            self.lives[usize::from(key)] += 1;
        }
    }
}
