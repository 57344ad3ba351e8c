//! Unknown values of core's own types. What has a constructor that checks is made by it.

use mixlet_core::activation::Activation;
use mixlet_core::arch::{RoundedPanel, RoundedRow, RoundedWeights4};
use mixlet_core::em::bernoulli::{AbsentColumns, Bernoulli, BernoulliPrior, BernoulliShape, BernoulliStream};
use mixlet_core::em::categorical::{Categorical, CategoricalPrior, CategoricalShape};
use mixlet_core::em::dawid_skene::{DawidSkene, DawidSkeneShape, Prior};
use mixlet_core::em::one_coin::{OneCoin, OneCoinSettings};
use mixlet_core::em::stepwise::StepSize;
use mixlet_core::em::{ActiveColumns, FitSettings, Lane, ModelShape, RowFacts};
use mixlet_core::linear::{Linear, LinearShape, Operands, Scratch, ScratchLen, Write};
use mixlet_core::matrix::{MatMut, MatRef};
use mixlet_core::moe::balance::{Calibration, LoadBalance};
use mixlet_core::moe::experts::{
    Experts, ExpertsGrads, Ffn, FfnBackward, FfnCache, FfnGrads, FfnKind, FfnShape, GroupedRows, HiddenGrads,
    LinearGrads,
};
use mixlet_core::moe::logit_losses::TokenLogits;
use mixlet_core::moe::noisy::{NoisyLoad, TutelLoss};
use mixlet_core::moe::replay::Recording;
use mixlet_core::moe::router::RouterShape;
use mixlet_core::moe::{
    Admission, ByPhase, CapacityRule, DispatchPlan, Groups, InputNoise, NoiseScale, Order, Phase,
    PlanStorage, Policy, Priority, Real, Router, RouterConfig, RouterInput, Routing, RoutingCache,
    RoutingShape, RoutingStorage, SecondExpert, SoftmaxOver, SwitchChoice,
};
use mixlet_core::nn::{
    Attention, AttentionGrads, AttentionShape, CrossEntropy, Dropout, Embedding, KeyValueCache,
    LabelSmoothing, LatentShape, LayerNorm, LayerNormCache, LayerNormGrads, Loss, NormShape, Pairing,
    Pattern, PositionBias, Reduction, RmsNorm, RmsNormCache, Rotary, RotaryScaling, Segments, Span, Targets,
    Visibility, YarnRamp,
};
use mixlet_core::observations::{Answers, Codes, PackedRows, WorkerTasks};
use mixlet_core::optim::{
    Adafactor, AdafactorMemory, AdafactorShape, AdamW, AdamWState, Averaging, ClipRule, DecayRule,
    EpsilonPlace, LrDecay, LrSchedule, Step,
};
use mixlet_core::select::columns::{Indicators, PairTables, Stripe};
use mixlet_core::select::relevance::Evidence;
use mixlet_core::select::stagewise::Split;
use mixlet_core::select::tree::TwoClasses;
use mixlet_core::select::{Estimator, Pairs, Residue};
use mixlet_core::small::Column;
use mixlet_core::weights::{Int4, Int8, Weights};

use crate::unknown::{Random, Unknown, any, checked};

/// Structs of public fields: each field unknown.
macro_rules! structs {
    ($([$($generics:tt)*] $type:ty { $($field:ident)* })*) => {$(
        impl<$($generics)*> Unknown for $type {
            #[inline(always)]
            fn unknown() -> Self {
                Self { $($field: any()),* }
            }
        }
    )*};
}

/// Enums, and what is made by a function: any of the given values.
macro_rules! any_of {
    ($([$($generics:tt)*] $type:ty: $($value:expr),* $(,)?;)*) => {$(
        impl<$($generics)*> Unknown for $type {
            #[inline(always)]
            fn unknown() -> Self {
                let mut left: u8 = any();
                $(
                    if left == 0 {
                        return $value;
                    }
                    left -= 1;
                )*
                loop {}
            }
        }
    )*};
}

structs! {
    [T: Unknown] ByPhase<T> { train eval }
    [] RoundedRow<'_> { values scales }
    [const W: usize] RoundedPanel<'_, W> { values scales totals }
    [] RoundedWeights4<'_> { nibbles scales }
    [] ModelShape { rows classes statistics scratch }
    [] FitSettings { rounds tolerance }
    [] RowFacts<'_> { known_classes weights }
    [] ActiveColumns<'_> { mask partial }
    [] BernoulliShape { columns classes missing }
    [] BernoulliPrior { class_pseudocount ones zeros floor }
    [] CategoricalShape { columns cells classes }
    [] CategoricalPrior { class_pseudocount pseudocount floor }
    [] DawidSkeneShape { workers labels classes }
    [] Prior<'_> { uniform_shares frozen_conditionals class_pseudocount pseudocount shared earlier }
    [] OneCoinSettings { uniform_shares class_pseudocount right_pseudocount wrong_pseudocount }
    [] StepSize { exponent delay }
    [] Evidence { log_likelihood rows }
    [] Residue { all within }
    [] Split<'_> { class cells directions step }
    [] TwoClasses<'_> { columns offsets log_odds share_log_odds }
    [] LinearShape { rows inputs outputs }
    [] ScratchLen { floats halves bytes }
    [] Scratch<'_> { floats halves bytes }
    [] RouterConfig { experts policy capacity priority groups input_noise }
    [] RouterShape { tokens model_dim experts }
    [] RoutingShape { tokens experts top_k slots group_tokens capacity scratch }
    [R] Routing<'_, R> { token_offsets experts gates }
    [R] RouterInput<'_, R> { logits real bias noise_logits draws hashed }
    [R] RoutingCache<'_, R> { shape probabilities chosen }
    [R] TokenLogits<'_, R> { logits experts real }
    [] DispatchPlan<'_> { expert_load expert_offsets row_slots row_tokens slot_rows }
    [] Admission<'_> { capacity group_tokens order }
    [] FfnShape { rows model_dim ffn_dim gated }
    [] FfnCache<'_> { gate up hidden dropout }
    [] FfnBackward<'_> { x cache grad_out }
    [] LinearGrads<'_> { weights bias }
    [] FfnGrads<'_> { gate up down }
    [] HiddenGrads<'_> { gate up }
    [] ExpertsGrads<'_> { all frozen }
    [] Span { queries keys first_query }
    [] AttentionShape { span heads kv_heads head_dim value_dim }
    [R] Attention<'_, R> { shape scale visibility q k v distance_bias sinks dropout }
    [R] AttentionGrads<'_, R> { q k v distance_bias sinks }
    [] Segments<'_> { queries keys }
    [] Visibility<'_> { pattern key_mask segments }
    [] CrossEntropy { vocab logit_scale label_smoothing z_loss reduction }
    [] Targets<'_> { labels loss_mask }
    [] Loss { cross_entropy z_loss weight }
    [] Embedding { vocab model_dim scale }
    [] NormShape { rows width }
    [R] LayerNorm<'_, R> { weight bias epsilon }
    [R] LayerNormCache<'_, R> { x mean inverse_deviation }
    [R] LayerNormGrads<'_, R> { x weight bias }
    [] RmsNorm { epsilon weight_offset }
    [R] RmsNormCache<'_, R> { x weight inverse_rms }
    [] PositionBias { heads buckets max_distance bidirectional }
    [] Rotary { heads head_dim start width pairing }
    [] YarnRamp { fast slow whole }
    [] LatentShape { tokens heads head_dim rotary_dim value_dim }
    [] Step { number lr grad_scale }
    [] AdamW { beta1 beta2 epsilon epsilon_place weight_decay decay_rule }
    [] AdamWState<'_> { mean square }
    [] Adafactor {
        decay_rate epsilon_square epsilon_scale clip_threshold parameter_scale momentum weight_decay decay_rule averaging
    }
    [] AdafactorShape { experts rows columns factored }
    [] AdafactorMemory<'_> { state scratch }
    [] LrSchedule { peak lr_warmup_steps decay }
}

any_of! {
    [] Activation: Self::Relu, Self::Silu, Self::GeluTanh, Self::GeluErf;
    [] Operands: Self::Exact, Self::Rounded;
    [] Write: Self::Overwrite, Self::Add;
    ['a] Weights<'a>:
        Self::F32(any()), Self::F16(any()), Self::Bf16(any()), Self::Int8(any()), Self::Int4(any());
    ['a] Linear<'a>: Self::new(any()), checked(Self::with_bias(any(), any()));
    [] FfnKind: Self::Plain(any()), Self::Gated(any()), Self::ClampedSwiglu { alpha: any(), limit: any() };
    [] Estimator: Self::Plain, Self::Weighted, Self::MillerMadow, Self::GTest { level: any() };
    [] Phase: Self::Train, Self::Eval;
    [] Groups: Self::One, Self::AtMost(any()), Self::Exactly(any());
    [] InputNoise: Self::None, Self::Jitter(any()), Self::Dropout(any());
    [] CapacityRule:
        Self::Dropless,
        Self::Fixed(any()),
        Self::Switch(any()),
        Self::Mesh(any()),
        Self::Flaxformer { factor: any(), least: any() },
        Self::GShard(any()),
        Self::DeepSpeed { factor: any(), least: any() },
        Self::Tutel(any()),
        Self::ExpertChoice(any());
    [] Policy:
        Self::Switch { choice: any() },
        Self::GShard { second: any() },
        Self::DeepSpeedTop2 { sample_second: any() },
        Self::Mesh { top_k: any(), others: any() },
        Self::Flaxformer { top_k: any() },
        Self::Mixtral { top_k: any() },
        Self::Olmoe { top_k: any() },
        Self::SoftmaxAfterTopK { top_k: any() },
        Self::DeepSeekV3 {
            top_k: any(),
            expert_groups: any(),
            kept_groups: any(),
            normalise: any(),
            scale: any(),
        },
        Self::NoisyTopK { top_k: any(), noise: any() },
        Self::Hash,
        Self::ExpertChoice { softmax: any() },
        Self::CappedExpertChoice { cap: any(), temperature: any(), rounds: any() };
    [] SwitchChoice: Self::Argmax, Self::Sample { temperature: any() };
    [] SecondExpert: Self::All, Self::None, Self::Threshold(any()), Self::Random(any());
    [] NoiseScale: Self::Learned { least: any() }, Self::Fixed(any());
    [] SoftmaxOver: Self::Experts, Self::Tokens;
    [] Priority: Self::Ranks, Self::Slots, Self::Batch, Self::Gates, Self::Random;
    [] Order<'_>: Self::Ranks, Self::Slots, Self::RanksOf(any()), Self::SlotsOf(any());
    [] Calibration:
        Self::Switch,
        Self::Mesh,
        Self::GShardPaper,
        Self::Flaxformer,
        Self::TopK,
        Self::MegaBlocks { layers: any() };
    [] Pattern: Self::Full, Self::Causal, Self::Window(any());
    [] Pairing: Self::Halves, Self::Interleaved;
    [] RotaryScaling:
        Self::None,
        Self::Linear { factor: any() },
        Self::Llama3 { factor: any(), low: any(), high: any(), original: any() },
        Self::Yarn { factor: any(), original: any(), ramp: any(), attention_factor: any() };
    [] LabelSmoothing: Self::None, Self::AllIds(any()), Self::OtherIds(any());
    [] Reduction: Self::Mean, Self::Sum, Self::Over(any());
    [] DecayRule: Self::TimesLr, Self::Alone;
    [] EpsilonPlace: Self::AfterCorrection, Self::BeforeCorrection;
    [] Averaging: Self::Matrix, Self::Tensor;
    [] ClipRule: Self::Exact, Self::Torch;
    [] LrDecay:
        Self::Constant,
        Self::Linear { total_steps: any(), end: any() },
        Self::Cosine { total_steps: any(), end: any() },
        Self::InverseSqrt { from: any() },
        Self::Relative { hold: any() };
}

/// What only a function makes: what it makes of unknown values.
macro_rules! made {
    ($([$($generics:tt)*] $type:ty: $value:expr;)*) => {$(
        impl<$($generics)*> Unknown for $type {
            #[inline(always)]
            fn unknown() -> Self {
                $value
            }
        }
    )*};
}

made! {
    [T] MatRef<'_, T>: checked(Self::new(any(), any(), any()));
    [T] MatMut<'_, T>: checked(Self::new(any(), any(), any()));
    [] Int8<'_>: checked(Self::new(any(), any()));
    [] Int4<'_>: checked(Self::new(any(), any()));
    [] Answers<'_>: checked(Self::new(any(), any(), any(), any()));
    [] WorkerTasks<'_>: checked(Self::fill(any(), any(), any()));
    [] PackedRows<'_>: {
        let rows = checked(Self::new(any(), any(), any()));
        if any() { rows } else { checked(rows.with_present(any())) }
    };
    [] Codes<'_>: checked(Self::new(any(), any()));
    [] Column: Self::default();
    [] AbsentColumns<'_>: checked(Self::list(any(), any(), any()));
    [T: Lane] Bernoulli<'_, T>: checked(Self::new(any(), any(), any(), any(), any(), any()));
    [] BernoulliStream<'_>: checked(Self::new(any(), any(), any(), any(), any()));
    [] Categorical<'_>: checked(Self::new(any(), any(), any(), any(), any(), any()));
    [] DawidSkene<'_>: checked(Self::new(any(), any(), any(), any(), any()));
    [] OneCoin<'_>: checked(Self::new(any(), any(), any(), any()));
    [] Indicators<'_>: checked(Self::new(any(), any()));
    [] Stripe<'_>: Self::new(any(), any(), any());
    [] PairTables<'_>: checked(Self::new(any(), any(), any(), any()));
    [] Pairs<'_>: {
        let pairs = Self::new(any(), any());
        if any() { pairs } else { checked(pairs.within_classes(any(), any())) }
    };
    [] Router: checked(any::<RouterConfig>().check());
    [R: Real] RoutingStorage<'_, R>: checked(Self::new(any(), any(), any()));
    [R: Real] LoadBalance<'_, R>: {
        let mut loss = checked(Self::new(&any(), any(), any(), any()));
        (loss.calibration, loss.group_tokens, loss.cache, loss.real) = (any(), any(), any(), any());
        loss
    };
    [R: Real] NoisyLoad<'_, R>: checked(Self::new(&any(), any(), any()));
    [R: Real] TutelLoss<'_, R>: checked(Self::new(&any(), any(), any()));
    [] PlanStorage<'_>: checked(Self::new(any(), any(), any()));
    [] Recording<'_>: checked(Self::parse(any()));
    [] Experts<'_>: checked(Self::new(any(), any(), any(), any(), any()));
    [] Ffn<'_>: checked(Experts::expert(&any(), any()));
    [] GroupedRows<'_>: checked(Self::new(any(), any()));
    [] Dropout: checked(Self::draw(any(), &mut Random));
    [R: Copy] KeyValueCache<'_, R>: checked(Self::new(any(), any(), any()));
}
