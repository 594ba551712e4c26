//! What was measured, as markdown.

use super::case::{Workload, STORES, WORKLOADS};
use super::charts::CHARTS;
use super::contender::{facts, Kind, ALL, FLOOR, OURS};
use super::notes;
use super::results::{lead, verdict, Measured, Record, Results, Spread, Verdict};
use super::sample::{Metric, METRICS};
use super::store::PER_KEY;
use std::collections::BTreeMap;
use std::fmt::Write;

pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from(
        "# Side by side\n\nWritten by `cargo bench --bench compare`; not to be edited.\n\n",
    );
    runs(&mut text, results);
    text.push_str("## What is fair, and what is not\n\n");
    text.push_str(&notes::fairness());
    summary(&mut text, results);
    behind(&mut text, results);
    charts(&mut text);
    for workload in WORKLOADS.iter().chain(&STORES) {
        of_workload(&mut text, workload, results);
    }
    left_out(&mut text, results);
    text
}

fn runs(text: &mut String, results: &Results) {
    for run in &results.runs {
        let _ = writeln!(
            text,
            "- {}run of {} min {} s on {} processors, {}",
            if run.quick { "**quick** " } else { "" },
            run.seconds / 60,
            run.seconds % 60,
            run.cpus,
            date(run.at),
        );
    }
    text.push_str("\nMedians over all rounds, `(min – max)` behind them. A ratio is the median of the ratios within a round. The machine is shared: only ratios mean something.\n\n");
}

/// The day of a time (civil calendar, UTC).
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

/// Whom the others are compared with.
fn ours(measured: &Measured) -> Option<(&str, &Record)> {
    let is_ours = |name: &str| name == OURS || PER_KEY.contains(&name);
    let mut all = measured.of.iter();
    all.find(|(name, _)| is_ours(name))
        .map(|(name, record)| (&**name, record))
}

/// Whoever may be ahead. Of stores, all others.
fn is_peer(name: &str) -> bool {
    facts(name).map_or(!PER_KEY.contains(&name), |f| f.kind == Kind::Peer)
}

/// The peer that is furthest ahead, or least behind.
fn best_peer<'a>(measured: &'a Measured, metric: &Metric) -> Option<(&'a str, f64)> {
    let (_, ours) = ours(measured)?;
    let leads = measured.of.iter().filter(|(name, _)| is_peer(name));
    let leads = leads.filter_map(|(name, record)| Some((&**name, lead(record, ours, metric)?)));
    leads.max_by(|a, b| a.1.total_cmp(&b.1))
}

fn summary(text: &mut String, results: &Results) {
    text.push_str("\n## In short\n\nThis table against the best peer of each case. *Ahead by* 2.00 means half the time, or twice the throughput.\n\n");
    text.push_str("| case | figure | perkey | best peer | ahead by | | the floor ahead by |\n|---|---|---|---|---|---|---|\n");
    for measured in &results.cases {
        for metric in METRICS.iter().filter(|m| m.counts) {
            let Some((_, ours)) = ours(measured) else {
                continue;
            };
            let (Some(value), Some((peer, lead_of_peer))) =
                (ours.spread(metric.name), best_peer(measured, metric))
            else {
                continue;
            };
            let floor = measured.of.get(FLOOR).and_then(|f| lead(f, ours, metric));
            let _ = writeln!(
                text,
                "| {} | {} | {} {} | {peer} | {:.2} | {} | {} |",
                measured.case.id,
                metric.title,
                number(value.median),
                metric.unit,
                1.0 / lead_of_peer,
                match verdict(1.0 / lead_of_peer) {
                    Verdict::Ahead => "ahead",
                    Verdict::Tie => "tie",
                    Verdict::Behind => "**behind**",
                },
                floor.map_or(String::new(), |f| format!("{f:.2}")),
            );
        }
    }
}

/// Where a peer is ahead, and why: cases by their reason.
fn behind(text: &mut String, results: &Results) {
    text.push_str("\n## Where a peer is ahead, and why (read from the code, and profiled where it says so)\n\n");
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for measured in &results.cases {
        for metric in METRICS.iter().filter(|m| m.counts) {
            for (why, who) in ahead(measured, metric) {
                let line = format!(
                    "`{}`, {}: {}",
                    measured.case.id,
                    metric.title,
                    who.join(", ")
                );
                match reasons.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, lines)) => lines.push(line),
                    None => reasons.push((why, vec![line])),
                }
            }
        }
    }
    if reasons.is_empty() {
        text.push_str("Nowhere.\n");
    }
    for (why, lines) in reasons {
        let _ = writeln!(text, "{why}\n");
        for line in lines {
            let _ = writeln!(text, "- {line}");
        }
        text.push('\n');
    }
}

/// The peers that are ahead of ours and by how much, by the reason.
fn ahead(measured: &Measured, metric: &Metric) -> BTreeMap<&'static str, Vec<String>> {
    let mut by_reason = BTreeMap::<_, Vec<_>>::new();
    let Some((_, ours)) = ours(measured) else {
        return by_reason;
    };
    for (name, record) in measured.of.iter().filter(|(name, _)| is_peer(name)) {
        if let Some(lead) = lead(record, ours, metric).filter(|l| verdict(*l) == Verdict::Ahead) {
            let why = notes::reason(&measured.case.id, name);
            let who = format!("{name} by {lead:.2}");
            by_reason.entry(why).or_default().push(who);
        }
    }
    by_reason
}

fn charts(text: &mut String) {
    text.push_str("\n## Charts\n\n");
    for (file, title) in CHARTS {
        let _ = writeln!(text, "![{title}](charts/{file})\n");
    }
}

fn of_workload(text: &mut String, workload: &Workload, results: &Results) {
    let cases = results
        .cases
        .iter()
        .filter(|m| m.case.workload() == workload.name);
    let cases: Vec<_> = cases.collect();
    if cases.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## {}\n\n{}", workload.title, workload.text);
    for metric in &METRICS {
        let has = |m: &&&Measured| m.of.values().any(|r| r.spread(metric.name).is_some());
        let shown: Vec<_> = cases.iter().filter(has).copied().collect();
        if !shown.is_empty() {
            table(text, metric, &shown);
        }
    }
}

/// A row for each contender, a column for each case.
fn table(text: &mut String, metric: &Metric, cases: &[&Measured]) {
    let unit = if metric.unit.is_empty() {
        String::new()
    } else {
        format!(" ({})", metric.unit)
    };
    let better = if metric.less_is_better {
        "less"
    } else {
        "more"
    };
    let mut names: Vec<_> = ALL.iter().map(|f| f.name.to_string()).collect();
    for name in cases.iter().flat_map(|m| m.case.contenders()) {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_string());
        }
    }
    let _ = write!(
        text,
        "\n**{}**{unit}, {better} is better; × is what it takes of ours\n\n| |",
        metric.title
    );
    for measured in cases {
        let _ = write!(text, " {} |", measured.case.title);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(cases.len()));
    for name in names {
        let cells: Vec<_> = cases.iter().map(|m| cell(m, &name, metric)).collect();
        if cells.iter().any(|c| !c.is_empty()) {
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
    }
}

/// The figure, and its ratio to ours: bold if a peer is ahead.
fn cell(measured: &Measured, name: &str, metric: &Metric) -> String {
    let Some(record) = measured.of.get(name) else {
        return String::new();
    };
    let Some(Spread {
        median,
        least,
        most,
    }) = record.spread(metric.name)
    else {
        return record
            .out
            .as_ref()
            .map_or(String::new(), |_| "–".to_string());
    };
    let mut cell = format!("{} ({} – {})", number(median), number(least), number(most));
    let Some((our_name, ours)) = ours(measured) else {
        return cell;
    };
    if let Some(lead) = lead(record, ours, metric).filter(|l| name != our_name && l.is_finite()) {
        let ratio = if metric.less_is_better {
            1.0 / lead
        } else {
            lead
        };
        let ahead = is_peer(name) && verdict(lead) == Verdict::Ahead;
        let mark = if ahead { "**" } else { "" };
        if ratio.is_finite() {
            let _ = write!(cell, " {mark}{ratio:.2}×{mark}");
        }
    }
    cell
}

/// Three digits or so.
fn number(x: f64) -> String {
    match x.abs() {
        a if a >= 1e7 => format!("{:.1}M", x / 1e6),
        a if a >= 1e4 => format!("{:.0}k", x / 1e3),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        0.0 => "0".to_string(),
        a if a < 0.1 => format!("{x:.4}"),
        _ => format!("{x:.2}"),
    }
}

fn left_out(text: &mut String, results: &Results) {
    text.push_str("\n## Left out\n\n");
    for measured in &results.cases {
        for (name, record) in &measured.of {
            if let Some(why) = &record.out {
                let _ = writeln!(text, "- {name} of `{}`: {why}", measured.case.id);
            }
        }
    }
}
