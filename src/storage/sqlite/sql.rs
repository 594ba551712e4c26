//! What is said to SQLite. The statements are kept prepared with each connection.

/// Values and keys apart: the index over the keys is all that a listing reads. The sum is before the value: to read it does not read that.
pub(super) const SCHEMA: &str = "CREATE TABLE perkey (
    key BLOB PRIMARY KEY NOT NULL CHECK (length(key) = 32),
    sum BLOB NOT NULL,
    value BLOB NOT NULL
) STRICT";

pub(super) const IS_EMPTY: &str = "SELECT count(*) = 0 FROM sqlite_schema";

pub(super) const KEYS: &str = "SELECT key FROM perkey WHERE key >= ?1 AND key <= ?2 ORDER BY key";

pub(super) const SUM: &str = "SELECT sum FROM perkey WHERE key = ?1";

pub(super) const VALUE: &str = "SELECT sum, value FROM perkey WHERE key = ?1";

pub(super) const PUT: &str = "INSERT INTO perkey (key, sum, value) VALUES (?1, ?2, ?3)
    ON CONFLICT (key) DO UPDATE SET sum = excluded.sum, value = excluded.value";

pub(super) const REMOVE: &str = "DELETE FROM perkey WHERE key = ?1";

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// How SQLite is going to do it, in its words.
    fn plan(statement: &str) -> String {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let mut explain = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
            .unwrap();
        let any = vec![[0; 32]; explain.parameter_count()];
        let mut rows = explain.query(rusqlite::params_from_iter(any)).unwrap();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get::<_, String>("detail").unwrap());
        }
        plan.join("; ")
    }

    #[test]
    fn keys_are_looked_up_and_never_sorted_or_scanned() {
        let index = "INDEX sqlite_autoindex_perkey_1";
        let of_one = format!("SEARCH perkey USING {index} (key=?)");
        let of_range = format!("SEARCH perkey USING COVERING {index} (key>? AND key<?)");
        assert_eq!(plan(KEYS), of_range);
        for statement in [SUM, VALUE, REMOVE] {
            assert_eq!(plan(statement), of_one, "{statement}");
        }
        assert_eq!(plan(PUT), "");
    }
}
