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

const fn schedule(mutant: &'static str, file: &'static str, test: &'static str) -> Twin {
    Twin {
        mutant,
        file,
        test,
        bound: None,
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
    twin("hash_load_relaxed", "loom_table", "idle_a_try_b_try_a_try_a", 2),
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
    // many keys
    twin("many_unsorted", "loom_many", "many_ab_many_ba", 2),
    twin("many_unsorted", "loom_many", "many_aa1_many_a1a", 2),
    twin("claim_relaxed", "loom_many", "many_a_many_a", 2),
    twin("wake_dropped", "loom_many", "many_ba_against_lock_b", 2),
    twin("many_waits_holding_later", "loom_many", "holding_b_many_ab_against_many_ab", 2),
    twin("many_waits_holding_later", "loom_many", "holding_b_many_a_against_many_ab", 2),
    twin("many_unsorted", "loom_many", "holding_a_many_ba_against_many_ba", 2),
    twin("many_keeps_on_failure", "loom_many", "try_many_ba_against_try_b", 2),
    twin("many_keeps_on_failure", "loom_many", "timeout_of_many_ab_against_unlock_b", 2),
    // the layers of a storage
    twin("serializing_without_lock", "loom_storage", "serializing_update_a_update_b", 2),
    twin("serializing_without_lock", "loom_storage", "serializing_nested_update_a", 2),
    twin("serializing_reads_without_lock", "loom_storage", "serializing_list_update_a", 2),
    twin("key_without_lock", "loom_storage", "per_key_update_a_update_a", 2),
    twin("key_without_lock", "loom_storage", "per_key_nested_update_a", 2),
    twin("key_without_lock", "loom_storage", "get_or_insert_a_get_or_insert_a", 2),
    twin("key_without_lock", "loom_storage", "get_or_insert_a_fails_get_or_insert_a", 2),
    twin("key_without_lock", "loom_storage", "rename_a_to_b_rename_b_to_a", 1),
    twin("reads_without_key_lock", "loom_storage", "per_key_load_a_update_a", 2),
    twin("one_lock_for_all_keys", "loom_storage", "per_key_update_a_beside_update_b", 2),
];

/// The twins of tests with real threads or none, which the step "tests" runs as they are.
#[rustfmt::skip]
pub(crate) const THREADS: &[Twin] = &[
    schedule("node_kept", "memory", "memory_comes_back_by_ordinary_use_without_shrinking"),
    schedule("claim_lost_in_panic", "foreign", "a_panic_while_a_slot_is_rewritten_costs_no_slot"),
    schedule("pass_lost_in_panic", "foreign", "eq_may_panic_at_every_call"),
    schedule("many_not_deduplicated", "many", "every_key_is_held_once_however_often_it_is_asked_for"),
    schedule("many_chain_not_looked_at", "many", "who_holds_a_later_key_never_waits_and_who_holds_an_earlier_one_does"),
    schedule("prefix_not_checked_again", "conformance", "memory"),
    schedule("key_without_lock", "conformance", "layers"),
    schedule("serializing_reads_without_lock", "conformance", "layers"),
];

/// The twins of the shuttle tests.
#[rustfmt::skip]
pub(crate) const SHUTTLE: &[Twin] = &[
    schedule("fair_ignored", "shuttle_lock", "unlock_fair_serves_in_the_order_of_arrival"),
    schedule("join_at_the_end", "shuttle_lock", "the_longest_waiter_is_served"),
    schedule("vain_not_counted", "shuttle_lock", "the_longest_waiter_is_served"),
    schedule("time_not_counted", "shuttle_lock", "a_release_hands_over_when_time_has_passed"),
    schedule("wake_dropped", "shuttle_lock", "eight_tasks_count"),
    schedule("leave_without_looking", "shuttle_lock", "six_tasks_nest_two_locks"),
    schedule("leave_without_looking", "shuttle_lock", "time_outs_race_grants"),
    schedule("leave_without_looking", "shuttle_lock", "who_gives_up_passes_it_on"),
    schedule("ticket_left_behind", "shuttle_table", "time_outs_race_the_release"),
    schedule("retire_now", "shuttle_table", "overflow"),
    schedule("claim_under_passers", "shuttle_table", "takeover_of_one_slot"),
    schedule("claim_in_use", "shuttle_table", "the_last_owner_frees_the_table"),
    schedule("upgrade_into_next_life", "shuttle_table", "weak_handles_know_their_life"),
    schedule("no_stamp", "shuttle_table", "constant_hash"),
    schedule("no_help", "shuttle_table", "eight_tasks_draw_their_programs"),
    schedule("no_help", "shuttle_table", "insertions_race"),
    schedule("stamp_not_seen_again", "shuttle_table", "four_tasks_draw_their_programs"),
    schedule("reference_before_wake", "shuttle_table", "a_release_does_not_reach_the_next_key"),
    schedule("no_second_search", "shuttle_table", "executions_are_deterministic"),
    // the layers of a storage
    schedule("key_without_lock", "shuttle_storage", "histories_per_key"),
    schedule("reads_without_key_lock", "shuttle_storage", "histories_per_key"),
    schedule("prefix_not_checked_again", "shuttle_storage", "histories_per_key"),
    schedule("reads_without_key_lock", "shuttle_storage", "histories_of_handles"),
    schedule("key_without_lock", "shuttle_storage", "histories_of_stacks"),
    schedule("serializing_without_lock", "shuttle_storage", "histories_serializing"),
    schedule("serializing_reads_without_lock", "shuttle_storage", "histories_serializing"),
    schedule("prefix_not_checked_again", "shuttle_storage", "histories_serializing"),
    schedule("one_lock_for_all_keys", "shuttle_storage", "exclusion_per_key"),
    schedule("serializing_reads_without_lock", "shuttle_storage", "exclusion_serializing"),
    schedule("key_without_lock", "shuttle_storage", "races_per_key"),
    schedule("serializing_without_lock", "shuttle_storage", "races_serializing"),
    schedule("prefix_not_checked_again", "shuttle_storage", "a_renamed_value_is_found_by_the_digits_of_both_keys"),
    schedule("key_without_lock", "shuttle_storage", "memory_in_one_line"),
    schedule("serializing_without_lock", "shuttle_storage", "a_backend_from_outside_in_one_line"),
    schedule("wait_for_ready", "stop_anywhere", "lock_a_new_key"),
    schedule("wait_for_claimed", "stop_anywhere", "lock_taking_over"),
];
