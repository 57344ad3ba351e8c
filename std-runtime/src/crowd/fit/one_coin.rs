//! One-coin fits: plain and with a pooled accuracy.

use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::one_coin::{OneCoin, OneCoinSettings, one_coin_parameters_len};
use mixlet_core::em::pooled::pooled_strength;
use mixlet_core::em::{FitSettings, LatentClassModel, Round};

use super::dawid_skene::{PILOT_ROUNDS, cavity_counts};
use super::starts::Initial;
use super::{Collapse, CrowdFit, Method, PooledPrior, Pseudocount, Task, collapse};
use crate::error::Result;
use crate::threads::{self, Shards};

pub(super) fn fit(task: Task<'_>, initial: &Initial<'_>, observe: &mut dyn FnMut(Round)) -> Result<CrowdFit> {
    let plain = OneCoinSettings { uniform_shares: task.options.uniform_shares, ..Default::default() };
    let (settings, pooled) = match task.options.pseudocount {
        Pseudocount::Constant(pseudocount) => (
            OneCoinSettings { right_pseudocount: pseudocount, wrong_pseudocount: pseudocount, ..plain },
            None,
        ),
        Pseudocount::Pooled if !task.has_shared_tasks() => (plain, None),
        Pseudocount::Pooled => {
            let (accuracy, strength) = pool(task, initial, plain)?;
            let (right_pseudocount, wrong_pseudocount) = (strength * accuracy, strength * (1.0 - accuracy));
            let confusion = conditionals(task.answers.labels(), &[accuracy]);
            let pooled = PooledPrior { confusion, strength };
            (OneCoinSettings { right_pseudocount, wrong_pseudocount, ..plain }, Some(pooled))
        }
    };
    let mut fitted = run(task, initial, settings, task.options.settings, observe)?;
    fitted.pooled = pooled;
    fitted.collapse = collapse::emptied_class(task.answers, &fitted.posteriors)
        .map(|(class, by_vote, by_fit)| Collapse::Emptied { class, by_vote, by_fit });
    Ok(fitted)
}

fn run(
    task: Task<'_>,
    initial: &Initial<'_>,
    settings: OneCoinSettings,
    ending: FitSettings,
    observe: &mut dyn FnMut(Round),
) -> Result<CrowdFit> {
    let mut parameters = vec![0.0; one_coin_parameters_len(task.answers)];
    let mut model = OneCoin::new(task.answers, settings, task.facts, &mut parameters)?;
    let mut statistics = vec![0.0; model.shape().statistics];
    let mut shards = Shards::new(task.answers, model.shape());
    shards.start(&mut model, &mut statistics, |rows, out| initial.fill(rows, out))?;
    let mut rounds = Vec::new();
    let fit = shards.fit(&mut model, ending, &mut statistics, |round| {
        rounds.push(round);
        observe(round);
    })?;
    Ok(CrowdFit {
        method: Method::OneCoin,
        posteriors: threads::posteriors(&model)?,
        class_shares: model.log_shares().iter().map(|share| share.exp()).collect(),
        conditionals: conditionals(task.answers.labels(), model.accuracies()),
        rounds,
        stop: fit.stop,
        tolerance: ending.tolerance,
        pooled: None,
        collapse: None,
    })
}

/// The confusion matrices that accuracies stand for: `[workers · labels, labels]`.
pub(super) fn conditionals(labels: usize, accuracies: &[f64]) -> Vec<f64> {
    let others = (labels.max(2) - 1) as f64;
    let table = |&accuracy: &f64| {
        (0..labels * labels).map(move |nth| match nth % (labels + 1) {
            0 => accuracy,
            _ => (1.0 - accuracy) / others,
        })
    };
    accuracies.iter().flat_map(table).collect()
}

/// The crowd's accuracy and how many answers it is worth, from the cavity counts of a plain fit.
fn pool(task: Task<'_>, initial: &Initial<'_>, settings: OneCoinSettings) -> Result<(f64, f64)> {
    let (answers, labels) = (task.answers, task.answers.labels());
    let ending =
        FitSettings { rounds: PILOT_ROUNDS.min(task.options.settings.rounds), ..task.options.settings };
    let pilot = run(task, initial, settings, ending, &mut |_| ())?;
    // The same model as confusion matrices, which can leave a worker's own answers out.
    let shape = DawidSkeneShape::of(answers);
    let mut memory = vec![0.0; shape.parameters_len()];
    let mut model = DawidSkene::new(answers, labels, task.facts, Prior::default(), &mut memory)?;
    model.set_probabilities(&pilot.class_shares, &pilot.conditionals)?;
    let mut statistics = vec![0.0; shape.parameters_len()];
    cavity_counts(&model, &mut Shards::new(answers, model.shape()), &mut statistics)?;
    // Right and wrong answers per worker, as a crowd of two labels and one class.
    let mut coins = vec![0.0];
    for table in statistics[labels..].chunks_exact(labels * labels) {
        let right: f64 = table.iter().step_by(labels + 1).sum();
        coins.extend([right, table.iter().sum::<f64>() - right]);
    }
    let shape = DawidSkeneShape { workers: answers.workers(), labels: 2, classes: 1 };
    // As many more answers as there are labels, of somebody half-way between guessing and knowing.
    let (right, all) =
        coins[1..].chunks_exact(2).fold((0.5 * (labels as f64 + 1.0), labels as f64), |sum, coin| {
            (sum.0 + coin[0], sum.1 + coin[0] + coin[1])
        });
    let accuracy = right / all;
    Ok((accuracy, pooled_strength(shape, &coins, &[accuracy, 1.0 - accuracy])))
}
