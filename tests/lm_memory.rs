//! What a model is said to need is what it takes: every allocation of a run is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use mixlet_runtime::error::Result;
use mixlet_runtime::models::forward::{Session, Tokens, Wanted};
use mixlet_runtime::models::memory::MemoryNeed;
use mixlet_runtime::models::tensor::Tensor;
use mixlet_runtime::models::weights::TensorSource;
use mixlet_runtime::models::{Model, ModelConfig, Reading, Weights};

static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
/// One run is measured at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

impl Counting {
    fn add(bytes: usize) {
        let live = LIVE.fetch_add(bytes as i64, Ordering::Relaxed) + bytes as i64;
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator; the counters neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise; the memory came from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Small numbers, some of either sign.
struct Made;

impl TensorSource for Made {
    fn tensor(&mut self, _: &str, shape: &[usize]) -> Result<Tensor> {
        let value = |nth: usize| (nth * 7919 % 101) as f32 / 500.0 - 0.1;
        Ok(Tensor::of_f32((0..shape.iter().product()).map(value).collect(), shape))
    }
}

fn model(text: &str) -> Model {
    let config = ModelConfig::from_hf(text).unwrap();
    let weights = Weights::build(&config, &mut Made).unwrap();
    Model { config, weights }
}

/// Bytes that a run takes at most, besides the weights.
fn taken(model: &Model, reading: Reading, wanted: Wanted, threads: usize) -> i64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let ids =
            |tokens: usize| (0..(reading.sequences * tokens) as u32).map(|nth| nth % 90).collect::<Vec<_>>();
        let (input, output) = (ids(reading.encoder), ids(reading.decoder.unwrap()));
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let mut session = Session::new(model, reading.sequences, reading.decoder.unwrap()).unwrap();
        if reading.encoder > 0 {
            session.encode(Tokens { ids: &input, real: None }, &mut ()).unwrap();
        }
        session.decode(Tokens { ids: &output, real: None }, &mut ()).unwrap();
        let mut logits = Vec::new();
        session.logits(wanted, &mut logits).unwrap();
        PEAK.load(Ordering::Relaxed) - before
    })
}

const SWITCH: &str = r#"{"model_type": "switch_transformers", "vocab_size": 3000, "d_model": 128, "d_kv": 32, "d_ff": 512,
    "num_layers": 4, "num_heads": 4, "num_experts": 8, "expert_capacity": 64, "encoder_sparse_step": 2,
    "decoder_sparse_step": 2}"#;
const OLMOE: &str = r#"{"model_type": "olmoe", "vocab_size": 5000, "hidden_size": 256, "num_hidden_layers": 3,
    "num_attention_heads": 8, "num_experts": 16, "num_experts_per_tok": 4, "intermediate_size": 192,
    "max_position_embeddings": 4096, "tie_word_embeddings": false}"#;
const DEEPSEEK: &str = r#"{"model_type": "deepseek_v3", "vocab_size": 2000, "hidden_size": 256, "num_hidden_layers": 3,
    "num_attention_heads": 8, "num_key_value_heads": 8, "n_routed_experts": 16, "num_experts_per_tok": 4, "n_group": 4,
    "topk_group": 2, "intermediate_size": 512, "moe_intermediate_size": 128, "n_shared_experts": 1, "q_lora_rank": 64,
    "kv_lora_rank": 64, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32, "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.0, "max_position_embeddings": 4096, "norm_topk_prob": true}"#;

#[test]
fn a_run_takes_no_more_than_it_is_said_to_and_not_much_less() {
    let _alone = ALONE.lock().unwrap();
    for (text, encoder) in [(SWITCH, 300), (OLMOE, 0), (DEEPSEEK, 0)] {
        let model = model(text);
        for (sequences, decoder, wanted) in
            [(1, 400, Wanted::All), (3, 500, Wanted::Last), (2, 1, Wanted::Last)]
        {
            for threads in [1, 2] {
                let reading = Reading { sequences, encoder, decoder: Some(decoder) };
                let taken = taken(&model, reading, wanted, threads) as u64;
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let need = pool.install(|| MemoryNeed::of_config(&model.config, 4, reading, wanted)).unwrap();
                let said = need.cache + need.buffers;
                let facts = format!("{reading:?}, {wanted:?}, {threads} threads: {taken} of {need:?}");
                println!("{:?}: {:.2} {facts}", model.config.architecture, said as f64 / taken as f64);
                assert!(taken <= said, "{facts}");
                assert!(decoder == 1 || said <= 8 * taken, "{facts}");
            }
        }
    }
}
