//! What a person reads after an evaluation.

use super::Scores;
use crate::cli::output::Lines;
use crate::models::compare::Comparison;
use crate::models::eval::{ChoiceScores, MatchScores, Perplexity};
use crate::report::number::{count, decimal, percent, things};

/// The summary.
pub(super) fn lines(
    scores: &Scores,
    comparison: Option<&Comparison>,
    window: (usize, usize),
    tokens_per_second: f64,
) -> Lines {
    let mut lines = Lines::default();
    match scores {
        Scores::Perplexity(scores) => texts(&mut lines, scores, window),
        Scores::Choices(scores) => choices(&mut lines, scores),
        Scores::Matches(scores) => matches(&mut lines, scores),
    }
    if let Some(comparison) = comparison {
        compared(&mut lines, comparison);
    }
    lines.add("Speed", &format!("{} tokens/s", decimal(tokens_per_second, 0)));
    lines
}

fn texts(lines: &mut Lines, scores: &Perplexity, (window, stride): (usize, usize)) {
    let (texts, tokens) = (things(scores.texts, "text"), things(scores.tokens as usize, "token"));
    let bytes = things(scores.bytes as usize, "byte");
    lines.add("Texts", &format!("{texts}, {tokens} predicted ({bytes}), windows of {window} by {stride}"));
    let error = scores.perplexity_error.map(|error| format!(" ± {}", decimal(error, 3)));
    let (perplexity, error) = (decimal(scores.perplexity, 3), error.unwrap_or_default());
    let bits = decimal(scores.bits_per_byte, 4);
    lines.add("Perplexity", &format!("{perplexity}{error} a token, {bits} bits a byte"));
    lines.add("Likeliest", &format!("{} of the tokens", percent(scores.accuracy, 1)));
}

fn choices(lines: &mut Lines, scores: &ChoiceScores) {
    let questions = things(scores.questions, "question");
    lines
        .add("Questions", &format!("{questions} with choices; guessing gives {}", percent(scores.chance, 1)));
    lines.add("Accuracy", &share(scores.accuracy, scores.accuracy_error));
    let per_byte = share(scores.accuracy_per_byte, scores.accuracy_per_byte_error);
    lines.add("", &format!("{per_byte} with likelihoods over bytes"));
}

fn matches(lines: &mut Lines, scores: &MatchScores) {
    let questions = things(scores.questions, "question");
    lines.add("Questions", &format!("{questions}, answered in {} tokens", count(scores.new_tokens)));
    lines.add("Matches", &share(scores.exact_match, scores.exact_match_error));
}

fn compared(lines: &mut Lines, comparison: &Comparison) {
    let [original, change] = [decimal(comparison.original_perplexity, 3), percent(comparison.change, 2)];
    lines.add("Against", &format!("perplexity {original} of the other model, a change of {change}"));
    let (nats, same) = (decimal(comparison.divergence, 5), percent(comparison.same_best, 1));
    lines.add("", &format!("{nats} nats of divergence a token, {same} of the likeliest tokens the same"));
    if let Some(routing) = comparison.routing {
        let [equal, overlap] = [routing.equal, routing.overlap].map(|share| percent(share, 1));
        let choices = things(routing.choices as usize, "choice");
        lines.add("Routing", &format!("{equal} of {choices} the same, {overlap} of their experts"));
    }
}

/// A share with its error.
fn share(share: f64, error: Option<f64>) -> String {
    let error = error.map(|error| format!(" ± {}", percent(error, 1)));
    format!("{}{}", percent(share, 1), error.unwrap_or_default())
}
