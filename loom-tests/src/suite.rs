//! The mutants, what each of them breaks, and which test must kill it.

/// A deliberately broken step of a protocol.
pub(crate) struct Mutant {
    /// The name in `perkey::mutant`.
    pub(crate) name: &'static str,
    /// The invariant that it breaks.
    pub(crate) breaks: &'static str,
    /// What is wrong with it.
    pub(crate) what: &'static str,
}

const fn mutant(name: &'static str, breaks: &'static str, what: &'static str) -> Mutant {
    Mutant { name, breaks, what }
}

/// All of them. (Orderings that are too weak are no mutants: `cargo prove orderings` makes those by itself.)
#[rustfmt::skip]
pub(crate) const MUTANTS: &[Mutant] = &[
    // the lock
    mutant("depth_not_counted", "I3", "taking it again does not add to the depth"),
    mutant("owner_not_cleared", "I3", "who has released it looks like its owner still"),
    mutant("parked_not_set", "I6", "a waiter does not say that he waits"),
    mutant("announce_unchecked", "I6", "a waiter says so after the release, too"),
    mutant("on_way_after_taking", "I6", "a woken waiter that took the lock still counts as being on his way"),
    mutant("on_way_after_coming", "I6", "a woken waiter that came back, or gave up, still counts as being on his way"),
    mutant("coming_not_seen", "I6", "a release that does not look at the queue does not see that the woken waiter has come"),
    mutant("wake_dropped", "I6", "the waiter that leaves the queue is not woken"),
    mutant("ticket_left_behind", "I6", "a waiter that gives up stays in the queue"),
    mutant("leave_without_looking", "I6", "a waiter that gives up swallows his wake-up"),
    mutant("fair_ignored", "F1", "`unlock_fair` does as `drop` does"),
    mutant("join_at_the_end", "F1", "who has woken in vain queues up behind newer ones"),
    mutant("vain_not_counted", "F1", "no hand-over after waking in vain"),
    mutant("time_not_counted", "F1", "no hand-over after half a millisecond"),
    mutant("skips_without_end", "F1", "no release looks at the queue while somebody is on his way"),
    mutant("reference_before_wake", "I7", "the reference is given back before the waiter is woken"),
    // the table
    mutant("no_stamp", "I2", "an insertion becomes a member without the bucket's stamp"),
    mutant("no_help", "I2", "a stamp is replaced before what it names is a member"),
    mutant("no_help_in_search", "I2", "a search passes by what is stamped and not yet promoted"),
    mutant("no_second_search", "I2", "after a lost stamp the bucket is not searched again"),
    mutant("stamp_not_seen_again", "I2", "the stamp is not looked at under the claim, so a number comes twice"),
    mutant("release_of_the_unpromoted", "I5", "the release of a new key does not make it an idle member"),
    mutant("user_of_the_unpromoted", "I5", "a handle counts itself in the number of a publication"),
    mutant("hash_is_key", "I4", "a key with the same hash is taken for the key"),
    mutant("claim_under_passers", "I7", "an entry is rewritten while a search compares its key"),
    mutant("claim_in_use", "I7", "an entry is rewritten while it has users"),
    mutant("wait_for_claimed", "I4", "an insertion waits for who rewrites a slot"),
    mutant("wait_for_ready", "I4", "a search waits for who publishes an entry"),
    mutant("upgrade_of_the_dead", "I5", "a weak handle comes back after the last user has gone"),
    mutant("upgrade_into_next_life", "I5", "a weak handle reaches the next life of its entry"),
    mutant("retire_now", "I7", "a node is freed without waiting for pins"),
    mutant("retire_twice", "I7", "a node is retired twice"),
    mutant("node_kept", "I8", "a dead node is not unlinked"),
    mutant("claim_lost_in_panic", "I9", "a panic of the key's code loses the slot"),
    mutant("pass_lost_in_panic", "I9", "a panic of the key's code loses a passing reference"),
    mutant("grant_ignored", "I6", "a waiter whose time is over does not see that he was handed the lock"),
    mutant("owner_shared", "I3", "all threads are one owner"),
    mutant("unlock_clears_depth", "I3", "the first guard that is dropped releases the lock"),
    mutant("depth_unchecked", "I3", "the depth wraps at its end"),
    mutant("dead_node_met", "I7", "a search takes a reference on a dead node"),
    mutant("retire_without_unlinking", "I7", "a node is retired although it could not be unlinked"),
    mutant("walk_unpinned", "I7", "a search walks over the overflow without a pin"),
    mutant("node_not_numbered", "I2", "a node is published without its number"),
    mutant("node_not_renamed", "I2", "a node that is taken for another key keeps the hash of the old one"),
    mutant("claim_of_the_dead", "I7", "a node is taken for another key before its last holder is done with it"),
    mutant("lag_ignored", "I8", "a node is retired, however much waits to be freed"),
    mutant("lag_ignored_by_shrinking", "I8", "shrinking retires nodes, however much waits to be freed"),
    mutant("spares_without_end", "I8", "every node stays in its chain, free"),
    mutant("spares_not_tidied", "I8", "a node stays free in its chain while there is room in the slots"),
    mutant("spares_kept", "I8", "a segment is not drained as long as a node in it is free"),
    mutant("shrinks_over_and_over", "I8", "a table that is told to shrink does, though what it has given up before cannot be freed yet"),
    mutant("latest_of_any_table", "I1", "a key of another table is taken for the one that the thread has taken last"),
    mutant("latest_not_forgotten", "I1", "what the thread has released is taken again as if it were held"),
    mutant("born_without_owner", "I3", "a new entry is locked by nobody"),
    mutant("old_key_forgotten", "I5", "the key of a slot that is taken over is not dropped"),
    mutant("references_unchecked", "I7", "the count of passers runs over"),
    mutant("generations_unchecked", "I2", "the numbers of a bucket run over"),
    mutant("timed_out_user_kept", "I5", "a waiter that gives up remains a user"),
    mutant("idle_counted", "I5", "`len` counts idle keys"),
    mutant("shrink_forgets_keys", "I5", "shrinking does not drop the keys"),
    // growth
    mutant("older_not_closed", "I2", "a key is inserted into the newest segment while an older bucket is open"),
    mutant("older_not_searched", "I2", "a key is inserted into the newest segment although an older one has it"),
    mutant("closed_when_noted", "I2", "what is in an older bucket is written down before the bucket is closed"),
    mutant("behind_unmade_trusted", "I2", "nothing is thought to be in older segments before anybody has written down what is"),
    mutant("nowhere_though_unknown", "I2", "the short path takes a key for new before anybody has looked behind its bucket"),
    mutant("nowhere_though_closed", "I2", "the short path inserts into a bucket that is closed"),
    mutant("nowhere_without_chain", "I2", "the short path takes a key for new that is in the chain of the first array"),
    mutant("behind_without_chain", "I2", "the keys in an older chain are not written down"),
    mutant("behind_in_part", "I2", "one bucket of a larger older segment counts for all that are behind a bucket"),
    mutant("closed_without_help", "I2", "a bucket is closed before what its stamp names is a member"),
    mutant("closed_chain_linked", "I7", "a node is linked into a closed chain"),
    mutant("drained_while_alive", "I7", "a segment goes while something in it is alive"),
    mutant("drained_with_nodes", "I7", "a segment goes while there are nodes in its chains"),
    mutant("segment_freed_at_once", "I7", "a segment is freed without waiting for pins"),
    // many keys
    mutant("many_unsorted", "M2", "locks are taken in the caller's order"),
    mutant("many_not_deduplicated", "M2", "a key that is named twice is taken twice"),
    mutant("many_waits_holding_later", "M3", "a thread waits while it holds a later key"),
    mutant("many_chain_not_looked_at", "M3", "later keys in the overflow are not seen"),
    mutant("many_keeps_on_failure", "M4", "what was taken before a failure is kept"),
    // the layers of a storage
    mutant("serializing_without_lock", "S1", "`Serializing` takes no lock"),
    mutant("serializing_reads_without_lock", "S1", "`Serializing` takes no lock for reads"),
    mutant("key_without_lock", "S2", "`PerKey` takes no lock"),
    mutant("reads_without_key_lock", "S2", "`PerKey` takes no lock for reads"),
    mutant("one_lock_for_all_keys", "S3", "`PerKey` takes the same lock for all keys"),
    mutant("prefix_not_checked_again", "S7", "a short key is not looked at again under the lock"),
    mutant("prefix_not_made_whole", "S7", "a short key does not lock what it stands for"),
    mutant("outer_left_first", "S13", "a layer is left before what is inside"),
    mutant("inner_page_applied_at_once", "S14", "what is done inside an operation on the same key lasts before it, and without it"),
    mutant("tentative_taken_for_stored", "S14", "a value is not saved again that an operation around may take back"),
    mutant("outdated_not_struck_out", "S14", "what an operation had noted comes on top of what was done inside it later"),
    mutant("clone_with_its_own_lock", "S15", "a clone of a store has locks of its own"),
    mutant("transfer_in_argument_order", "S16", "`transfer` enters the store that it is called on first"),
    // a store in files
    mutant("files_written_in_place", "S8", "a value is written where it is to be, without a temporary file"),
    mutant("file_not_synced", "S9", "a value is put in place before it is on the disk"),
    mutant("places_not_synced", "S9", "a folder is not synced after a change of names"),
    mutant("folder_not_synced", "S9", "the folder of a folder is not synced"),
    mutant("found_not_settled", "S9", "what is found in a folder counts before the folder is on the disk"),
    mutant("files_removed_first", "S9", "the old place of a moved value goes before the new one is there"),
    mutant("checksum_not_checked", "S10", "the checksum of a value is not compared"),
    mutant("leftovers_kept", "S11", "temporary files of a process that was killed stay"),
    mutant("opened_without_lock", "S11", "an open store is not known to be open"),
    mutant("changes_not_taken_back", "S12", "changes stay after a later one of the operation failed"),
];

/// Orderings that stay although no model notices that they are weaker: the access, what it was weakened to, and why it stays.
#[rustfmt::skip]
pub(crate) const SURVIVORS: &[(&str, &str, &str)] = &[
];

/// A broken twin: with this mutant switched on, this test must fail.
pub(crate) struct Twin {
    /// The name in `perkey::mutant`; or, with a space in it, an ordering of `sites` that is one step weaker.
    pub(crate) mutant: &'static str,
    /// The test binary.
    pub(crate) file: &'static str,
    /// The test.
    pub(crate) test: &'static str,
    /// The preemption bound at which it is looked for (loom).
    pub(crate) bound: Option<u8>,
}

impl Twin {
    /// The ordering that is weakened, if that is what is broken.
    pub(crate) fn weaker(&self) -> Option<&'static str> {
        self.mutant.contains(' ').then_some(self.mutant)
    }
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
    twin("parked_not_set", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("announce_unchecked", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("wake_dropped", "loom_lock", "lock_lock_unlock_unlock_twice", 3),
    twin("ticket_left_behind", "loom_lock", "timeout_against_unlock", 3),
    twin("ticket_left_behind", "loom_lock", "timeout_against_grant", 3),
    twin("leave_without_looking", "loom_lock", "timeout_against_unlock_against_lock", 2),
    twin("coming_not_seen", "loom_lock", "lock_unlock_twice_against_lock_against_lock", 2),
    twin("on_way_after_taking", "loom_lock", "lock_against_lock_against_lock", 3),
    twin("on_way_after_coming", "loom_lock", "timeout_against_unlock_against_lock", 3),
    twin("grant_ignored", "loom_lock", "timeout_against_grant", 3),
    twin("unlock_clears_depth", "loom_lock", "lock_lock_unlock_unlock_twice", 2),
    twin("wake_dropped", "loom_lock", "try_lock_against_lock", 3),
    twin("wake_dropped", "loom_lock", "unlock_fair_against_lock", 3),
    twin("wake_dropped", "loom_lock", "lock_against_lock_against_lock", 2),
    // the table
    twin("no_stamp", "loom_table", "try_a_try_a", 2),
    twin("no_help", "loom_table", "try_ab_try_ca", 2),
    twin("no_help_in_search", "loom_table", "try_a_try_a", 2),
    twin("no_second_search", "loom_table", "try_a_try_a", 2),
    twin("stamp_not_seen_again", "loom_table", "try_aa_try_a", 2),
    twin("hash_is_key", "loom_table", "try_ab_try_a", 2),
    twin("claim_under_passers", "loom_table", "try_aa_try_a", 2),
    twin("claim_in_use", "loom_table", "try_ab_try_a", 2),
    twin("owner_shared", "loom_table", "lock_aa_lock_a", 2),
    twin("latest_not_forgotten", "loom_table", "lock_aa_lock_a", 2),
    twin("claim_under_passers", "loom_table", "try_ab_try_a", 2),
    // the same again, so that every scenario has been seen to fail
    twin("no_stamp", "loom_table", "lock_a_lock_a", 2),
    twin("claim_under_passers", "loom_table", "lock_aa_lock_a", 2),
    twin("claim_in_use", "loom_table", "lock_aab_lock_a", 2),
    twin("no_second_search", "loom_table", "lock_ab_lock_a", 2),
    twin("stamp_not_seen_again", "loom_table", "idle_a_try_b_try_a_try_a", 2),
    twin("table/entry.rs claim.1 success", "loom_table", "lock_a_lock_b", 2),
    twin("table/entry.rs claim.1 success", "loom_table", "try_a_try_b", 2),
    twin("hash_is_key", "loom_table", "lock_a_lock_a1", 2),
    twin("hash_is_key", "loom_table", "try_ab_try_a1", 2),
    twin("no_stamp", "loom_table", "try_abc_try_ba", 2),
    twin("no_second_search", "loom_table", "try_aab_try_a", 2),
    twin("no_help", "loom_table", "lock_ab_lock_ca", 2),
    twin("hash_is_key", "loom_table", "lock_ab_lock_a1", 2),
    twin("no_stamp", "loom_table", "lock_abc_lock_ba", 2),
    twin("no_stamp", "loom_table", "try_a_try_a_try_b", 2),
    twin("claim_in_use", "loom_table", "try_a_shrink_try_a", 1),
    twin("no_stamp", "loom_table", "try_a_try_b_try_ba", 1),
    twin("hash_is_key", "loom_table", "contended_a_beside_a1", 2),
    // two operations at a time, from each state
    twin("no_stamp", "loom_pairs", "from_nothing", 2),
    twin("claim_under_passers", "loom_pairs", "from_idle_a", 2),
    twin("claim_in_use", "loom_pairs", "from_idle_a_and_b", 2),
    twin("hash_is_key", "loom_pairs", "from_idle_a_and_a1", 2),
    twin("no_stamp", "loom_pairs", "from_idle_c_and_b", 2),
    twin("wake_dropped", "loom_pairs", "from_used_a", 2),
    twin("dead_node_met", "loom_pairs", "from_chained_a", 2),
    twin("claim_in_use", "loom_pairs", "from_idle_a_in_a_segment", 2),
    twin("no_stamp", "loom_pairs", "from_idle_e_and_b_in_a_segment", 2),
    twin("nowhere_though_unknown", "loom_pairs", "from_used_a_in_an_older_segment", 2),
    // handles
    twin("upgrade_of_the_dead", "loom_handle", "upgrade_against_last_drop", 3),
    twin("upgrade_into_next_life", "loom_handle", "upgrade_against_drop_and_handle", 3),
    twin("upgrade_of_the_dead", "loom_handle", "upgrade_against_passing_search", 3),
    twin("claim_in_use", "loom_handle", "handle_against_other_keys", 3),
    twin("timed_out_user_kept", "loom_handle", "timeout_and_shrink_against_unlock", 2),
    twin("wake_dropped", "loom_handle", "handle_lock_against_lock", 3),
    twin("claim_in_use", "loom_handle", "shrink_against_lock", 3),
    twin("reference_before_wake", "loom_handle", "timeout_and_shrink_against_unlock", 2),
    // overflow
    twin("no_second_search", "loom_overflow", "chained_c_against_chained_c", 1),
    twin("no_stamp", "loom_overflow", "chained_c_against_slot_c", 1),
    twin("retire_twice", "loom_overflow", "chained_c_against_chained_a1", 1),
    twin("retire_now", "loom_overflow", "walk_against_removal", 1),
    twin("dead_node_met", "loom_overflow", "chained_c_against_chained_c", 1),
    twin("node_not_numbered", "loom_overflow", "chained_c_against_chained_a1", 1),
    twin("retire_without_unlinking", "loom_overflow", "chained_c_against_chained_a1", 1),
    twin("walk_unpinned", "loom_overflow", "walk_against_removal", 2),
    // the chain, a step a thread
    twin("table/chain.rs is_empty.1", "loom_chain", "release_c_against_c", 1),
    twin("table/chain.rs walk.3", "loom_chain", "release_c_behind_a1_against_c", 2),
    twin("table/chain.rs walk.2", "loom_chain", "release_c1_behind_c_against_c1_in_a_slot", 2),
    twin("table/chain.rs sweep.1", "loom_chain", "release_c1_behind_c_against_c1", 2),
    twin("table/chain.rs sweep.2", "loom_chain", "release_c_against_release_a1_and_c", 2),
    twin("table/chain.rs walk.1", "loom_chain", "chained_a1_against_walk_over_c", 1),
    twin("table/chain.rs sweep.1", "loom_chain", "chained_a1_against_release_c", 1),
    twin("table/node.rs set_free.1", "loom_chain", "release_c_left_free_against_c", 2),
    twin("table/node.rs hash.1", "loom_chain", "release_c_try_b_in_its_node_against_c", 2),
    twin("claim_in_use", "loom_chain", "release_c_try_b_in_its_node_against_c", 2),
    twin("node_not_renamed", "loom_chain", "free_node_c_against_c", 2),
    twin("claim_of_the_dead", "loom_chain", "free_node_c_against_b", 2),
    twin("retire_now", "loom_chain", "shrink_against_free_node_c", 1),
    // growth
    twin("older_not_searched", "loom_growth", "try_c_against_grow_try_c", 2),
    twin("closed_when_noted", "loom_growth", "try_c_in_a_segment_against_grow_try_c", 2),
    twin("behind_unmade_trusted", "loom_growth", "release_c_against_grow_try_c", 2),
    twin("nowhere_though_unknown", "loom_growth", "release_c_against_grow_try_c", 2),
    twin("nowhere_though_closed", "loom_growth", "try_new_c_against_grow_try_c", 2),
    twin("no_stamp", "loom_growth", "try_new_c_against_try_new_c", 2),
    twin("nowhere_without_chain", "loom_growth", "release_first_chained_c_against_try_c", 2),
    twin("behind_in_part", "loom_growth", "try_d_against_try_busy_c_in_a_larger_segment", 2),
    twin("behind_without_chain", "loom_growth", "release_chained_c_try_d_against_try_c", 2),
    twin("table/chain.rs iter.2", "loom_growth", "release_chained_c_behind_f_against_try_c", 3),
    twin("table/bucket.rs for_each_hash.1", "loom_growth", "release_c_try_e_against_grow_try_c", 2),
    twin("table/behind.rs of.1", "loom_growth", "release_chained_c_try_d_against_try_c", 3),
    twin("older_not_closed", "loom_growth", "try_c_in_a_segment_against_grow_try_c", 2),
    twin("older_not_closed", "loom_growth", "grow_try_c_against_grow_try_c", 2),
    twin("older_not_searched", "loom_growth", "release_c_against_grow_try_c", 2),
    twin("claim_under_passers", "loom_growth", "try_c_against_tend_try_c", 2),
    twin("closed_without_help", "loom_growth", "try_c_in_a_segment_against_grow_try_c", 2),
    twin("table/chain.rs close.1 success", "loom_growth", "release_chained_c_tend_against_tend_try_c", 2),
    twin("table/node.rs set_free.1", "loom_growth", "release_c_left_free_tend_against_tend_try_c", 2),
    twin("spares_kept", "loom_growth", "try_c_in_a_free_node_against_grow_tend", 1),
    twin("table/grow.rs drain.2 success", "loom_growth", "release_c_tend_against_tend_try_c", 2),
    twin("retire_now", "loom_growth", "release_chained_c_against_try_c", 2),
    twin("dead_node_met", "loom_growth", "release_noted_c_against_try_c", 2),
    twin("segment_freed_at_once", "loom_growth", "look_against_tend_and_free", 2),
    twin("segment_freed_at_once", "loom_growth", "shrink_against_try_c", 2),
    twin("drained_while_alive", "loom_growth", "release_c_against_grow_try_c", 2),
    twin("drained_with_nodes", "loom_growth", "release_chained_c_against_tend", 1),
    twin("table/segment.rs remove.1", "loom_growth", "tend_against_grow", 3),
    twin("segment_freed_at_once", "loom_growth", "tend_against_tend", 2),
    twin("segment_freed_at_once", "loom_growth", "try_chained_c_against_grow_tend", 1),
    // many keys
    twin("many_unsorted", "loom_many", "many_ab_many_ba", 2),
    twin("many_unsorted", "loom_many", "many_aa1_many_a1a", 2),
    twin("no_stamp", "loom_many", "many_a_many_a", 2),
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
    twin("transfer_in_argument_order", "loom_storage", "transfer_a_there_transfer_a_back", 2),
    twin("one_lock_for_all_keys", "loom_storage", "per_key_update_a_beside_update_b", 2),
];

/// The tests with real threads that have twins.
pub(crate) const THREADS_FILES: &[&str] = &[
    "perkey",
    "api",
    "memory",
    "growth",
    "foreign",
    "many",
    "model",
    "histories",
    "files",
    "killed",
    "storage",
    "conformance",
];
/// How they are built.
#[rustfmt::skip]
pub(crate) const THREADS_BUILD: &[&str] = &[
    "-p", "perkey", "--lib", "--test=api", "--test=api_guards", "--test=api_handles", "--test=api_observers", "--test=memory", "--test=growth", "--test=foreign", "--test=many", "--test=model", "--test=histories", "--test=files", "--test=files_opening", "--test=killed",
    "--test=storage_keys", "--test=storage_layers", "--test=storage_locks", "--test=storage_nested", "--test=storage_transfer",
    "--test=conformance",
];

/// The twins of tests with real threads or none, which the step "tests" runs as they are.
#[rustfmt::skip]
pub(crate) const THREADS: &[Twin] = &[
    schedule("node_kept", "memory", "memory_comes_back_by_ordinary_use_without_shrinking"),
    schedule("lag_ignored", "growth", "a_thread_that_is_stopped_while_pinned_costs_no_node_for_each_key_of_a_chain"),
    schedule("lag_ignored_by_shrinking", "growth", "a_thread_that_is_stopped_while_pinned_costs_no_node_for_each_key_of_a_chain"),
    schedule("shrinks_over_and_over", "growth", "a_thread_that_is_stopped_while_pinned_costs_no_array_for_each_time_a_table_is_told_to_shrink"),
    schedule("spares_without_end", "memory", "memory_comes_back_by_ordinary_use_without_shrinking"),
    schedule("spares_not_tidied", "memory", "a_free_node_goes_when_there_is_room_in_the_slots"),
    schedule("spares_kept", "growth", "nodes_that_were_left_free_do_not_keep_a_segment"),
    schedule("claim_lost_in_panic", "foreign", "a_panic_while_a_slot_is_rewritten_costs_no_slot"),
    schedule("pass_lost_in_panic", "foreign", "eq_may_panic_at_every_call"),
    schedule("many_not_deduplicated", "many", "every_key_is_held_once_however_often_it_is_asked_for"),
    schedule("many_chain_not_looked_at", "many", "who_holds_a_later_key_never_waits_and_who_holds_an_earlier_one_does"),
    schedule("born_without_owner", "model", "histories_agree_with_the_model_in_one_bucket"),
    schedule("old_key_forgotten", "memory", "a_dropped_table_drops_every_key_once_and_leaks_nothing"),
    schedule("release_of_the_unpromoted", "memory", "a_dropped_table_drops_every_key_once_and_leaks_nothing"),
    schedule("user_of_the_unpromoted", "api_handles", "a_handle_on_a_key_that_was_just_made"),
    schedule("shrink_forgets_keys", "memory", "shrink_to_fit_gives_an_idle_keys_memory_back"),
    schedule("latest_of_any_table", "api_guards", "what_is_taken_again_is_the_key_that_was_asked_for_in_the_table_that_was_asked"),
    schedule("latest_of_any_table", "api_guards", "a_key_that_is_held_for_good_does_not_outlive_its_table"),
    schedule("latest_not_forgotten", "api_guards", "what_was_released_is_not_taken_again_without_a_look"),
    schedule("idle_counted", "model", "histories_agree_with_the_model_in_one_bucket"),
    // histories that no order explains
    schedule("upgrade_of_the_dead", "histories", "histories_of_two_keys_in_slots_have_an_order"),
    schedule("idle_counted", "histories", "histories_of_two_keys_in_slots_have_an_order"),
    schedule("no_stamp", "histories", "histories_of_three_keys_of_one_hash_have_an_order"),
    schedule("owner_not_cleared", "histories", "histories_of_keys_in_the_chain_have_an_order"),
    // the layers of a storage
    schedule("prefix_not_checked_again", "storage_keys", "a_short_key_that_becomes_ambiguous_before_the_lock_is_an_error"),
    schedule("prefix_not_checked_again", "storage_keys", "trap_28_under_serializing_too"),
    schedule("prefix_not_made_whole", "storage_keys", "trap_28_aliases_of_one_key_lock_the_same_thing"),
    schedule("inner_page_applied_at_once", "storage_nested", "what_is_done_inside_shares_the_fate_of_the_operation_around"),
    schedule("tentative_taken_for_stored", "storage_nested", "what_is_saved_again_inside_lasts_without_the_operation_around"),
    schedule("outdated_not_struck_out", "storage_nested", "what_shares_some_keys_only_is_not_overwritten_by_the_operation_around"),
    schedule("outdated_not_struck_out", "storage_nested", "changes_to_the_same_key_come_in_their_order"),
    schedule("outer_left_first", "storage_layers", "the_outer_context_is_entered_first_and_left_last_for_reads_too"),
    schedule("outer_left_first", "storage_layers", "a_layer_that_cannot_be_entered_or_left_at_any_level"),
    schedule("clone_with_its_own_lock", "storage_locks", "trap_29_handles_of_one_store_share_their_locks"),
    schedule("key_without_lock", "storage_locks", "a_value_is_computed_once_by_sixteen_threads_per_key"),
    schedule("serializing_without_lock", "storage_locks", "a_value_is_computed_once_by_sixteen_threads_serializing"),
    schedule("key_without_lock", "storage_locks", "a_closure_that_fails_or_panics_lets_the_next_one_try"),
    schedule("reads_without_key_lock", "storage_locks", "per_key_lets_one_in_on_each_key_and_the_others_pass"),
    schedule("serializing_reads_without_lock", "storage_locks", "serializing_lets_one_in_whatever_it_does"),
    schedule("key_without_lock", "storage_locks", "no_update_is_lost"),
    schedule("many_unsorted", "storage_locks", "trap_33_operations_on_many_keys_lock_them_in_one_order"),
    schedule("many_keeps_on_failure", "storage_locks", "trap_34_trap_35_asking_for_many_keys_while_holding_one"),
    schedule("many_waits_holding_later", "storage_locks", "trap_34_trap_35_asking_for_many_keys_while_holding_one"),
    schedule("transfer_in_argument_order", "storage_transfer", "trap_36_both_directions_enter_the_stores_in_one_order"),
    schedule("prefix_not_checked_again", "conformance", "memory"),
    schedule("key_without_lock", "conformance", "layers"),
    schedule("serializing_reads_without_lock", "conformance", "layers"),
    // a store in files
    schedule("checksum_not_checked", "files", "every_byte_that_is_changed_is_noticed"),
    schedule("opened_without_lock", "files_opening", "what_another_handle_is_writing_is_not_a_leftover"),
    schedule("changes_not_taken_back", "files", "of_several_changes_none_stays_if_one_fails"),
    schedule("files_written_in_place", "killed", "files"),
    schedule("leftovers_kept", "killed", "files"),
    schedule("file_not_synced", "perkey", "storage::files::crash::a_saved_value_is_new_or_old"),
    schedule("places_not_synced", "perkey", "storage::files::crash::an_evicted_value_is_there_or_not"),
    schedule("folder_not_synced", "perkey", "storage::files::crash::a_folder_that_another_handle_has_made_lasts_before_what_is_saved_in_it"),
    schedule("found_not_settled", "perkey", "storage::files::crash::what_a_killed_process_has_put_in_place_lasts_before_it_is_found_there"),
    schedule("files_removed_first", "perkey", "storage::files::crash::a_renamed_value_is_at_one_place_at_least"),
];

/// The twins of the test of the ends of the counts, with real threads and small widths.
#[rustfmt::skip]
pub(crate) const WIDTHS: &[Twin] = &[
    schedule("depth_unchecked", "widths", "at_the_end_of_depth_lock_panics_and_try_lock_declines"),
    schedule("references_unchecked", "widths", "too_many_searches_at_once_are_refused_and_the_rest_go_on"),
    schedule("generations_unchecked", "widths", "at_the_end_of_generations_new_keys_are_refused_and_old_ones_go_on"),
];

/// The twins of the shuttle tests.
#[rustfmt::skip]
pub(crate) const SHUTTLE: &[Twin] = &[
    schedule("fair_ignored", "shuttle_lock", "unlock_fair_serves_in_the_order_of_arrival"),
    schedule("join_at_the_end", "shuttle_lock", "the_longest_waiter_is_served"),
    schedule("skips_without_end", "shuttle_lock", "a_release_hands_over_while_a_waiter_is_on_his_way"),
    schedule("vain_not_counted", "shuttle_lock", "the_longest_waiter_is_served"),
    schedule("time_not_counted", "shuttle_lock", "a_release_hands_over_when_time_has_passed"),
    schedule("wake_dropped", "shuttle_lock", "eight_tasks_count"),
    schedule("leave_without_looking", "shuttle_lock", "six_tasks_nest_two_locks"),
    schedule("leave_without_looking", "shuttle_lock", "time_outs_race_grants"),
    schedule("leave_without_looking", "shuttle_lock", "who_gives_up_passes_it_on"),
    schedule("ticket_left_behind", "shuttle_table", "time_outs_race_the_release"),
    schedule("retire_now", "shuttle_table", "overflow"),
    schedule("closed_chain_linked", "shuttle_table", "a_node_comes_too_late_for_a_drained_segment"),
    schedule("drained_while_alive", "shuttle_table", "keys_come_and_go_while_the_table_grows"),
    schedule("segment_freed_at_once", "shuttle_table", "keys_come_and_go_while_the_table_grows"),
    schedule("older_not_searched", "shuttle_table", "keys_come_and_go_while_the_table_grows"),
    schedule("claim_under_passers", "shuttle_table", "takeover_of_one_slot"),
    schedule("claim_in_use", "shuttle_table", "the_last_owner_frees_the_table"),
    schedule("upgrade_into_next_life", "shuttle_table", "weak_handles_know_their_life"),
    schedule("no_stamp", "shuttle_table", "constant_hash"),
    schedule("no_help", "shuttle_table", "eight_tasks_draw_their_programs"),
    schedule("no_help", "shuttle_table", "insertions_race"),
    schedule("stamp_not_seen_again", "shuttle_table", "four_tasks_draw_their_programs"),
    schedule("reference_before_wake", "shuttle_table", "a_release_does_not_reach_the_next_key"),
    schedule("no_second_search", "shuttle_replay", "executions_are_deterministic"),
    // histories that no order explains
    schedule("upgrade_of_the_dead", "shuttle_histories", "histories_of_keys_in_slots"),
    schedule("no_help", "shuttle_histories", "histories_of_keys_in_slots"),
    schedule("idle_counted", "shuttle_histories", "histories_of_keys_in_slots"),
    schedule("no_stamp", "shuttle_histories", "histories_of_keys_of_one_hash"),
    schedule("grant_ignored", "shuttle_histories", "histories_of_keys_of_one_hash"),
    schedule("timed_out_user_kept", "shuttle_histories", "histories_of_keys_of_one_hash"),
    schedule("owner_not_cleared", "shuttle_histories", "histories_of_keys_in_the_chain"),
    schedule("upgrade_into_next_life", "shuttle_histories", "histories_of_keys_in_the_chain"),
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
