//! What a round has measured.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Figures by the name of their metric, and curves.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) values: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) curves: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Sample {
    pub(crate) fn set(&mut self, metric: &str, value: f64) {
        self.values.insert(metric.to_string(), value);
    }

    /// The percentiles of waits in nanoseconds, and their curve: the quantile as `-log10(1 - q)`, which counts its nines.
    pub(crate) fn waits(&mut self, waits: &Histogram<u64>) {
        for (metric, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            self.set(metric, waits.value_at_quantile(quantile) as f64);
        }
        self.set("longest", waits.max() as f64 / 1e6);
        let curve = (0..=20).map(|step| {
            let nines = f64::from(step) / 5.0;
            let at = waits.value_at_quantile(1.0 - 10f64.powf(-nines));
            (nines, at as f64)
        });
        self.curves.insert("waits".to_string(), curve.collect());
    }
}

/// Up to ten minutes, within 1 %.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 2).expect("these bounds are valid")
}

pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) title: &'static str,
    pub(crate) less_is_better: bool,
    /// Peers are judged by it.
    pub(crate) counts: bool,
}

#[rustfmt::skip]
pub(crate) const METRICS: [Metric; 19] = [
    Metric { name: "ns", unit: "ns", title: "time per operation of a thread", less_is_better: true, counts: true },
    Metric { name: "mops", unit: "M/s", title: "throughput, all threads", less_is_better: false, counts: true },
    Metric { name: "allocs", unit: "", title: "allocations per operation", less_is_better: true, counts: false },
    Metric { name: "old", unit: "ns", title: "one of the alive keys", less_is_better: true, counts: true },
    Metric { name: "new", unit: "ns", title: "a new key", less_is_better: true, counts: true },
    Metric { name: "lock", unit: "ns", title: "to lock, per key", less_is_better: true, counts: true },
    Metric { name: "release", unit: "ns", title: "to release, per key", less_is_better: true, counts: true },
    Metric { name: "bytes", unit: "B", title: "heap per key held", less_is_better: true, counts: true },
    Metric { name: "left", unit: "KiB", title: "heap that is left afterwards", less_is_better: true, counts: false },
    Metric { name: "peak", unit: "KiB", title: "most heap on the way", less_is_better: true, counts: false },
    Metric { name: "longest_call", unit: "ms", title: "longest lock call on two threads", less_is_better: true, counts: false },
    Metric { name: "p50", unit: "ns", title: "p50 of a lock call", less_is_better: true, counts: false },
    Metric { name: "p99", unit: "ns", title: "p99 of a lock call", less_is_better: true, counts: false },
    Metric { name: "p99.9", unit: "ns", title: "p99.9 of a lock call", less_is_better: true, counts: true },
    Metric { name: "longest", unit: "ms", title: "longest lock call", less_is_better: true, counts: false },
    Metric { name: "least", unit: "", title: "share of the least served thread", less_is_better: false, counts: false },
    Metric { name: "most", unit: "", title: "share of the most served thread", less_is_better: true, counts: false },
    Metric { name: "wake", unit: "ms", title: "until the last had its key", less_is_better: true, counts: true },
    Metric { name: "cpu", unit: "ms", title: "processor time of that", less_is_better: true, counts: false },
];
