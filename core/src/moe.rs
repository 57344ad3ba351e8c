//! Mixture of experts: every router of the literature, one dispatch plan, experts by runs of rows.
//!
//! ```text
//!   tokens ─► router ─► logits ─► route ─► Routing ─► order, plan ─► DispatchPlan
//!      │                            └─► RoutingCache ─► balance, noisy, usage │
//!      └──────────────────────────────────────────► gather ─► experts ─► combine ─► tokens
//! ```
//!
//! * [`policies`]: which experts a token gets, by the name of the source. [`config`]: settings, checked once.
//! * [`router`]: the product with the router's weights. [`routing`]: logits to slots. [`hash`]: fixed tables instead.
//! * [`capacity`], [`priority`], [`importance`], [`dispatch`]: how many rows an expert takes, who comes first, who at all, where
//!   each row lies.
//! * [`gather`](mod@gather), [`combine`](mod@combine): to the experts' rows and back. [`gates`]: the way back to the logits.
//! * [`experts`]: feed-forward networks, each over its own run of rows.
//! * [`balance`], [`logit_losses`], [`noisy`]: losses. [`usage`](mod@usage): what was asked for, dropped, left idle. [`replay`]: a plan once more.
//!
//! Router arithmetic is `f32` whatever the weights are; it is written once for `f32` and `f64`, so that tests
//! see the formulas without rounding.

pub mod balance;
mod best;
pub mod capacity;
mod capped;
pub mod combine;
pub mod config;
pub mod dispatch;
mod error;
mod expert_choice;
pub mod experts;
pub mod gates;
pub mod gather;
pub mod hash;
pub mod importance;
pub mod logit_losses;
pub mod noisy;
pub mod policies;
pub mod priority;
pub mod replay;
pub mod router;
pub mod routing;
mod rows;
mod slices;
mod token_choice;
pub mod usage;

pub use crate::real::Real;
pub use capacity::{CapacityChange, CapacityRule};
pub use capped::Program;
pub use combine::{combine, combine_backward};
pub use config::{ByPhase, Groups, InputNoise, Phase, Router, RouterConfig};
pub use dispatch::{Admission, DROPPED, DispatchPlan, PlanStorage, plan};
pub use error::RouterError;
pub use gates::{noise_backward, normalise_kept, normalise_kept_backward, route_backward};
pub use gather::{gather, gather_backward};
pub use policies::{NoiseScale, Policy, SecondExpert, SoftmaxOver, SwitchChoice};
pub use priority::{Order, Priority, order, order_len, random_order};
pub use routing::{
    Routed, RouterInput, Routing, RoutingCache, RoutingShape, RoutingStorage, UNSENT, draw, route,
};
pub use usage::{Usage, usage};
