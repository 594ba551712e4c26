//! Which mutant must be killed by which scenario.

/// A broken twin: with this mutant switched on, this test must fail.
pub(crate) struct Twin {
    /// The name in `perkey::mutant`.
    pub(crate) mutant: &'static str,
    /// The test binary.
    pub(crate) file: &'static str,
    /// The test.
    pub(crate) test: &'static str,
    /// The preemption bound at which it is looked for (loom).
    pub(crate) bound: Option<u8>,
}

const fn twin(mutant: &'static str, file: &'static str, test: &'static str, bound: u8) -> Twin {
    Twin {
        mutant,
        file,
        test,
        bound: Some(bound),
    }
}

/// The twins of the loom scenarios.
#[rustfmt::skip]
pub(crate) const LOOM: &[Twin] = &[
    // the lock
    twin("depth_not_counted", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("owner_not_cleared", "loom_lock", "lock_unlock_lock_unlock_against_lock", 3),
    twin("take_relaxed", "loom_lock", "try_lock_against_lock", 3),
    twin("unlock_relaxed", "loom_lock", "try_lock_against_lock", 3),
    twin("parked_seen_relaxed", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("announce_relaxed", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("waiter_takes_relaxed", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("parked_not_set", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("announce_unchecked", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("wake_dropped", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("grant_relaxed", "loom_lock", "unlock_fair_against_lock", 3),
    twin("grant_store_relaxed", "loom_lock", "unlock_fair_against_lock", 3),
    twin("ticket_left_behind", "loom_lock", "timeout_against_unlock", 3),
    twin("ticket_left_behind", "loom_lock", "timeout_against_grant", 3),
    twin("leave_without_looking", "loom_lock", "timeout_against_unlock_against_lock", 2),
    twin("pass_on_relaxed", "loom_lock", "lock_against_lock_against_lock", 2),
    // the table
    twin("hash_store_relaxed", "loom_table", "try_ab_try_a", 2),
    twin("hash_load_relaxed", "loom_table", "try_aab_try_a", 2),
    twin("unpublish_relaxed", "loom_table", "try_ab_try_ca", 3),
    twin("meet_relaxed", "loom_table", "try_aa_try_a", 2),
    twin("settle_relaxed", "loom_table", "try_aa_try_a", 2),
    twin("put_relaxed", "loom_table", "try_ab_try_a", 2),
    twin("claim_relaxed", "loom_table", "try_a_try_a", 2),
    twin("stamp_relaxed", "loom_table", "try_a_try_a", 2),
    twin("stamp_load_relaxed", "loom_table", "try_a_try_a", 2),
    twin("publish_relaxed", "loom_table", "try_aa_try_a", 2),
    twin("no_stamp", "loom_table", "try_a_try_a", 2),
    twin("no_help", "loom_table", "try_ab_try_ca", 2),
    twin("no_help_in_search", "loom_table", "try_a_try_a", 2),
    twin("no_second_search", "loom_table", "try_a_try_a", 2),
    twin("stamp_not_seen_again", "loom_table", "try_aa_try_a", 2),
    twin("hash_is_key", "loom_table", "try_ab_try_a", 2),
    twin("claim_under_passers", "loom_table", "try_aa_try_a", 2),
    twin("claim_in_use", "loom_table", "try_ab_try_a", 2),
    // the same again, so that every scenario has been seen to fail
    twin("no_stamp", "loom_table", "lock_a_lock_a", 2),
    twin("settle_relaxed", "loom_table", "lock_aa_lock_a", 2),
    twin("hash_is_key", "loom_table", "lock_a_lock_a1", 2),
    twin("hash_is_key", "loom_table", "try_ab_try_a1", 2),
    twin("no_stamp", "loom_table", "try_abc_try_ba", 2),
    twin("hash_load_relaxed", "loom_table", "lock_aab_lock_a", 2),
    twin("hash_load_relaxed", "loom_table", "lock_ab_lock_a", 2),
    twin("no_help", "loom_table", "lock_ab_lock_ca", 2),
    twin("hash_is_key", "loom_table", "lock_ab_lock_a1", 2),
    twin("no_stamp", "loom_table", "lock_abc_lock_ba", 2),
    twin("no_stamp", "loom_table", "try_a_try_a_try_b", 2),
    twin("hash_is_key", "loom_table", "contended_a_beside_a1", 2),
    twin("claim_relaxed", "loom_table", "lock_a_lock_b", 2),
    twin("claim_relaxed", "loom_table", "try_a_try_b", 2),
    // handles
    twin("upgrade_of_the_dead", "loom_handle", "upgrade_against_last_drop", 3),
    twin("upgrade_into_next_life", "loom_handle", "upgrade_against_drop_and_handle", 3),
    twin("upgrade_of_the_dead", "loom_handle", "upgrade_against_passing_search", 3),
    twin("claim_in_use", "loom_handle", "handle_against_other_keys", 3),
    twin("unlock_relaxed", "loom_handle", "handle_lock_against_lock", 3),
    twin("claim_relaxed", "loom_handle", "shrink_against_lock", 3),
    twin("reference_before_wake", "loom_handle", "timeout_and_shrink_against_unlock", 2),
    // overflow
    twin("push_relaxed", "loom_overflow", "chained_c_against_chained_c", 1),
    twin("retire_twice", "loom_overflow", "chained_c_against_chained_a1", 1),
    twin("retire_now", "loom_overflow", "walk_against_removal", 1),
    twin("push_relaxed", "loom_overflow", "chained_c_against_slot_c", 1),
];

/// The twins of the shuttle tests.
pub(crate) const SHUTTLE: &[Twin] = &[];
