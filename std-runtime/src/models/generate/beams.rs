//! Beam search: the texts with the largest sums of logarithms are pursued, of each input as many.
//!
//! As in transformers: twice as many continuations as beams are looked at, those of the better half that end are kept with
//! their sum over a power of their length, and the search is over where no beam can still beat the worst text kept.

use super::{Finish, Generated, Listen, Writer};
use crate::error::Result;
use crate::models::forward::Watch;

/// The beams of one input.
struct Search {
    /// Sums of logarithms, the largest first.
    sums: Vec<f64>,
    /// Texts that have ended, the best first.
    ended: Vec<(f64, Vec<u32>)>,
    over: bool,
}

/// A beam and the token that continues it.
#[derive(Clone, Copy)]
struct Next {
    sum: f64,
    beam: usize,
    id: u32,
}

impl Writer<'_, '_> {
    pub(super) fn beams(mut self, watch: &mut impl Watch, listen: &mut impl Listen) -> Result<Generated> {
        let (beams, vocab) = (self.how.beams, self.model.config.vocab);
        let inputs = self.sequences.len();
        self.repeat(beams)?;
        // At first all beams of an input are the same: one of them counts.
        let first = || (0..beams).map(|nth| if nth == 0 { 0.0 } else { f64::NEG_INFINITY }).collect();
        let mut searches: Vec<Search> =
            (0..inputs).map(|_| Search { sums: first(), ended: Vec::new(), over: false }).collect();
        for step in 1..=self.how.max_new_tokens {
            self.next_logits(watch)?;
            let is_last = step == self.how.max_new_tokens;
            let mut from = Vec::with_capacity(inputs * beams);
            let mut sequences = Vec::with_capacity(inputs * beams);
            for (nth, search) in searches.iter_mut().enumerate() {
                let logits = &self.logits[nth * beams * vocab..][..beams * vocab];
                let texts = &self.sequences[nth * beams..][..beams];
                let ends = |id: u32| is_last || self.is_end(id);
                let power = (step as f64).powf(self.how.length_penalty);
                for Next { beam, id, .. } in search.advance(logits, texts, ends, power) {
                    from.push(nth * beams + beam);
                    sequences.push([&texts[beam][..], &[id]].concat());
                }
            }
            self.sequences = sequences;
            listen.step(step);
            if is_last || searches.iter().all(|search| search.over) {
                break;
            }
            self.session.reorder(&from)?;
        }
        let best = searches.into_iter().filter_map(|search| search.ended.into_iter().next());
        let (scores, sequences): (Vec<f64>, Vec<Vec<u32>>) = best.unzip();
        let is_ended = |ids: &Vec<u32>| ids.last().is_some_and(|id| self.is_end(*id));
        let finish = |ids| if is_ended(ids) { Finish::End } else { Finish::Length };
        let finishes = sequences.iter().map(finish).collect();
        Ok(Generated { sequences, prompt: self.prompt, finishes, scores })
    }
}

impl Search {
    /// The beams to go on with, after those that end have been put aside. `power` is that of the new length.
    fn advance(
        &mut self,
        logits: &[f32],
        texts: &[Vec<u32>],
        ends: impl Fn(u32) -> bool,
        power: f64,
    ) -> Vec<Next> {
        let beams = texts.len();
        let best = self.best(logits, 2 * beams);
        let ending = best.iter().take(beams).filter(|next| ends(next.id) && !self.over);
        for next in ending {
            let text = [&texts[next.beam][..], &[next.id]].concat();
            let place = self.ended.partition_point(|(score, _)| *score >= next.sum / power);
            self.ended.insert(place, (next.sum / power, text));
        }
        self.ended.truncate(beams);
        let mut going: Vec<Next> = best.iter().filter(|next| !ends(next.id)).take(beams).copied().collect();
        // Where all end, any will do: nothing follows.
        going.extend(best.iter().take(beams - going.len()));
        self.sums = going.iter().map(|next| next.sum).collect();
        let worst = self.ended.get(beams - 1).map(|(score, _)| *score);
        self.over |= worst.is_some_and(|worst| self.sums[0] / power <= worst);
        going
    }

    /// The best continuations of all beams, the best first; the lower beam and id of equals.
    fn best(&self, logits: &[f32], count: usize) -> Vec<Next> {
        let vocab = logits.len() / self.sums.len().max(1);
        let mut all: Vec<Next> = Vec::with_capacity(logits.len());
        for (beam, (sum, logits)) in self.sums.iter().zip(logits.chunks_exact(vocab.max(1))).enumerate() {
            let log_sum = log_sum_exp(logits);
            let next = |(id, logit): (u32, &f32)| Next { sum: sum + f64::from(*logit) - log_sum, beam, id };
            all.extend((0..).zip(logits).map(next));
        }
        let count = count.min(all.len());
        let larger_first =
            |a: &Next, b: &Next| b.sum.total_cmp(&a.sum).then((a.beam, a.id).cmp(&(b.beam, b.id)));
        if count < all.len() {
            all.select_nth_unstable_by(count, larger_first);
            all.truncate(count);
        }
        all.sort_unstable_by(larger_first);
        all
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, logit| largest.max(*logit));
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}
