//! Fits: every model through the engine, starts, what is between.

use mixlet_core::em::bernoulli::*;
use mixlet_core::em::categorical::*;
use mixlet_core::em::dawid_skene::*;
use mixlet_core::em::one_coin::*;
use mixlet_core::em::pooled::*;
use mixlet_core::em::stepwise::*;
use mixlet_core::em::*;

use crate::call;
use crate::unknown::{Random, Unknown, any, checked};

pub fn all() {
    engine();
    model::<DawidSkene<'_>>();
    model::<OneCoin<'_>>();
    model::<Bernoulli<'_, f32>>();
    model::<Bernoulli<'_, f64>>();
    model::<Categorical<'_>>();
    two_classes();
    dawid_skene();
    one_coin();
    bernoulli::<f32>();
    bernoulli::<f64>();
    stream();
    categorical();
    starts();
    figures();
}

fn engine() {
    call(|| ModelShape::by_blocks(any(), any(), any()));
    call(|| ModelShape::sweep_scratch_len(&any()));
    call(|| most_likely_class(any()));
    call(|| RowFacts::check(&any(), any(), any()));
    call(|| ActiveColumns::contains(&any(), any()));
    call(|| ActiveColumns::maximizes(&any(), any()));
    call(|| StepSize::of_single_rows());
    call(|| StepSize::of_step(&any(), any()));
    call(|| StepSize::check(&any()));
    call(|| step_scratch_len(any()));
}

fn model<M: LatentClassModel + Unknown>() {
    call(|| LatentClassModel::shape(&any::<M>()));
    call(|| LatentClassModel::expectation(&any::<M>(), any(), any()));
    call(|| LatentClassModel::accumulate(&any::<M>(), any(), any(), any()));
    call(|| LatentClassModel::sweep(&any::<M>(), any(), any(), any()));
    call(|| LatentClassModel::maximize(&mut any::<M>(), any()));
    call(|| LatentClassModel::log_prior(&any::<M>()));
    call(|| LatentClassModel::constant(&any::<M>()));
    engine_of(any::<M>);
}

fn engine_of<M: LatentClassModel>(made: impl Fn() -> M) {
    call(|| sweep(&made(), any(), any(), any()));
    call(|| fit(&mut made(), any(), any(), any()));
    call(|| fit_with(&mut made(), any(), any(), |_, _| Ok(any()), |_| ()));
    call(|| stepwise::step(&mut made(), any(), any(), any(), any()));
    call(|| start::from_responsibilities(&mut made(), any(), any()));
}

fn two_classes() {
    call(|| two_classes_len(any()));
    call(|| TwoClasses::new(&mut any(), any()).is_ok());
    call(|| LatentClassModel::shape(&checked(TwoClasses::new(&mut any(), any()))));
    call(|| LatentClassModel::expectation(&checked(TwoClasses::new(&mut any(), any())), any(), any()));
    call(|| LatentClassModel::accumulate(&checked(TwoClasses::new(&mut any(), any())), any(), any(), any()));
    call(|| LatentClassModel::maximize(&mut checked(TwoClasses::new(&mut any(), any())), any()));
    call(|| LatentClassModel::log_prior(&checked(TwoClasses::new(&mut any(), any()))));
    call(|| LatentClassModel::constant(&checked(TwoClasses::new(&mut any(), any()))));
    call(|| sweep(&checked(TwoClasses::new(&mut any(), any())), any(), any(), any()));
    call(|| fit(&mut checked(TwoClasses::new(&mut any(), any())), any(), any(), any()));
}

fn dawid_skene() {
    call(|| DawidSkeneShape::of(any()));
    call(|| DawidSkeneShape::table_len(&any()));
    call(|| DawidSkeneShape::parameters_len(&any()));
    call(|| DawidSkene::new(any(), any(), any(), any(), any()).is_ok());
    call(|| DawidSkene::answers(&any()));
    call(|| DawidSkene::log_table(&any()).len());
    call(|| DawidSkene::log_shares(&any()).len());
    call(|| DawidSkene::facts(&any()));
    call(|| DawidSkene::set_probabilities(&mut any(), any(), any()));
    call(|| DawidSkene::probabilities(&any(), any(), any(), any()));
    call(|| DawidSkene::reciprocals(&any(), any()));
    call(|| DawidSkene::accumulate_cavity(&any(), any(), any(), any(), any(), any()));
    call(|| pooled_confusion(any(), any(), any()));
    call(|| pooled_strength(any(), any(), any()));
}

fn one_coin() {
    call(|| one_coin_parameters_len(any()));
    call(|| OneCoin::new(any(), any(), any(), any()).is_ok());
    call(|| OneCoin::accuracies(&any()).len());
    call(|| OneCoin::log_shares(&any()).len());
}

fn bernoulli<T: Lane>() {
    call(|| <T as Lane>::from_f64(any()));
    call(|| <T as Lane>::to_f64(<T as Lane>::from_f64(any())));
    call(|| BernoulliShape::of(any(), any()));
    call(|| BernoulliShape::parameters_len(&any()));
    call(|| BernoulliShape::free_parameters(&any()));
    call(|| BernoulliShape::statistics_len(&any()));
    call(|| BernoulliShape::tables_len(&any()));
    call(|| Bernoulli::<T>::new(any(), any(), any(), any(), any(), any()).is_ok());
    call(|| Bernoulli::<T>::bernoulli_shape(&any()));
    call(|| Bernoulli::<T>::rows(&any()));
    call(|| Bernoulli::<T>::shares(&any()).len());
    call(|| Bernoulli::<T>::probabilities(&any()).len());
    call(|| Bernoulli::<T>::set_probabilities(&mut any(), any(), any()));
    call(|| Bernoulli::<T>::set_random(&mut any(), &mut Random));
    call(|| Bernoulli::<T>::set_active(&mut any(), any()));
    call(|| Bernoulli::<T>::set_rows(&mut any(), any(), any()));
    call(|| Bernoulli::<T>::set_absent(&mut any(), any()));
}

fn stream() {
    call(|| AbsentColumns::count(any()));
    call(|| AbsentColumns::few(any()));
    call(|| AbsentColumns::list(any(), any(), any()).is_ok());
    call(|| stream_state_len(any()));
    call(|| stream_scratch_len(any()));
    call(|| BernoulliStream::new(any(), any(), any(), any(), any()).is_ok());
    call(|| BernoulliStream::step(&mut any(), any(), any(), any()));
    call(|| BernoulliStream::expectation(&any(), any(), any(), any()));
    call(|| BernoulliStream::share(&any(), any()));
    call(|| BernoulliStream::probability(&any(), any(), any()));
}

fn categorical() {
    call(|| CategoricalShape::of(any(), any()));
    call(|| CategoricalShape::parameters_len(&any()));
    call(|| CategoricalShape::free_parameters(&any()));
    call(|| CategoricalShape::tables_len(&any()));
    call(|| Categorical::new(any(), any(), any(), any(), any(), any()).is_ok());
    call(|| Categorical::categorical_shape(&any()));
    call(|| Categorical::rows(&any()));
    call(|| Categorical::shares(&any()).len());
    call(|| Categorical::probabilities(&any()).len());
    call(|| Categorical::set_probabilities(&mut any(), any(), any()));
    call(|| Categorical::set_random(&mut any(), &mut Random));
    call(|| Categorical::set_active(&mut any(), any()));
    call(|| Categorical::set_rows(&mut any(), any(), any()));
}

fn starts() {
    call(|| start::vote_shares(any(), any(), any(), any()));
    call(|| start::from_vote(&mut any(), any(), any()));
    call(|| start::random_probabilities(&mut Random, any(), any(), any()));
    call(|| spectral::start_scratch_len(any()));
    call(|| spectral::start(any(), &mut Random, any(), any(), any()));
}

fn figures() {
    call(|| criteria::free_parameters(any(), any()));
    call(|| criteria::bic(any(), any(), any()));
    call(|| criteria::icl(any(), any()));
    call(|| criteria::entropy(any(), any(), any()));
    call(|| criteria::separation(any(), any(), any()));
}
