//! Router settings: plain fields, checked once.

use super::capacity::CapacityRule;
use super::error::{RouterError, count};
use super::policies::{NoiseScale, Policy, Recipe, SecondExpert, SwitchChoice};
use super::priority::Priority;
use super::routing::RoutingShape;
use super::{capped, expert_choice};

/// Groups that [`Policy::DeepSeekV3`] may cut its experts into at most; the paper has 8.
pub const MOST_EXPERT_GROUPS: u32 = 64;

/// Training or evaluation: capacity and random choices may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Phase {
    /// Weights are being learnt.
    Train,
    /// They are not.
    Eval,
}

/// A setting with a value for each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ByPhase<T> {
    /// In training.
    pub train: T,
    /// In evaluation.
    pub eval: T,
}

impl<T> ByPhase<T> {
    /// The value of a phase.
    pub fn of(&self, phase: Phase) -> &T {
        match phase {
            Phase::Train => &self.train,
            Phase::Eval => &self.eval,
        }
    }
}

impl<T: Copy> ByPhase<T> {
    /// The same in both phases.
    pub const fn both(value: T) -> Self {
        Self { train: value, eval: value }
    }
}

/// How tokens are cut into groups. Capacity is per group, experts choose among the tokens of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Groups {
    /// All tokens are one group.
    One,
    /// The smallest number of equal groups of at most so many tokens (flaxformer's 4096).
    AtMost(u32),
    /// Groups of exactly so many tokens, one sequence each, say; other numbers of tokens are an error.
    Exactly(u32),
}

/// What is done to the router's input in training; the experts see the tokens as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum InputNoise {
    /// Nothing.
    None,
    /// Every value times a number of `[1 − ε, 1 + ε]`: Switch's and mesh's 0.01.
    Jitter(f64),
    /// Every value 0 with this probability, else divided by the rest: mesh's 0.1.
    Dropout(f64),
}

/// Router settings. [`check`](Self::check) turns them into a [`Router`].
///
/// ```
/// # use mixlet_core::moe::{Policy, RouterConfig, RouterError};
/// let config = RouterConfig { experts: 4, policy: Policy::Mixtral { top_k: 5 }, ..RouterConfig::default() };
/// assert_eq!(config.check(), Err(RouterError::TopK { top_k: 5, experts: 4 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RouterConfig {
    /// Number of experts `E`.
    pub experts: u32,
    /// How tokens and experts find each other.
    pub policy: Policy,
    /// Rows an expert may take from a group; for expert choice, the rows it does take.
    pub capacity: CapacityRule,
    /// Which slots are placed first where an expert has less room than slots. Expert choice drops nothing.
    pub priority: Priority,
    /// How tokens are grouped.
    pub groups: Groups,
    /// What is done to the router's input in training.
    pub input_noise: InputNoise,
}

impl Default for RouterConfig {
    /// Mixtral's: two of eight experts, nothing dropped, nothing random.
    fn default() -> Self {
        Self {
            experts: 8,
            policy: Policy::MIXTRAL,
            capacity: CapacityRule::Dropless,
            priority: Priority::Ranks,
            groups: Groups::One,
            input_noise: InputNoise::None,
        }
    }
}

/// Checked [`RouterConfig`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Router(RouterConfig);

impl RouterConfig {
    /// The router, or what is wrong with its settings.
    pub fn check(self) -> Result<Router, RouterError> {
        if self.experts == 0 {
            return Err(RouterError::NoExperts);
        }
        if let Some(top_k) = self.policy.top_k().filter(|top_k| !(1..=self.experts).contains(top_k)) {
            return Err(RouterError::TopK { top_k, experts: self.experts });
        }
        if let Some(value) = self.capacity.invalid_factor() {
            let expected = "a finite number of at least 0";
            return Err(RouterError::Number { what: "capacity factor", value, expected });
        }
        self.check_policy()?;
        match self.input_noise {
            InputNoise::None => {}
            InputNoise::Jitter(value) => {
                require("jitter", value, (0.0..1.0).contains(&value), "a number of [0, 1)")?;
            }
            InputNoise::Dropout(value) => {
                require("input dropout", value, (0.0..1.0).contains(&value), "a number of [0, 1)")?;
            }
        }
        if matches!(self.groups, Groups::AtMost(0) | Groups::Exactly(0)) {
            return Err(RouterError::Number { what: "group size", value: 0.0, expected: "at least 1" });
        }
        Ok(Router(self))
    }

    fn check_policy(&self) -> Result<(), RouterError> {
        let positive =
            |what, value: f64| require(what, value, value > 0.0 && value.is_finite(), "a positive number");
        let not_negative =
            |what, value: f64| require(what, value, value >= 0.0 && value.is_finite(), "at least 0");
        match self.policy {
            Policy::Switch { choice } => {
                for choice in [choice.train, choice.eval] {
                    if let SwitchChoice::Sample { temperature } = choice {
                        positive("temperature", temperature)?;
                    }
                }
            }
            Policy::GShard { second: others } | Policy::Mesh { others, .. } => {
                for others in [others.train, others.eval] {
                    match others {
                        SecondExpert::Threshold(value) => not_negative("threshold", value)?,
                        SecondExpert::Random(value) => positive("threshold", value)?,
                        SecondExpert::All | SecondExpert::None => {}
                    }
                }
            }
            Policy::DeepSeekV3 { top_k, expert_groups, kept_groups, scale, .. } => {
                self.check_expert_groups(expert_groups, kept_groups, top_k)?;
                positive("gate scale", scale)?;
            }
            Policy::NoisyTopK { noise: NoiseScale::Learned { least }, .. } => {
                not_negative("least noise", least)?;
            }
            Policy::NoisyTopK { noise: NoiseScale::Fixed(value), .. } => positive("noise", value)?,
            Policy::ExpertChoice { .. } => {}
            Policy::CappedExpertChoice { cap, temperature, rounds } => {
                positive("cap", f64::from(cap))?;
                positive("temperature", temperature)?;
                positive("rounds", f64::from(rounds))?;
            }
            _ => {}
        }
        let dropless = |phase| self.capacity.rows(1, self.experts, 1, phase).is_none();
        if self.policy.top_k().is_none() && (dropless(Phase::Train) || dropless(Phase::Eval)) {
            return Err(RouterError::NeedsCapacity);
        }
        Ok(())
    }

    fn check_expert_groups(&self, groups: u32, kept: u32, top_k: u32) -> Result<(), RouterError> {
        let experts = self.experts;
        let equal = (1..=MOST_EXPERT_GROUPS).contains(&groups) && experts.is_multiple_of(groups);
        let enough = (1..=groups).contains(&kept)
            && u64::from(experts / groups.max(1)) * u64::from(kept) >= u64::from(top_k);
        if equal && enough { Ok(()) } else { Err(RouterError::ExpertGroups { groups, kept, experts }) }
    }
}

fn require(what: &'static str, value: f64, holds: bool, expected: &'static str) -> Result<(), RouterError> {
    if holds { Ok(()) } else { Err(RouterError::Number { what, value, expected }) }
}

impl Router {
    /// The settings.
    pub fn config(&self) -> &RouterConfig {
        &self.0
    }

    /// Every length of a routing of so many tokens.
    ///
    /// ```
    /// # use mixlet_core::moe::{Phase, RouterConfig};
    /// let router = RouterConfig::default().check().unwrap();
    /// let shape = router.shape(Phase::Eval, 10).unwrap();
    /// assert_eq!((shape.slots, shape.group_tokens, shape.capacity), (20, 10, None));
    /// ```
    pub fn shape(&self, phase: Phase, tokens: usize) -> Result<RoutingShape, RouterError> {
        let RouterConfig { experts, policy, capacity, .. } = self.0;
        let group_tokens = self.group_tokens(tokens)?;
        let groups = tokens / group_tokens.max(1);
        let top_k = policy.top_k();
        let rows = capacity.rows(group_tokens, experts, top_k.unwrap_or(1), phase);
        // What experts choose is at most what there is.
        let most = if top_k.is_none() { count("tokens", group_tokens)? } else { u32::MAX };
        let rows = rows.map(|rows| rows.min(most));
        let slots = match top_k {
            Some(top_k) => tokens.checked_mul(top_k as usize),
            None => groups
                .checked_mul(experts as usize)
                .and_then(|runs| runs.checked_mul(rows.unwrap_or(0) as usize)),
        };
        let slots = slots.ok_or(RouterError::TooMany { what: "slots" })?;
        tokens.checked_mul(experts as usize).ok_or(RouterError::TooMany { what: "logits" })?;
        count("tokens", tokens)?;
        count("slots", slots)?;
        let (experts, top_k) = (experts as usize, top_k.map(|top_k| top_k as usize));
        let scratch = match policy {
            Policy::ExpertChoice { .. } => expert_choice::scratch_len(experts, group_tokens),
            Policy::CappedExpertChoice { .. } => capped::scratch_len(experts, group_tokens),
            _ => 0,
        };
        Ok(RoutingShape { tokens, experts, top_k, slots, group_tokens, capacity: rows, scratch })
    }

    fn group_tokens(&self, tokens: usize) -> Result<usize, RouterError> {
        match self.0.groups {
            Groups::One => Ok(tokens),
            Groups::Exactly(group_tokens) if !tokens.is_multiple_of(group_tokens as usize) => {
                Err(RouterError::GroupTokens { tokens, group_tokens: group_tokens as usize })
            }
            Groups::Exactly(group_tokens) => Ok(group_tokens as usize),
            Groups::AtMost(most) => {
                let least = tokens.div_ceil(most.max(1) as usize).max(1);
                let groups = (least..=tokens).find(|groups| tokens.is_multiple_of(*groups));
                Ok(groups.and_then(|groups| tokens.checked_div(groups)).unwrap_or(tokens))
            }
        }
    }

    /// Whether a token's experts, gates and drops depend on earlier tokens of its group and itself alone, as a causal
    /// decoder needs.
    ///
    /// Token choice is causal where nothing can be dropped, with one expert per token in token order
    /// ([`Priority::Ranks`]), and with several in slot order ([`Priority::Slots`]): ranks place a later token's first choice
    /// before an earlier one's second. Batch priority and expert choice look at all tokens. (The number of
    /// tokens sets the capacity: it must not change while a sequence grows.)
    pub fn is_causal(&self, phase: Phase) -> bool {
        let RouterConfig { experts, policy, capacity, priority, .. } = self.0;
        let Some(top_k) = policy.top_k() else {
            return false;
        };
        let dropless = capacity.rows(1, experts, top_k, phase).is_none();
        dropless || priority == Priority::Slots || (priority == Priority::Ranks && top_k == 1)
    }

    /// Whether gates are normalised after dropping, by [`normalise_kept`](super::normalise_kept), as DeepSpeed's are.
    pub fn normalises_after_dropping(&self) -> bool {
        matches!(self.0.policy, Policy::DeepSpeedTop2 { .. })
    }

    /// Random numbers that a routing needs: uniform ones of `[0, 1)`, or normal ones for noisy top-k.
    pub fn draws_len(&self, phase: Phase, tokens: usize) -> usize {
        let per_token = |recipe: Recipe| recipe.draws_per_token(self.0.experts as usize);
        self.0.policy.recipe(phase).map_or(0, |recipe| tokens.saturating_mul(per_token(recipe)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moe::SoftmaxOver;

    #[test]
    fn every_invalid_setting_is_its_own_error() {
        let base = RouterConfig { experts: 4, ..RouterConfig::default() };
        let policy = |policy| RouterConfig { policy, ..base };
        let number = |what, value, expected| RouterError::Number { what, value, expected };
        let deepseek = |expert_groups, kept_groups, scale| Policy::DeepSeekV3 {
            top_k: 2,
            expert_groups,
            kept_groups,
            normalise: true,
            scale,
        };
        let capped = |cap, temperature, rounds| RouterConfig {
            capacity: CapacityRule::ExpertChoice(ByPhase::both(1.0)),
            ..policy(Policy::CappedExpertChoice { cap, temperature, rounds })
        };
        let switch =
            |temperature| Policy::Switch { choice: ByPhase::both(SwitchChoice::Sample { temperature }) };
        let (positive, least) = ("a positive number", "at least 0");
        let groups = |groups, kept| RouterError::ExpertGroups { groups, kept, experts: 4 };
        let cases = [
            (RouterConfig { experts: 0, ..base }, RouterError::NoExperts),
            (policy(Policy::Olmoe { top_k: 0 }), RouterError::TopK { top_k: 0, experts: 4 }),
            (policy(Policy::Mixtral { top_k: 5 }), RouterError::TopK { top_k: 5, experts: 4 }),
            (
                RouterConfig {
                    experts: 1,
                    ..policy(Policy::GShard { second: ByPhase::both(SecondExpert::All) })
                },
                RouterError::TopK { top_k: 2, experts: 1 },
            ),
            (policy(switch(0.0)), number("temperature", 0.0, positive)),
            (
                policy(Policy::Mesh { top_k: 2, others: ByPhase::both(SecondExpert::Random(0.0)) }),
                number("threshold", 0.0, positive),
            ),
            (
                policy(Policy::GShard { second: ByPhase::both(SecondExpert::Threshold(-0.5)) }),
                number("threshold", -0.5, least),
            ),
            (policy(deepseek(3, 1, 1.0)), groups(3, 1)),
            (policy(deepseek(4, 1, 1.0)), groups(4, 1)),
            (policy(deepseek(0, 0, 1.0)), groups(0, 0)),
            (policy(deepseek(2, 3, 1.0)), groups(2, 3)),
            (policy(deepseek(2, 1, 0.0)), number("gate scale", 0.0, positive)),
            (
                policy(Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Learned { least: -1.0 } }),
                number("least noise", -1.0, least),
            ),
            (
                policy(Policy::NoisyTopK { top_k: 1, noise: NoiseScale::Fixed(0.0) }),
                number("noise", 0.0, positive),
            ),
            (policy(Policy::ExpertChoice { softmax: SoftmaxOver::Experts }), RouterError::NeedsCapacity),
            (capped(0, 1.0, 1), number("cap", 0.0, positive)),
            (capped(1, -1.0, 1), number("temperature", -1.0, positive)),
            (capped(1, 1.0, 0), number("rounds", 0.0, positive)),
            (
                RouterConfig { capacity: CapacityRule::Switch(ByPhase::both(-1.0)), ..base },
                number("capacity factor", -1.0, "a finite number of at least 0"),
            ),
            (
                RouterConfig { input_noise: InputNoise::Jitter(1.0), ..base },
                number("jitter", 1.0, "a number of [0, 1)"),
            ),
            (
                RouterConfig { input_noise: InputNoise::Dropout(-0.1), ..base },
                number("input dropout", -0.1, "a number of [0, 1)"),
            ),
            (RouterConfig { groups: Groups::AtMost(0), ..base }, number("group size", 0.0, "at least 1")),
        ];
        for (config, expected) in cases {
            assert_eq!(config.check(), Err(expected), "{config:?}");
        }
        assert_eq!(base.check().map(|router| *router.config()), Ok(base));
        let nan = RouterConfig { input_noise: InputNoise::Jitter(f64::NAN), ..base };
        assert!(nan.check().is_err());
    }

    #[test]
    fn groups_are_equal_and_as_few_as_possible() {
        let group_tokens = |groups, tokens| {
            let router = RouterConfig { groups, ..RouterConfig::default() }.check().unwrap();
            router.shape(Phase::Eval, tokens).map(|shape| shape.group_tokens)
        };
        assert_eq!(group_tokens(Groups::One, 100), Ok(100));
        assert_eq!(group_tokens(Groups::AtMost(30), 100), Ok(25));
        assert_eq!(group_tokens(Groups::AtMost(100), 100), Ok(100));
        assert_eq!(group_tokens(Groups::AtMost(4), 7), Ok(1));
        assert_eq!(group_tokens(Groups::AtMost(4), 0), Ok(0));
        assert_eq!(group_tokens(Groups::Exactly(20), 100), Ok(20));
        let error = RouterError::GroupTokens { tokens: 100, group_tokens: 30 };
        assert_eq!(group_tokens(Groups::Exactly(30), 100), Err(error));
    }
}
