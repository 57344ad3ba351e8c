//! Prompts of different lengths as one batch.

use crate::models::ModelConfig;
use crate::models::forward::Tokens;

/// Prompts of one length each, by padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompts {
    /// How many.
    pub sequences: usize,
    /// `[sequences, tokens]`.
    pub ids: Vec<u32>,
    /// `[sequences, tokens]`: false for padding; `None` where all have the same length.
    pub real: Option<Vec<bool>>,
}

impl Prompts {
    /// Pads some prompts for a model: on the left where the model writes on behind them, on the right where an encoder reads
    /// them (there padding must not take the places of experts from what stands before it).
    ///
    /// ```
    /// # use mixlet_runtime::models::{ModelConfig, generate::Prompts};
    /// let text = r#"{"model_type": "t5", "vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}"#;
    /// let t5 = ModelConfig::from_hf(text).unwrap();
    /// let prompts = Prompts::new(&t5, &[vec![5, 6], vec![7]]);
    /// assert_eq!((prompts.ids, prompts.real), (vec![5, 6, 7, 0], Some(vec![true, true, true, false])));
    /// let decoder = Prompts::new(&ModelConfig { encoder: None, ..t5 }, &[vec![5, 6], vec![7]]);
    /// assert_eq!(decoder.ids, [5, 6, 0, 7]);
    /// ```
    pub fn new(config: &ModelConfig, prompts: &[Vec<u32>]) -> Self {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let pad = config.ids.pad.unwrap_or(0);
        let (mut ids, mut real) = (Vec::new(), Vec::new());
        for prompt in prompts {
            let missing = longest - prompt.len();
            let left = if config.encoder.is_some() { 0 } else { missing };
            let places = [(left, false), (prompt.len(), true), (missing - left, false)];
            real.extend(places.into_iter().flat_map(|(count, is_real)| std::iter::repeat_n(is_real, count)));
            ids.extend(std::iter::repeat_n(pad, left));
            ids.extend(prompt);
            ids.extend(std::iter::repeat_n(pad, missing - left));
        }
        let real = Some(real).filter(|real| real.contains(&false));
        Self { sequences: prompts.len(), ids, real }
    }

    /// The ids and their mask.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens { ids: &self.ids, real: self.real.as_deref() }
    }
}
