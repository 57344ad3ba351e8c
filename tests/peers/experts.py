"""mixlet's experts beside PyTorch's and candle's on the CPU: one table.

A row is a pass over the networks of all experts, tokens already grouped: two matrices, tanh GELU, `model_dim` 1024,
two experts a token, weights that cycle through at least 256 MB. mixlet is `cargo bench --bench experts`, PyTorch
`torch._grouped_mm` and a loop over the experts hit, candle a loop too: its fused kernel needs a GPU. The methods of
a row are measured one after the other, and all rows `--repeats` times; times are medians.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODEL_DIM = 1024
CYCLE = 1 << 28
SHAPES = [(8, 512), (8, 4096), (64, 512), (64, 4096)]
METHODS = ["mixlet", "torch grouped", "torch loop", "candle loop"]


# --- Measuring: the parent ---


def run(command, threads):
    """The standard output of a child with so many threads."""
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]
    environment = {**os.environ, **{name: str(threads) for name in names}}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def milliseconds(method, row, options):
    form, experts, ffn_dim, tokens, routing, threads = row
    if method == "mixlet":
        words = [form, f"E={experts}", f"ff={ffn_dim}", f"tokens={tokens}", routing, f"threads={threads}"]
        header, line = run([*options.bench, *words], threads).strip().splitlines()[-2:]
        return float(dict(zip(header.split(), line.split()))["ms"])
    ends = run_ends(experts, tokens, routing)
    if method == "candle loop":
        command = [options.candle, form, experts, ffn_dim, ",".join(map(str, ends))]
    else:
        command = [sys.executable, __file__, "--child", method, form, experts, ffn_dim, threads, json.dumps(ends)]
    return json.loads(run([str(word) for word in command], threads))["ms"]


def run_ends(experts, tokens, routing):
    """Two experts for each token, as the ends of the experts' runs of rows."""
    chance = random.Random(7)
    weights = [1 / (expert + 1) if routing == "zipf" else 1.0 for expert in range(experts)]
    load = [0] * experts
    for _ in range(tokens):
        first = chance.choices(range(experts), weights)[0]
        others = [0.0 if expert == first else weight for expert, weight in enumerate(weights)]
        load[first] += 1
        load[chance.choices(range(experts), others)[0]] += 1
    return [sum(load[: expert + 1]) for expert in range(experts)]


def bench():
    """The command of mixlet's benchmark, built."""
    command = ["cargo", "bench", "-p", "mixlet-runtime", "--bench", "experts", "--no-run", "--message-format=json"]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    messages = [json.loads(line) for line in built]
    return [message["executable"] for message in messages if message.get("executable")][-1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", action="store_true", help="this table")
    parser.add_argument("--only", nargs="*", default=[], help="words a row must have: bf16 E=8 ff=512 tokens=1 zipf threads=2")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="times every row is measured [3]")
    parser.add_argument("--mixlet", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.bench = bench()
    options.candle = options.work / "candle" / "release" / "candle-experts"
    rows = [
        (form, experts, ffn_dim, tokens, routing, threads)
        for form in ["f32", "bf16"]
        for experts, ffn_dim in SHAPES
        for tokens in [1, 16, 256, 2048]
        for routing in ["uniform", "zipf"]
        for threads in [1, 2]
    ]
    print("weights  E  ff    tokens  routing  threads" + "".join(f"{method:>15}" for method in METHODS) + "  fastest peer / mixlet")
    for row in rows:
        form, experts, ffn_dim, tokens, routing, threads = row
        words = {form, f"E={experts}", f"ff={ffn_dim}", f"tokens={tokens}", routing, f"threads={threads}"}
        if not set(options.only) <= words:
            continue
        times = {method: [] for method in METHODS}
        for _ in range(options.repeats):
            for method in METHODS:
                times[method].append(milliseconds(method, row, options))
        medians = {method: statistics.median(values) for method, values in times.items()}
        peer = min(value for method, value in medians.items() if method != "mixlet")
        print(
            f"{form:<7} {experts:>2}  {ffn_dim:<4} {tokens:>7}  {routing:<7}  {threads:>7}"
            + "".join(f"{value:>12.2f} ms" for value in medians.values())
            + f"  {peer / medians['mixlet']:.2f}",
            flush=True,
        )


# --- PyTorch: the child ---


def child(method, form, experts, ffn_dim, threads, ends):
    import torch

    torch.set_num_threads(threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[form]
    layers = -(-CYCLE // (2 * experts * ffn_dim * MODEL_DIM * dtype.itemsize))

    def matrix(outputs, inputs):
        return (torch.randn(experts, outputs, inputs) * 0.02).to(dtype).transpose(-2, -1)

    weights = [(matrix(ffn_dim, MODEL_DIM), matrix(MODEL_DIM, ffn_dim)) for _ in range(layers)]
    x = torch.randn(ends[-1], MODEL_DIM).to(dtype)
    offsets = torch.tensor(ends, dtype=torch.int32)
    runs = [(expert, start, end) for expert, (start, end) in enumerate(zip([0, *ends], ends)) if end > start]

    def grouped(up, down):
        hidden = torch.nn.functional.gelu(torch._grouped_mm(x, up, offs=offsets), approximate="tanh")
        return torch._grouped_mm(hidden, down, offs=offsets)

    def loop(up, down):
        parts = [torch.nn.functional.gelu(x[start:end] @ up[e], approximate="tanh") @ down[e] for e, start, end in runs]
        return torch.cat(parts)

    forward = grouped if method == "torch grouped" else loop
    times, started = [], time.perf_counter()
    with torch.inference_mode():
        while len(times) < 5 or time.perf_counter() - started < 1.0:
            layer = weights[len(times) % layers]
            before = time.perf_counter()
            forward(*layer)
            times.append(time.perf_counter() - before)
    print(json.dumps({"ms": statistics.median(times) * 1e3}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        method, form, experts, ffn_dim, threads, ends = sys.argv[2:]
        child(method, form, int(experts), int(ffn_dim), int(threads), json.loads(ends))
    else:
        main()
