//! The parameters of networks and of mixtures of them.

use mixlet_core::moe::Policy;

use super::{Build, Linear, Part, TensorSource};
use crate::error::Result;
use crate::models::config::{Experts, Network};
use crate::models::names::{ExpertNames, NetworkNames};

/// The parameters of a network.
#[derive(Debug)]
pub struct NetworkWeights {
    /// `[ffn_dim, model_dim]`, where the network is gated.
    pub gate: Option<Linear>,
    /// `[ffn_dim, model_dim]`.
    pub up: Linear,
    /// `[model_dim, ffn_dim]`.
    pub down: Linear,
}

/// The parameters of a mixture.
#[derive(Debug)]
pub struct ExpertsWeights {
    /// `[experts, model_dim]`, in `f32` whatever the file holds.
    pub router: Vec<f32>,
    /// `[experts]`; empty where there is none.
    pub router_bias: Vec<f32>,
    /// `[experts]`: added to scores for the choice alone; empty where there is none.
    pub choice_bias: Vec<f32>,
    /// Every expert.
    pub experts: Vec<NetworkWeights>,
    /// The one for every token.
    pub shared: Option<NetworkWeights>,
    /// `[1, model_dim]`: what weighs it.
    pub shared_gate: Option<Vec<f32>>,
}

impl<S: TensorSource> Build<'_, S> {
    pub(super) fn network(
        &mut self,
        part: Part,
        network: &Network,
        names: &NetworkNames,
        prefix: &str,
    ) -> Result<NetworkWeights> {
        let (wide, model_dim) = (network.ffn_dim, self.config.model_dim);
        let gated = network.kind.is_gated();
        let mut to =
            |name: &str, shape| self.linear_of(part, &format!("{prefix}{name}"), shape, network.bias);
        Ok(NetworkWeights {
            gate: gated.then(|| to(names.gate, [wide, model_dim])).transpose()?,
            up: to(if gated { names.up } else { names.only_up }, [wide, model_dim])?,
            down: to(names.down, [model_dim, wide])?,
        })
    }

    pub(super) fn experts(&mut self, experts: &Experts, prefix: &str) -> Result<ExpertsWeights> {
        let (names, model_dim) = (self.names, self.config.model_dim);
        let count = experts.router.experts as usize;
        let router = format!("{prefix}{}", names.router);
        let has_choice_bias = matches!(experts.router.policy, Policy::DeepSeekV3 { .. });
        let choice_bias = format!("{prefix}{}", names.choice_bias);
        let shared_prefix = format!("{prefix}{}", names.shared);
        let gate = experts.shared.filter(|shared| shared.gated);
        Ok(ExpertsWeights {
            router: self.table(&router, [count, model_dim])?,
            router_bias: self.vector_if(experts.router_bias, &format!("{router}.bias"), count)?,
            choice_bias: self.vector_if(has_choice_bias, &choice_bias, count)?,
            experts: self.each_expert(&experts.network, count, prefix)?,
            shared: experts
                .shared
                .map(|shared| self.network(Part::Layer, &shared.network, &names.network, &shared_prefix))
                .transpose()?,
            shared_gate: gate
                .map(|_| self.table(&format!("{prefix}{}", names.shared_gate), [1, model_dim]))
                .transpose()?,
        })
    }

    /// A vector, or an empty one.
    fn vector_if(&mut self, wanted: bool, name: &str, len: usize) -> Result<Vec<f32>> {
        if wanted { self.vector(name, len) } else { Ok(Vec::new()) }
    }

    fn each_expert(&mut self, network: &Network, count: usize, prefix: &str) -> Result<Vec<NetworkWeights>> {
        let (inner, names) = match self.names.experts {
            ExpertNames::Stacked { gate_up, down, .. } if self.source.has(&format!("{prefix}{gate_up}")) => {
                return self.each_of_stacks(
                    network,
                    count,
                    [gate_up, down].map(|name| format!("{prefix}{name}")),
                );
            }
            ExpertNames::Separate { prefix, network } | ExpertNames::Stacked { prefix, network, .. } => {
                (prefix, network)
            }
        };
        let prefix = |nth: usize| format!("{prefix}{}", inner.replace("{expert}", &nth.to_string()));
        (0..count).map(|nth| self.network(Part::Expert, network, &names, &prefix(nth))).collect()
    }

    fn each_of_stacks(
        &mut self,
        network: &Network,
        count: usize,
        [gate_up, down]: [String; 2],
    ) -> Result<Vec<NetworkWeights>> {
        let (wide, model_dim) = (network.ffn_dim, self.config.model_dim);
        let gates = self.stacked(&gate_up, (count, (model_dim, 2 * wide), 2), network.bias)?;
        let downs = self.stacked(&down, (count, (wide, model_dim), 1), network.bias)?;
        let expert = |(mut gate_up, mut down): (Vec<Linear>, Vec<Linear>)| {
            let (up, down) = (gate_up.pop()?, down.pop()?);
            Some(NetworkWeights { gate: gate_up.pop(), up, down })
        };
        Ok(gates.into_iter().zip(downs).filter_map(expert).collect())
    }

    /// Of a tensor `[experts, inputs, outputs]` the matrices of each expert: `turns` of them, whose outputs take turns.
    fn stacked(
        &mut self,
        name: &str,
        (count, (inputs, outputs), turns): (usize, (usize, usize), usize),
        bias: bool,
    ) -> Result<Vec<Vec<Linear>>> {
        let tensor = self.source.tensor(name, &[count, inputs, outputs])?;
        let biases =
            bias.then(|| self.source.tensor(&format!("{name}_bias"), &[count, outputs])).transpose()?;
        let biases = biases.map(|biases| biases.to_f32());
        let linear = |expert: usize, first: usize| {
            let own = biases.as_ref().map(|biases| biases.chunks(outputs).nth(expert).unwrap_or_default());
            let bias = own.map(|own| own.iter().skip(first).step_by(turns).copied().collect());
            Linear { matrix: tensor.across(expert, (first, turns)), bias }
        };
        Ok((0..count).map(|expert| (0..turns).map(|first| linear(expert, first)).collect()).collect())
    }
}
