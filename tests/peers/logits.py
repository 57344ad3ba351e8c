"""mixlet's logits beside those of transformers: small random models of every architecture, in many settings.

Each model is made by transformers, saved, and run by `mixlet lm logits` on the same ids: one sequence, two with padding
on the right, two with padding on the left where the model has no encoder. Weights are random with routers that decide
clearly, so a difference is an error of one of the two. Float32 on both sides; the largest difference of a logit counts.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL = 5e-5
VOCAB = 96
SMALL = dict(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
             max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
GROUPED = dict(num_key_value_heads=2)
QWEN_MOE = dict(SMALL, **GROUPED, moe_intermediate_size=24, num_experts=6, num_experts_per_tok=2)
DEEPSEEK = dict(SMALL, num_key_value_heads=4, moe_intermediate_size=24, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=1,
                n_group=4, topk_group=2, first_k_dense_replace=1, q_lora_rank=12, kv_lora_rank=8, qk_nope_head_dim=8,
                qk_rope_head_dim=4, v_head_dim=8)
GPT_OSS = dict(SMALL, **GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=4)
T5 = dict(vocab_size=VOCAB, d_model=32, d_kv=8, d_ff=40, num_layers=2, num_heads=4, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
SWITCH = dict(T5, num_layers=4, num_decoder_layers=4, num_sparse_encoder_layers=2, num_sparse_decoder_layers=2, num_experts=4,
              expert_capacity=16)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16, beta_fast=32.0, beta_slow=1.0)

# What a row is called, the class of its configuration, and its settings.
MODELS = [
    ("llama", "LlamaConfig", SMALL),
    ("llama, grouped heads, tied", "LlamaConfig", dict(SMALL, **GROUPED, tie_word_embeddings=True)),
    ("llama, heads of 12, biases", "LlamaConfig", dict(SMALL, **GROUPED, head_dim=12, attention_bias=True)),
    ("llama, positions of llama 3", "LlamaConfig", dict(SMALL, rope_parameters=LLAMA3)),
    ("llama, linear positions", "LlamaConfig", dict(SMALL, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0))),
    ("llama, yarn", "LlamaConfig", dict(SMALL, rope_parameters=YARN)),
    ("mistral, window of 4", "MistralConfig", dict(SMALL, **GROUPED, sliding_window=4)),
    ("qwen2", "Qwen2Config", dict(SMALL, **GROUPED)),
    ("qwen3, heads of 12", "Qwen3Config", dict(SMALL, **GROUPED, head_dim=12)),
    ("mixtral", "MixtralConfig", dict(SMALL, **GROUPED, num_local_experts=4, num_experts_per_tok=2)),
    ("mixtral, window of 4, top 3", "MixtralConfig",
     dict(SMALL, **GROUPED, num_local_experts=6, num_experts_per_tok=3, sliding_window=4)),
    ("olmoe", "OlmoeConfig", dict(SMALL, num_experts=8, num_experts_per_tok=3)),
    ("olmoe, renormalised", "OlmoeConfig", dict(SMALL, **GROUPED, num_experts=8, num_experts_per_tok=3, norm_topk_prob=True)),
    ("qwen2-moe", "Qwen2MoeConfig", dict(QWEN_MOE, shared_expert_intermediate_size=48)),
    ("qwen2-moe, some layers dense", "Qwen2MoeConfig",
     dict(QWEN_MOE, shared_expert_intermediate_size=48, decoder_sparse_step=2, norm_topk_prob=True)),
    ("qwen3-moe", "Qwen3MoeConfig", dict(QWEN_MOE, head_dim=8)),
    ("qwen3-moe, renormalised, a dense layer", "Qwen3MoeConfig",
     dict(QWEN_MOE, head_dim=12, norm_topk_prob=True, mlp_only_layers=[1])),
    ("deepseek-v3", "DeepseekV3Config", DEEPSEEK),
    ("deepseek-v3, no query rank, one group", "DeepseekV3Config",
     dict(DEEPSEEK, q_lora_rank=None, n_group=1, topk_group=1, norm_topk_prob=False, n_shared_experts=2)),
    ("deepseek-v3, yarn", "DeepseekV3Config",
     dict(DEEPSEEK, rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=1.0))),
    ("gpt-oss", "GptOssConfig", GPT_OSS),
    ("gpt-oss, top 3, no window", "GptOssConfig",
     dict(GPT_OSS, num_local_experts=6, num_experts_per_tok=3, layer_types=["full_attention"] * 3)),
    ("t5 v1.0", "T5Config", dict(T5, feed_forward_proj="relu")),
    ("t5 v1.1", "T5Config", dict(T5, feed_forward_proj="gated-gelu", num_decoder_layers=3)),
    ("switch", "SwitchTransformersConfig", SWITCH),
    ("switch, all layers sparse, drops", "SwitchTransformersConfig",
     dict(SWITCH, num_sparse_encoder_layers=4, num_sparse_decoder_layers=4, expert_capacity=3)),
]


def model_of(config, seed):
    """A random model whose numbers stay near one and whose routers decide clearly."""
    import torch
    import transformers

    has_encoder = config.is_encoder_decoder
    auto = transformers.AutoModelForSeq2SeqLM if has_encoder else transformers.AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager").eval()
    chance = torch.Generator().manual_seed(seed)
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if "inv_freq" in name:
            continue
        noise = torch.randn(values.shape, generator=chance)
        router = "router" in name or name.endswith("gate.weight")
        if values.dim() == 1:
            # Norms near one, biases near nothing.
            values.data = ("norm" in name or "ln" in name) * 1.0 + 0.1 * noise
        else:
            values.data = noise * (2.0 if router else 1.0) / values.shape[-1] ** 0.5
    model.tie_weights()
    return model.to(torch.float32)


def batches(has_encoder, chance):
    """Names, ids and masks."""
    import torch

    ids = torch.randint(3, VOCAB, (2, 14), generator=chance)
    right, left = torch.ones_like(ids), torch.ones_like(ids)
    right[1, 9:], left[1, :5] = 0, 0
    yield "one", ids[:1], torch.ones_like(ids[:1])
    yield "right", ids * right, right
    if not has_encoder:
        yield "left", ids * left, left


def difference(mixlet, folder, model, ids, mask, chance):
    """The largest difference over tokens that are not padding."""
    import torch
    from safetensors.torch import load_file, save_file

    inputs = {"input_ids": ids, "attention_mask": mask}
    counted = mask.bool()
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(3, VOCAB, (len(ids), 7), generator=chance)
        counted = torch.ones_like(inputs["decoder_input_ids"]).bool()
    save_file(inputs, folder / "in.safetensors")
    given = dict(inputs)
    if not model.config.is_encoder_decoder:
        given["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        expected = model(**given).logits
    command = [mixlet, "lm", "logits", folder, "--input", folder / "in.safetensors", "--output", folder / "out.safetensors", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1]
    found = load_file(folder / "out.safetensors")["logits"]
    return (found - expected)[counted].abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logits", action="store_true", help="this table")
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--seeds", type=int, default=2, help="models of each setting [2]")
    parser.add_argument("--mixlet", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    wrong = 0
    print(f"{'model':<40} {'seed':>4}  largest difference of a logit: one, padded right, padded left")
    for name, kind, settings in MODELS:
        for seed in range(options.seeds if options.only in name else 0):
            model = model_of(getattr(transformers, kind)(**settings), seed)
            chance = torch.Generator().manual_seed(1000 + seed)
            found = []
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                for _, ids, mask in batches(model.config.is_encoder_decoder, chance):
                    found.append(difference(options.mixlet, Path(folder), model, ids, mask, chance))
            good = all(isinstance(value, float) and value <= GOAL for value in found)
            wrong += not good
            shown = "  ".join(f"{value:.1e}" if isinstance(value, float) else value for value in found)
            print(f"{name:<40} {seed:>4}  {shown}{'' if good else '  WRONG'}", flush=True)
    if wrong:
        sys.exit(f"{wrong} models differ by more than {GOAL}")


if __name__ == "__main__":
    main()
