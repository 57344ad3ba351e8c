//! Routers, plans, losses.

use mixlet_core::moe::balance::*;
use mixlet_core::moe::hash::*;
use mixlet_core::moe::logit_losses::*;
use mixlet_core::moe::noisy::*;
use mixlet_core::moe::replay::*;
use mixlet_core::moe::router::*;
use mixlet_core::moe::usage::{load_entropy, load_variation, unsent_share};
use mixlet_core::moe::*;

use crate::call;
use crate::unknown::{Random, Unknown, any};

pub fn all<R: Real + Unknown>() {
    numbers::<R>();
    settings();
    products::<R>();
    routing::<R>();
    plans::<R>();
    gates::<R>();
    losses::<R>();
    recordings::<R>();
}

fn numbers<R: Real + Unknown>() {
    call(|| <R as Real>::from_f64(any()));
    call(|| <R as Real>::to_f64(any()));
    call(|| <R as Real>::exp(any()));
    call(|| <R as Real>::ln(any()));
    call(|| <R as Real>::erf(any()));
    call(|| <R as Real>::key(any()));
}

fn settings() {
    call(|| ByPhase::<f64>::both(any()));
    call(|| *ByPhase::<f64>::of(&any(), any()));
    call(|| Policy::top_k(&any()));
    call(|| CapacityRule::rows(&any(), any(), any(), any(), any()));
    call(|| CapacityRule::eval_change(&any(), &any(), any(), any(), any()));
    call(|| RouterConfig::check(any()));
    call(|| *Router::config(&any()));
    call(|| Router::shape(&any(), any(), any()));
    call(|| Router::is_causal(&any(), any()));
    call(|| Router::normalises_after_dropping(&any()));
    call(|| Router::draws_len(&any(), any(), any()));
    call(|| random_table(&mut Random, any(), any()));
    call(|| balanced_table(any(), any(), any(), any()));
    call(|| look_up(any(), any(), any()));
}

fn products<R: Real + Unknown>() {
    call(|| RouterShape::tokens_len(&any()));
    call(|| RouterShape::weights_len(&any()));
    call(|| RouterShape::logits_len(&any()));
    call(|| router_forward::<R>(any(), any(), any(), any()));
    call(|| router_backward_weights::<R>(any(), any(), any(), any()));
    call(|| router_backward_tokens::<R>(any(), any(), any(), any()));
    call(|| input_noise::<R>(any(), &mut Random, any()));
    call(|| multiply::<R>(any(), any(), any()));
}

fn routing<R: Real + Unknown>() {
    call(|| Routing::<R>::tokens(&any()));
    call(|| Routing::<R>::slots(&any()).for_each(|slots| call(|| slots)));
    call(|| Routing::<R>::check(&any(), any()));
    call(|| RoutingShape::logits_len(&any()));
    call(|| RoutingShape::groups(&any()));
    call(|| RoutingShape::reals_len(&any()));
    call(|| RoutingShape::integers_len(&any()));
    call(|| RouterInput::<R>::of_logits(any()));
    call(|| RouterInput::<R>::is_real(&any(), any()));
    call(|| RoutingStorage::<R>::new(any(), any(), any()).is_ok());
    call(|| draw::<R>(&any(), any(), &mut Random, any()));
    call(|| route::<R>(&any(), any(), &any(), any()));
    call(|| order_len(&any(), any()));
    call(|| order::<R>(&any(), &any(), any(), any()));
    call(|| random_order(&any(), any(), &mut Random, any()));
    call(|| importance::limit::<R>(any(), &any(), any(), any()));
    call(|| importance::limit_backward::<R>(any(), &any(), any()));
}

fn plans<R: Real + Unknown>() {
    call(|| DispatchPlan::rows(&any()));
    call(|| DispatchPlan::runs(&any()).for_each(|run| call(|| run)));
    call(|| DispatchPlan::check::<R>(&any(), &any()));
    call(|| Admission::new(any(), any()));
    call(|| PlanStorage::len(any(), any()));
    call(|| PlanStorage::new(any(), any(), any()).is_ok());
    call(|| plan::<R>(&any(), any(), any()));
    call(|| gather::<R>(&any(), any(), any(), any()));
    call(|| gather_backward::<R>(&any(), &any(), any(), any(), any()));
    call(|| combine::<R>(&any(), &any(), any(), any(), any()));
    call(|| combine_backward::<R>(&any(), &any(), any(), any(), any(), any()));
    call(|| usage::<R>(any(), &any(), &any(), any()));
    call(|| unsent_share(any(), any()));
    call(|| load_variation(any::<&[u64]>().iter().copied()));
    call(|| load_entropy(any::<&[u64]>().iter().copied()));
}

fn gates<R: Real + Unknown>() {
    call(|| route_backward::<R>(&any(), any(), &any(), &any(), any(), any()));
    call(|| noise_backward::<R>(&any(), any(), &any(), any(), any()));
    call(|| normalise_kept::<R>(&any(), &any(), any()));
    call(|| normalise_kept_backward::<R>(&any(), &any(), any(), any(), any()));
}

fn losses<R: Real + Unknown>() {
    call(|| LoadBalance::<R>::new(&any(), any(), any(), any()).is_ok());
    call(|| LoadBalance::<R>::fractions_len(&any()));
    call(|| LoadBalance::<R>::forward(&any(), any()));
    call(|| LoadBalance::<R>::backward(&any(), any(), any(), any()));
    call(|| selection_loss_forward::<R>(&any(), any()));
    call(|| selection_loss_backward::<R>(&any(), any(), any(), any(), any()));
    call(|| update_bias::<R>(any(), any(), any()));
    call(|| z_loss_forward::<R>(&any(), any()));
    call(|| z_loss_backward::<R>(&any(), any(), any(), any()));
    call(|| entropy_forward::<R>(&any(), any()));
    call(|| entropy_backward::<R>(&any(), any(), any(), any()));
    call(|| squared_variation::<R>(any()));
    call(|| importance_forward::<R>(&any(), any()));
    call(|| importance_backward::<R>(&any(), any(), any(), any()));
    call(|| NoisyLoad::<R>::new(&any(), any(), any()).is_ok());
    call(|| NoisyLoad::<R>::forward(&any(), any()));
    call(|| NoisyLoad::<R>::backward(&any(), any(), any(), any(), any()));
    call(|| TutelLoss::<R>::new(&any(), any(), any()).is_ok());
    call(|| TutelLoss::<R>::forward(&any(), any(), any()));
    call(|| TutelLoss::<R>::backward(&any(), any(), any(), any(), any()));
}

fn recordings<R: Real + Unknown>() {
    call(|| recording_len(any(), any()));
    call(|| record::<R>(&any(), &any(), &any(), any()));
    call(|| Recording::parse(any()));
    call(|| Recording::route::<R>(&any(), &any(), any(), &any(), any()));
    call(|| Recording::plan::<R>(&any(), &any(), any()));
}
