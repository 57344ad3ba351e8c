//! EM with all columns, or with those that the others tell most about.

use mixlet_core::em::{ActiveColumns, Round};
use mixlet_core::select::null::null_information;
use mixlet_core::select::{Estimator, order_by_information};

use super::{Found, MethodOptions};
use crate::error::{Error, MixtureProblem, Result};
use crate::mixture::fit::{self, Start, Task};
use crate::mixture::model::mask;
use crate::mixture::pairs::{ColumnPairs, PairProgress};
use crate::mixture::{RowsView, Select};

/// A column that is independent of all others is selected once in a hundred data sets.
const CHANCE: f64 = 0.01;

/// Fits so many classes by the selected columns.
pub(super) fn find(
    task: Task<'_>,
    classes: usize,
    options: MethodOptions<'_>,
    observe: &(dyn Fn(usize, Round) + Sync),
) -> Result<Found> {
    let selected = options.selected.map(<[u32]>::to_vec);
    let words = selected.as_ref().map(|selected| mask(selected, task.rows.columns()));
    let active = ActiveColumns { mask: words.as_deref(), partial: false };
    let mut fit = fit::fit(Task { active, ..task }, classes, options.fit, observe)?;
    if matches!(options.fit.start, Start::Random) {
        fit.parameters.sort_classes();
    }
    Ok(Found { is_fitted_by_selected: selected.is_some(), selected, ..Found::of(fit) })
}

/// The columns that all others tell most about, best first; none: all columns.
pub(super) fn select(
    rows: RowsView<'_>,
    weights: Option<&[f64]>,
    select: Select,
    observe: &mut dyn FnMut(PairProgress),
) -> Result<Option<Vec<u32>>> {
    if select == Select::All {
        return Ok(None);
    }
    let pairs = ColumnPairs::new(rows)?;
    let information = pairs.information_observed(&pairs.whole(weights)?, Estimator::Plain, observe)?;
    let mut order = vec![0; rows.columns()];
    order_by_information(&information, &mut order);
    let count = match select {
        Select::First(asked) if asked > rows.columns() => {
            return Err(Error::Mixture(MixtureProblem::Select { asked, columns: rows.columns() }));
        }
        Select::First(count) => count,
        _ => {
            let freedom = |column: usize| rows.levels(column).saturating_sub(1) as f64;
            let all: f64 = (0..rows.columns()).map(freedom).sum();
            let mass = weights.map_or(rows.rows() as f64, |weights| weights.iter().sum());
            let level = 1.0 - CHANCE / rows.columns() as f64;
            let tells = |&&column: &&u32| {
                let own = freedom(column as usize);
                information[column as usize] > null_information(level, own * (all - own), mass)
            };
            order.iter().take_while(tells).count()
        }
    };
    if count == 0 {
        return Err(Error::Mixture(MixtureProblem::NothingDepends { columns: rows.columns() }));
    }
    order.truncate(count);
    Ok(Some(order))
}
