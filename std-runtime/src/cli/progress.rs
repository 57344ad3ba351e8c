//! A line on the terminal that says how far a long command is.
//!
//! It appears after two seconds, on standard error, and only if that is a terminal.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use mixlet_core::em::Round;

use crate::crowd::analysis;
use crate::mixture;
use crate::mixture::pairs::PairProgress;

use super::output::log;

/// How long a command may take in silence.
const SILENCE: Duration = Duration::from_secs(2);

/// The line, once there is one.
pub(super) struct Progress {
    start: Instant,
    is_terminal: bool,
    bar: Option<ProgressBar>,
    /// Since when columns are compared, until it is known how long that takes.
    comparing: Option<Instant>,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        Self { start: Instant::now(), is_terminal: io::stderr().is_terminal(), bar: None, comparing: None }
    }

    /// Bytes read of a file, of so many; 0 if unknown.
    pub fn bytes(&mut self, read: u64, total: u64) {
        self.show("Reading", read, total, || HumanBytes(read).to_string());
    }

    /// Bytes written, of so many.
    pub fn written(&mut self, done: u64, total: u64) {
        self.show("Writing", done, total, || format!("{} of {}", HumanBytes(done), HumanBytes(total)));
    }

    /// Tokens that were written in so many seconds, of at most so many.
    pub fn tokens(&mut self, done: u64, most: u64, seconds: f64) {
        let speed = done as f64 / seconds.max(1e-9);
        self.show("Writing", done, most, || format!("{} tokens, {speed:.1} a second", HumanCount(done)));
    }

    /// Runs of a language model done, of so many, and the tokens they read.
    pub fn evaluated(&mut self, done: u64, total: u64, tokens: u64) {
        let speed = tokens as f64 / self.start.elapsed().as_secs_f64().max(1e-3);
        self.show("Evaluating", done, total, || {
            format!("{} of {}, {speed:.0} tokens/s", HumanCount(done), HumanCount(total))
        });
    }

    /// The line for work on several threads.
    pub fn shared(self) -> SharedProgress {
        SharedProgress(Mutex::new(self))
    }

    /// Takes the line away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, stage: &'static str, done: u64, total: u64, message: impl FnOnce() -> String) {
        if !self.is_terminal || self.start.elapsed() < SILENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(total));
        if bar.prefix() != stage {
            // An unknown template shows a plain line instead: no reason to fail.
            let template = match total {
                0 => "{spinner} {prefix} {msg}",
                _ => "{spinner} {prefix} {bar:30} {msg}",
            };
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(stage);
        }
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(message());
    }
}

/// A command that fails leaves no line behind.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl analysis::Progress for Progress {
    fn round(&mut self, round: Round, most: u32) {
        self.show("Fitting", round.round.into(), most.into(), || {
            format!("round {}, objective {:.3}", HumanCount(round.round.into()), round.objective)
        });
    }

    fn candidate(&mut self, done: usize, all: usize) {
        self.show("Selecting", done as u64, all as u64, || format!("{done} of {all} selections tried"));
    }
}

/// The line, told by several threads.
pub(super) struct SharedProgress(Mutex<Progress>);

/// A comparison of columns that takes longer is announced.
const LONG: Duration = Duration::from_secs(10);

impl SharedProgress {
    /// Takes the line away.
    pub fn finish(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).finish();
    }
}

impl mixture::analysis::Progress for SharedProgress {
    fn round(&self, classes: usize, start: usize, round: Round) {
        // Who finds the line taken leaves it to the others.
        let Ok(mut progress) = self.0.try_lock() else { return };
        progress.show("Fitting", round.round.into(), 0, || {
            let [round_number, start] =
                [round.round, start as u32 + 1].map(|number| HumanCount(number.into()));
            format!(
                "{classes} classes, start {start}, round {round_number}, objective {:.3}",
                round.objective
            )
        });
    }

    fn pairs(&self, PairProgress { done, all, memory }: PairProgress) {
        let Ok(mut progress) = self.0.try_lock() else { return };
        match progress.comparing {
            _ if done == 0 => progress.comparing = Some(Instant::now()),
            Some(start) => {
                progress.comparing = None;
                let expected = start.elapsed().mul_f64(all as f64 / done as f64);
                if expected > LONG {
                    let (pairs, time, memory) =
                        (HumanCount(all), HumanDuration(expected), HumanBytes(memory));
                    log(
                        "note",
                        &format!("comparing {pairs} pairs of columns takes about {time} and {memory}"),
                    );
                }
            }
            None => {}
        }
        progress.show("Comparing", done, all, || {
            format!("{} of {} pairs of columns", HumanCount(done), HumanCount(all))
        });
    }
}
