//! Selection of workers and of columns.

use mixlet_core::select::columns::*;
use mixlet_core::select::count::*;
use mixlet_core::select::null::*;
use mixlet_core::select::relevance::*;
use mixlet_core::select::stagewise::*;
use mixlet_core::select::tree::*;
use mixlet_core::select::*;

use crate::call;
use crate::unknown::any;

pub fn all() {
    workers();
    columns();
    stages();
}

fn workers() {
    call(|| mutual_information(any(), any()));
    call(|| Estimator::estimate(any(), any(), any(), any()));
    call(|| Pairs::new(any(), any()));
    call(|| Pairs::within_classes(any(), any(), any()));
    call(|| Pairs::answers(&any()));
    call(|| Pairs::classes(&any()));
    call(|| Pairs::class_masses(&any(), any()));
    call(|| Pairs::scratch_len(&any()));
    call(|| Pairs::for_each_partner(&any(), any(), any(), |partner, table| call(|| (partner, table.len()))));
    call(|| worker_information(&any(), any(), any(), any()));
    call(|| order_by_information(any(), any()));
    call(|| Residue::of_worker(&any(), any(), any(), any(), any()));
    call(|| Residue::mean_of_all(&any(), any()));
    call(|| Residue::mean_within(&any(), any()));
    call(|| candidate_counts(any()).for_each(|count| call(|| count)));
    call(|| standard_errors(any(), any()));
    call(|| choose([any(), any(), any()], any()));
    call(|| null_information(any(), any(), any()));
    call(|| chi_square_quantile(any(), any()));
    call(|| chi_square_level(any(), any()));
}

fn columns() {
    call(|| Indicators::new(any(), any()));
    call(|| Indicators::bits(&any()));
    call(|| Indicators::columns(&any()));
    call(|| Indicators::is_implied(&any()));
    call(|| Indicators::column(&any(), any()));
    call(|| Indicators::levels(&any(), any()));
    call(|| Indicators::most_levels(&any()));
    call(|| Indicators::width(&any(), any()));
    call(|| fill_indicators(any(), any(), any()));
    call(|| fill_indicators_of_bits(any(), any()));
    call(|| columns::transpose(any(), any()));
    call(|| Stripe::new(any(), any(), any()));
    call(|| Stripe::indicators(&any()));
    call(|| Stripe::columns(&any()));
    call(|| Stripe::from(&any()));
    call(|| Stripe::pairs_len(&any()));
    call(|| Stripe::sums_len(&any()));
    call(|| count_pairs(any(), any(), any()));
    call(|| weigh_scratch_len());
    call(|| weigh_pairs(any(), any(), any(), any()));
    call(|| add_margins(any(), any(), any()));
    call(|| information_scratch_len(any()));
    call(|| PairTables::new(any(), any(), any(), any()).is_ok());
    call(|| PairTables::mass(&any()));
    call(|| PairTables::table(&any(), any(), any(), any()));
    call(|| PairTables::information(&any(), any(), any(), any()));
}

fn stages() {
    call(|| split_scratch_len(any(), any()));
    call(|| split_directions(any(), any(), any(), any()));
    call(|| split_class(any(), any(), any(), any(), any()));
    call(|| floor_probabilities(any(), any(), any(), any()));
    call(|| relevance(any(), any()));
    let codes = || any::<&[u16]>().iter().map(|&code| (code > 0).then_some(code as usize));
    call(|| Evidence::of_column(codes(), any(), any(), any(), any()));
    call(|| Evidence::bic(&any(), any(), any()));
    call(|| level_of_each(any(), any()));
    call(|| TwoClasses::fill_log_odds(any(), any()));
    call(|| TwoClasses::second_of_bits(&any(), any(), any()));
    call(|| TwoClasses::second_of_codes(&any(), any(), any()));
    call(|| leaf_label_shares(any(), any(), any(), any(), any()));
    call(|| label_probabilities(any(), any(), any()));
}
