//! Buffers of a session, kept from run to run.

/// Buffers, each as long as the longest run so far needed it.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// A block's input after its norm.
    pub normed: Vec<f32>,
    /// What a block adds.
    pub out: Vec<f32>,
    /// Queries.
    pub q: Vec<f32>,
    /// Keys of the run's tokens.
    pub k: Vec<f32>,
    /// Values of the run's tokens.
    pub v: Vec<f32>,
    /// What attention gives, before the projection back.
    pub attended: Vec<f32>,
    /// Products with the matrices of low rank, and their norm.
    pub low: [Vec<f32>; 3],
    /// Biases by distance of all heads, for the whole stack.
    pub biases: Vec<f32>,
    /// What a mixture works in.
    pub mixture: MixtureSpace,
}

/// Buffers of a mixture.
#[derive(Debug, Default)]
pub(super) struct MixtureSpace {
    /// The router's logits.
    pub logits: Vec<f32>,
    /// The routing's reals.
    pub reals: Vec<f32>,
    /// The routing's integers.
    pub integers: Vec<u32>,
    /// The order of places.
    pub order: Vec<u32>,
    /// The plan.
    pub plan: Vec<u32>,
    /// Gates that are normalised after dropping.
    pub kept: Vec<f32>,
    /// Tokens by expert.
    pub rows: Vec<f32>,
    /// What the experts make of them.
    pub outputs: Vec<f32>,
    /// What the shared expert gives, and its weights.
    pub shared: [Vec<f32>; 2],
}
