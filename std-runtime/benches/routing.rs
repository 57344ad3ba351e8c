//! What routing costs: the router's product, the choice, the plan, gather and combine, and how the choice grows.
//!
//! `cargo bench -p mixlet-runtime --bench routing`, one thread, widest vectors. Stages are the best of repeated
//! runs, by the clock; growth and ratios are processor time, which other programs on the machine do not add to.
//!
//! Measured on 2026-11-22, two cores of an AMD EPYC (AVX-512) busy with other work. `of layer` is the share of all stages where
//! the experts are gated f32 networks (4096 hidden values with 8 experts, 512 with 64) at the core's full rate: the goal of
//! 5 % is missed with 64 experts at 2048 tokens, where rows no longer fit the second-level cache.
//!
//! ```text
//! policy                 tokens experts   product    choice      plan    gather   combine  (ns/token)  of layer
//! Mixtral top-2             256       8     609.9      59.7      13.4     203.6     200.5                  0.2 %
//! Mixtral top-2            2048       8     691.7     115.6      14.2     544.1     463.4                  0.4 %
//! Mixtral top-2             256      64    1705.5     169.7      14.2     192.8     190.4                  4.0 %
//! Mixtral top-2            2048      64    1851.7     295.0      15.7     751.8     769.9                  6.3 %
//! ```
//!
//! ```text
//! policy                 experts  choice + plan, CPU ns per token and expert    over plain
//!                         tokens:          512     2048     8192
//! Mixtral top-2                8         8.48    11.29    15.77
//! expert choice                8        12.37    13.59    19.73
//! capped, cap 3, 0.001         8       154.70   169.55   169.12            12.5   12.5    8.6
//! Mixtral top-2               64         2.18     4.12     3.95
//! expert choice               64         9.61    11.41    11.60
//! capped, cap 3, 0.001        64       108.29    92.86   101.63            11.3    8.1    8.8
//! ```

use std::hint::black_box;
use std::time::Instant;

use mixlet_core::matrix::ShapeError;
use mixlet_core::moe::router::RouterShape;
use mixlet_core::moe::{
    Admission, ByPhase, CapacityRule, Order, Phase, PlanStorage, Policy, Router, RouterConfig, RouterError,
    RouterInput, RoutingStorage, SoftmaxOver, combine, gather, plan, route,
};
use mixlet_runtime::moe::router_forward;
use mixlet_runtime::simd::{Kernel, wide};

const MODEL_DIM: usize = 1024;
const REPEATS: usize = 25;
/// A core's rate with 512-bit vectors, measured on this machine with nothing else to do.
const FLOPS_PER_NS: f64 = 114.0;

/// One layer's routing and the memory it works in.
struct Layer {
    router: Router,
    tokens: Vec<f32>,
    weights: Vec<f32>,
    logits: Vec<f32>,
    reals: Vec<f32>,
    integers: Vec<u32>,
    plan: Vec<u32>,
    rows: Vec<f32>,
    out: Vec<f32>,
}

/// Seconds of the stages.
#[derive(Clone, Copy, Default)]
struct Times {
    product: f64,
    choice: f64,
    plan: f64,
    gather: f64,
    combine: f64,
}

impl Layer {
    fn new(tokens: usize, experts: usize, policy: Policy) -> Result<Self, RouterError> {
        let capacity = match policy.top_k() {
            Some(_) => CapacityRule::Dropless,
            None => CapacityRule::ExpertChoice(ByPhase::both(2.0)),
        };
        let router =
            RouterConfig { experts: experts as u32, policy, capacity, ..RouterConfig::default() }.check()?;
        let shape = router.shape(Phase::Eval, tokens)?;
        let mut random = numbers();
        let mut fill = |len: usize, scale: f32| -> Vec<f32> {
            (0..len).map(|_| scale * (random.next().unwrap_or(0.0) - 0.5)).collect()
        };
        Ok(Self {
            router,
            tokens: fill(tokens * MODEL_DIM, 2.0),
            weights: fill(experts * MODEL_DIM, 0.25),
            logits: vec![0.0; shape.logits_len()],
            reals: vec![0.0; shape.reals_len()],
            integers: vec![0; shape.integers_len()],
            plan: vec![0; PlanStorage::len(shape.slots, experts)],
            rows: vec![0.0; shape.slots * MODEL_DIM],
            out: vec![0.0; tokens * MODEL_DIM],
        })
    }
}

/// The lengths are this program's own.
fn unexpected(error: ShapeError) -> RouterError {
    let ShapeError::Length { what, found, expected } = error else {
        return RouterError::Length { what: "a matrix", found: 0, expected: 0 };
    };
    RouterError::Length { what, found, expected }
}

/// Numbers of `[0, 1)`.
fn numbers() -> impl Iterator<Item = f32> {
    let mut state = 1_u64;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((state >> 40) as f32 / (1_u32 << 24) as f32)
    })
}

impl Kernel for &mut Layer {
    type Output = Result<Times, RouterError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let experts = self.router.config().experts as usize;
        let tokens = self.tokens.len() / MODEL_DIM;
        let shape = self.router.shape(Phase::Eval, tokens)?;
        let start = Instant::now();
        let product = RouterShape { tokens, model_dim: MODEL_DIM, experts };
        router_forward(product, &self.tokens, &self.weights, &mut self.logits).map_err(unexpected)?;
        let after_product = Instant::now();
        let storage = RoutingStorage::new(shape, &mut self.reals, &mut self.integers)?;
        let routed = route(&self.router, Phase::Eval, &RouterInput::of_logits(&self.logits), storage)?;
        let after_choice = Instant::now();
        let storage = PlanStorage::new(shape.slots, experts, &mut self.plan)?;
        let plan = plan(&routed.routing, Admission::new(shape, Order::Ranks), storage)?;
        let after_plan = Instant::now();
        let rows = self.rows.get_mut(..plan.rows() * MODEL_DIM).unwrap_or(&mut []);
        gather(&plan, &self.tokens, MODEL_DIM, rows)?;
        let after_gather = Instant::now();
        combine(&plan, &routed.routing, rows, MODEL_DIM, &mut self.out)?;
        black_box(&mut self.out);
        Ok(Times {
            product: (after_product - start).as_secs_f64(),
            choice: (after_choice - after_product).as_secs_f64(),
            plan: (after_plan - after_choice).as_secs_f64(),
            gather: (after_gather - after_plan).as_secs_f64(),
            combine: after_gather.elapsed().as_secs_f64(),
        })
    }
}

fn measured(tokens: usize, experts: usize, policy: Policy) -> Result<Times, RouterError> {
    let mut layer = Layer::new(tokens, experts, policy)?;
    wide(&mut layer)?;
    let runs = (0..REPEATS).map(|_| wide(&mut layer)).collect::<Result<Vec<_>, _>>()?;
    let of = |stage: fn(&Times) -> f64| runs.iter().map(stage).fold(f64::INFINITY, f64::min);
    Ok(Times {
        product: of(|t| t.product),
        choice: of(|t| t.choice),
        plan: of(|t| t.plan),
        gather: of(|t| t.gather),
        combine: of(|t| t.combine),
    })
}

fn policies() -> [(&'static str, Policy); 5] {
    [
        ("Mixtral top-2", Policy::Mixtral { top_k: 2 }),
        ("flaxformer top-8", Policy::Flaxformer { top_k: 8 }),
        ("expert choice", Policy::ExpertChoice { softmax: SoftmaxOver::Experts }),
        ("capped, cap 3, 0.05", Policy::CappedExpertChoice { cap: 3, temperature: 0.05, rounds: 100 }),
        ("capped, cap 3, 0.001", Policy::CappedExpertChoice { cap: 3, temperature: 0.001, rounds: 100 }),
    ]
}

/// Seconds that `slots` rows of a gated expert FFN take at least.
fn experts_time(slots: usize, ffn_dim: usize) -> f64 {
    (slots * 3 * 2 * MODEL_DIM * ffn_dim) as f64 / FLOPS_PER_NS * 1e-9
}

fn main() -> Result<(), RouterError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
    assert!(pool.is_ok(), "the pool of one thread is built once");
    println!(
        "policy                 tokens experts   product    choice      plan    gather   combine  (ns/token)  of layer"
    );
    for (name, policy) in policies() {
        for (tokens, experts, ffn_dim) in [(256, 8, 4096), (2048, 8, 4096), (256, 64, 512), (2048, 64, 512)] {
            let times = measured(tokens, experts, policy)?;
            let each = |seconds: f64| seconds * 1e9 / tokens as f64;
            let stages = [times.product, times.choice, times.plan, times.gather, times.combine];
            let total: f64 = stages.iter().sum();
            let slots = tokens * policy.top_k().unwrap_or(2) as usize;
            let share = 100.0 * total / (total + experts_time(slots, ffn_dim));
            let cells: Vec<String> = stages.iter().map(|&stage| format!("{:>9.1}", each(stage))).collect();
            println!("{name:<22} {tokens:>6} {experts:>7} {}  {share:>19.1} %", cells.join(" "));
        }
    }
    growth()
}

/// How choice and plan grow with the tokens, and what a cap costs.
fn growth() -> Result<(), RouterError> {
    println!("policy                 experts  choice + plan, CPU ns per token and expert    over plain");
    println!("                        tokens:          512     2048     8192");
    for experts in [8, 64] {
        let mut plain = [0.0; 3];
        for (name, policy) in policies() {
            let mut costs = [0.0; 3];
            for (cost, tokens) in costs.iter_mut().zip([512, 2048, 8192]) {
                *cost = cpu_per_pair(tokens, experts, policy)?;
            }
            let [a, b, c] = costs;
            print!("{name:<22} {experts:>7} {a:>12.2} {b:>8.2} {c:>8.2}");
            match policy {
                Policy::ExpertChoice { .. } => plain = costs,
                Policy::CappedExpertChoice { .. } => {
                    let [a, b, c] = std::array::from_fn(|nth| costs[nth] / plain[nth]);
                    print!("    {a:>12.1} {b:>6.1} {c:>6.1}");
                }
                _ => {}
            }
            println!();
        }
    }
    Ok(())
}

/// Processor time of choice and plan alone, in ns per token and expert.
fn cpu_per_pair(tokens: usize, experts: usize, policy: Policy) -> Result<f64, RouterError> {
    let mut layer = Layer::new(tokens, experts, policy)?;
    wide(&mut layer)?;
    let runs = ((1 << 23) / (tokens * experts)).max(3);
    let start = cpu_ns();
    for _ in 0..runs {
        wide(Choose(&mut layer))?;
    }
    Ok((cpu_ns() - start) / (runs * tokens * experts) as f64)
}

/// Processor time of this thread so far; 0 where the system does not say.
fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
}

/// Choice and plan of logits that are there.
struct Choose<'a>(&'a mut Layer);

impl Kernel for Choose<'_> {
    type Output = Result<(), RouterError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Layer { router, tokens, logits, reals, integers, plan: memory, .. } = self.0;
        let shape = router.shape(Phase::Eval, tokens.len() / MODEL_DIM)?;
        let storage = RoutingStorage::new(shape, reals, integers)?;
        let routed = route(router, Phase::Eval, &RouterInput::of_logits(logits), storage)?;
        let storage = PlanStorage::new(shape.slots, shape.experts, memory)?;
        black_box(plan(&routed.routing, Admission::new(shape, Order::Ranks), storage)?);
        Ok(())
    }
}
