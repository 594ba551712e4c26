//! Rounds in turn, each contender in a process of its own, none of which can hold up the run.

use super::case::Case;
use super::child::{Answer, Job};
use super::contender::facts;
use super::results::{Measured, Record};
use super::sample::Sample;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a contender is granted.
pub(crate) struct Limits {
    /// For the preparation and for each round.
    pub(crate) answer: Duration,
    /// For the whole run.
    pub(crate) end: Instant,
}

/// A contender at a case.
struct Player {
    process: Child,
    tell: ChildStdin,
    answers: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
}

impl Player {
    fn start(job: &Job) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .arg(serde_json::to_string(job)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (tell, out, err) = (
            process.stdin.take(),
            process.stdout.take(),
            process.stderr.take(),
        );
        let (Some(tell), Some(out), Some(mut err)) = (tell, out, err) else {
            unreachable!("all three are piped")
        };
        let (send, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let complaints = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Ok(Self {
            process,
            tell,
            answers,
            complaints: Some(complaints),
        })
    }

    /// The next answer; otherwise why there is none, and the player is out.
    fn answer(&mut self, limit: Duration) -> Result<Answer, String> {
        match self.answers.recv_timeout(limit) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Answer::Failed(why)) => Err(why),
                Ok(answer) => Ok(answer),
                Err(e) => Err(format!("said something strange: {e}")),
            },
            Err(RecvTimeoutError::Timeout) => Err(format!(
                "no end within {} s: it hangs, or takes far too long{}",
                limit.as_secs(),
                self.last_words()
            )),
            Err(RecvTimeoutError::Disconnected) => Err(format!("has ended{}", self.last_words())),
        }
    }

    fn round(&mut self, limit: Duration) -> Result<Sample, String> {
        // If it is not there any more, that is the answer.
        let _ = self.tell.write_all(b"\n").and_then(|()| self.tell.flush());
        match self.answer(limit)? {
            Answer::Sample(sample) => Ok(sample),
            _ => Err("said something out of turn".to_string()),
        }
    }

    /// Ends the process; what it has complained about.
    fn last_words(&mut self) -> String {
        self.end();
        let said = self.complaints.take().map(JoinHandle::join);
        let said = said.and_then(Result::ok).unwrap_or_default();
        let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        lines
            .next()
            .map_or(String::new(), |line| format!(": {line}"))
    }

    /// Ends the process, whatever it does.
    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.end();
    }
}

/// Plays one case with all who can. `wanted` picks contenders by name.
pub(crate) fn play(
    case: &Case,
    wanted: impl Fn(&str) -> bool,
    speed: f64,
    limits: &Limits,
) -> Result<Measured, Box<dyn Error>> {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut of = BTreeMap::new();
    let mut players = Vec::new();
    for (i, name) in case.contenders().into_iter().enumerate() {
        if !wanted(name) {
            continue;
        }
        let record: &mut Record = of.entry(name.to_string()).or_default();
        if let Some(why) = facts(name).and_then(|facts| case.unfit(facts)) {
            record.out = Some(why.to_string());
            continue;
        }
        let dir = scratch.path().join(i.to_string());
        std::fs::create_dir(&dir)?;
        let mut player = Player::start(&Job {
            contender: name.to_string(),
            case: case.clone(),
            speed,
            dir,
        })?;
        // One after the other, so that nobody is prepared while another one is being measured.
        match player.answer(within(limits)) {
            Ok(_) => players.push((name, player)),
            Err(why) => record.out = Some(format!("preparing: {why}")),
        }
    }
    for round in 0..case.rounds as usize {
        if Instant::now() >= limits.end {
            break;
        }
        let count = players.len().max(1);
        let mut gone = Vec::new();
        for i in 0..players.len() {
            let (name, player) = &mut players[(i + round) % count];
            let record: &mut Record = of.entry((*name).to_string()).or_default();
            record.rounds.resize(round, None);
            match player.round(within(limits)) {
                Ok(sample) => record.rounds.push(Some(sample)),
                Err(why) => {
                    player.end();
                    record.rounds.push(None);
                    record.out = Some(format!("round {}: {why}", round + 1));
                    gone.push(*name);
                }
            }
        }
        players.retain(|(name, _)| !gone.contains(name));
    }
    Ok(Measured {
        case: case.clone(),
        of,
    })
}

/// Until then there has to be an answer.
fn within(limits: &Limits) -> Duration {
    let left = limits.end.saturating_duration_since(Instant::now());
    limits.answer.min(left.max(Duration::from_secs(2)))
}
