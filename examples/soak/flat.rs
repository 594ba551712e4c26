//! Is memory flat?

use crate::memory::mib;
use crate::watch::Sample;

/// Fewer looks than this say nothing.
const ENOUGH: usize = 12;

/// Compares the largest value in the second quarter of the run with the largest in the last one: what grows with use, however slowly, grows in
/// between. The first quarter is left out, as tables and threads take what they need then. `Ok` has what to say of it, `Err` too.
pub(crate) fn flat(
    what: &str,
    samples: &[Sample],
    of: impl Fn(&Sample) -> Option<u64>,
    slack: u64,
) -> Result<String, String> {
    let values: Vec<u64> = samples.iter().filter_map(of).collect();
    if values.len() < ENOUGH {
        return Ok(format!("{what}: too few looks to tell whether it is flat"));
    }
    let quarter = values.len() / 4;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let early = most(&values[quarter..2 * quarter]);
    let late = most(&values[values.len() - quarter..]);
    let text = format!(
        "{what}: at most {} in the second quarter of the run, {} in the last",
        mib(early),
        mib(late)
    );
    if late > early + early / 10 + slack {
        Err(format!("I8, {text}"))
    } else {
        Ok(text)
    }
}
