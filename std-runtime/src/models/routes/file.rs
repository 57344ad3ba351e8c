//! Routes as a safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::{Choices, Fingerprint, Place, Routes, Slot};
use crate::error::{Error, Result, RoutesProblem, TensorProblem};
use crate::models::checkpoint::{TensorFile, nearest};
use crate::models::config::{Block, Stack};
use crate::models::forward::Side;
use crate::models::{Model, ModelConfig};
use crate::output::write_file;

/// What the header calls the content, and its version.
const FORMAT: (&str, &str) = ("format", "mixlet routes 1");
/// The keys of the fingerprint.
const MODEL: [&str; 2] = ["model", "routers"];
/// The expert of a slot that has none.
const NO_EXPERT: i32 = -1;
/// The place of a slot that a token does not have.
const NO_SLOT: u8 = u8::MAX;

/// The parts of a mixture: their names, kinds, and what they are called in errors.
const PARTS: [(&str, Dtype, &str); 3] =
    [("experts", Dtype::I32, "I32"), ("gates", Dtype::F32, "F32"), ("places", Dtype::U8, "U8")];

impl Routes {
    /// Writes a safetensors file, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::new();
        for ((side, layer), sequences) in &self.mixtures {
            let (shape, bytes) = table(sequences);
            for ((part, dtype, _), bytes) in PARTS.into_iter().zip(bytes) {
                tensors.push((name(*side, *layer, part), dtype, shape.clone(), bytes));
            }
        }
        let Fingerprint { model, routers } = self.fingerprint;
        let [model, routers] =
            [(MODEL[0], model), (MODEL[1], routers)].map(|(key, sum)| (key, format!("{sum:016x}")));
        let metadata = [(FORMAT.0, FORMAT.1.to_owned()), model, routers];
        let metadata = HashMap::from(metadata.map(|(key, value)| (key.to_owned(), value)));
        write_file(path, |out| {
            let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
                Ok((name.clone(), TensorView::new(*dtype, shape.clone(), bytes)?))
            });
            let views = views.collect::<Result<Vec<_>, SafeTensorError>>();
            let file = views.and_then(|views| serialize(views, Some(metadata))).map_err(io::Error::other)?;
            out.write_all(&file)
        })
    }

    /// Reads what [`write`](Self::write) left, for a model of the same sizes.
    ///
    /// That its routers had the same weights is for the caller to ask: [`Fingerprint::of`].
    pub fn read(path: &Path, model: &Model) -> Result<Self> {
        let problem = |problem| Error::Tensor { path: path.to_owned(), problem };
        let file = TensorFile::open(path)?;
        let metadata = file.metadata();
        let key = |key: &str| metadata.get(key).map(String::as_str);
        if key(FORMAT.0) != Some(FORMAT.1) {
            return Err(problem(TensorProblem::Routes(RoutesProblem::NotRoutes)));
        }
        let [sizes, routers] = MODEL.map(|name| key(name).and_then(|sum| u64::from_str_radix(sum, 16).ok()));
        let own = Fingerprint::of(model);
        if sizes != Some(own.model) {
            return Err(problem(TensorProblem::Routes(RoutesProblem::OtherModel)));
        }
        let mut mixtures = BTreeMap::new();
        let mut stacks = BTreeMap::new();
        for (side, layer, experts) in routers_of(&model.config) {
            let reader = Reader { file: &file, side, layer, experts };
            let shape = *stacks.entry(side).or_insert(reader.shape().map_err(problem)?);
            mixtures.insert((side, layer), reader.choices(shape).map_err(problem)?);
        }
        let sequences = mixtures.values().next().map_or(0, Vec::len);
        if let Some(other) = mixtures.values().find(|choices| choices.len() != sequences) {
            let (found, expected) = (other.len(), sequences);
            return Err(problem(TensorProblem::Routes(RoutesProblem::Sequences { found, expected })));
        }
        let fingerprint = Fingerprint { model: own.model, routers: routers.unwrap_or(0) };
        Ok(Self { fingerprint, sequences, mixtures })
    }
}

fn name(side: Side, layer: usize, part: &str) -> String {
    format!("{}.{layer}.{part}", side.name())
}

/// The mixtures of a model: stack, layer, experts.
fn routers_of(config: &ModelConfig) -> impl Iterator<Item = (Side, usize, u32)> {
    let stacks = config.encoder.iter().map(|stack| (Side::Encoder, stack));
    let layers = |(side, stack): (Side, &Stack)| {
        let experts = |block: &Block| match block {
            Block::Experts(experts) => Some(experts.router.experts),
            _ => None,
        };
        let layers = stack.layers.iter().map(|layer| layer.blocks.iter().find_map(experts)).enumerate();
        let found: Vec<_> = layers.filter_map(|(nth, experts)| Some((side, nth, experts?))).collect();
        found
    };
    stacks.chain([(Side::Decoder, &config.decoder)]).flat_map(layers)
}

/// The shape of a mixture's tensors, and the bytes of each.
fn table(sequences: &[Choices]) -> (Vec<usize>, [Vec<u8>; 3]) {
    let tokens = sequences.first().map_or(0, |choices| choices.counts.len());
    let counts = sequences.iter().flat_map(|choices| &choices.counts);
    let width = counts.copied().max().unwrap_or(0) as usize;
    let [mut experts, mut gates, mut places] = [const { Vec::new() }; 3];
    for choices in sequences {
        let mut slots = choices.slots.iter();
        for count in &choices.counts {
            let own = slots.by_ref().take(*count as usize).map(Some);
            for slot in own.chain(std::iter::repeat(None)).take(width) {
                let has_expert = slot.filter(|slot| slot.place != Place::Padding);
                let expert = has_expert.map_or(NO_EXPERT, |slot| slot.expert as i32);
                experts.extend(expert.to_le_bytes());
                gates.extend(slot.map_or(0.0, |slot| slot.gate).to_le_bytes());
                places.push(slot.map_or(NO_SLOT, |slot| slot.place as u8));
            }
        }
    }
    (vec![sequences.len(), tokens, width], [experts, gates, places])
}

/// One mixture of a file.
struct Reader<'a> {
    file: &'a TensorFile,
    side: Side,
    layer: usize,
    experts: u32,
}

impl Reader<'_> {
    /// Sequences and tokens.
    fn shape(&self) -> Result<[usize; 2], TensorProblem> {
        let (_, shape, _) = self.part(0)?;
        match *shape {
            [sequences, tokens, width] if width > 0 => Ok([sequences, tokens]),
            // Without slots a header could claim any number of tokens.
            _ => {
                let (name, found) = (name(self.side, self.layer, PARTS[0].0), shape.to_vec());
                Err(TensorProblem::Shape { name, found, expected: vec![1, 1, 1] })
            }
        }
    }

    fn part(&self, nth: usize) -> Result<(Dtype, &[usize], &[u8]), TensorProblem> {
        let (part, dtype, expected) = PARTS[nth];
        let name = name(self.side, self.layer, part);
        match self.file.get(&name) {
            Some(tensor) if tensor.0 == dtype => Ok(tensor),
            Some((found, ..)) => Err(TensorProblem::Dtype { name, found: found.to_string(), expected }),
            None => {
                let nearest = nearest(&name, self.file.names()).map(str::to_owned);
                Err(TensorProblem::Missing { name, nearest })
            }
        }
    }

    fn choices(&self, [sequences, tokens]: [usize; 2]) -> Result<Vec<Choices>, TensorProblem> {
        let width = self.part(0)?.1.last().copied().unwrap_or(0);
        let expected = vec![sequences, tokens, width];
        for (nth, (part, ..)) in PARTS.into_iter().enumerate() {
            let (_, shape, _) = self.part(nth)?;
            if shape != expected {
                let (name, found) = (name(self.side, self.layer, part), shape.to_vec());
                return Err(TensorProblem::Shape { name, found, expected });
            }
        }
        let experts = self.part(0)?.2.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word));
        let gates = self.part(1)?.2.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word));
        let mut slots = experts.zip(gates).zip(self.part(2)?.2);
        let mut all = Vec::with_capacity(sequences.min(slots.len()));
        for _ in 0..sequences {
            let mut choices = Choices::default();
            for _ in 0..tokens {
                let before = choices.slots.len();
                for ((expert, gate), place) in slots.by_ref().take(width) {
                    choices.slots.extend(self.slot(expert, gate, *place)?);
                }
                choices.counts.push((choices.slots.len() - before) as u32);
            }
            all.push(choices);
        }
        Ok(all)
    }

    /// A slot; `None` where a token has no more.
    fn slot(&self, expert: i32, gate: f32, place: u8) -> Result<Option<Slot>, TensorProblem> {
        let wrong = |nth: usize, found: i64, below: usize| {
            let name = name(self.side, self.layer, PARTS[nth].0);
            TensorProblem::Id { name, found, below }
        };
        let place = match place {
            NO_SLOT => return Ok(None),
            0 => Place::Kept,
            1 => Place::Dropped,
            2 => Place::Unsent,
            3 => Place::Padding,
            other => return Err(wrong(2, other.into(), 4)),
        };
        let known = u32::try_from(expert).ok().filter(|expert| *expert < self.experts);
        let expert = match (known, place) {
            (_, Place::Padding) => 0,
            (Some(expert), _) => expert,
            (None, _) => return Err(wrong(0, expert.into(), self.experts as usize)),
        };
        Ok(Some(Slot { expert, gate, place }))
    }
}
