"""mixlet's language models beside llama.cpp's and PyTorch's (transformers) on the CPU: one table.

Random weights, the same for everyone: `mixtral` has 0.8 billion parameters, 8 experts, 2 for each token; `olmoe` 1.7
billion, 64 experts, 8 for each. Prefill reads 512 ids and computes the last one's logits; decoding writes 64 ids after
one, after the weights have been met: llama.cpp and PyTorch warm up before, mixlet's second 64 ids are counted. (Its prefill
meets them for the first time.) `start` is a whole process that writes one token, `peak` the largest resident memory of a process, mapped files included. The methods of a row are measured one after the other, and every row `--repeats` times: rates are medians,
ratios medians of the ratios of one repeat.
"""
import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PREFILL, DECODED = 512, 64
THREADS = [1, 2]
# Of mixlet, and what llama.cpp calls the closest; the first is what the others are compared with.
FORMATS = {"bf16": ["bf16"], "f16": ["f16"], "int8": ["q8_0"], "int4": ["q4_0", "q4_k"]}
TORCH = ["bf16"]
GENERATOR = Path("../shared/peers/lm/make_models.py")


# --- The models, each made when a row asks for it ---


class Models:
    def __init__(self, options):
        self.work, self.mixlet, self.tools = options.work / "lm", options.mixlet, options.work / "lm/build/bin"

    def made(self, path, make):
        """A file or folder that appears whole or not at all."""
        if not path.exists():
            print(f"making {path}", file=sys.stderr, flush=True)
            part = path.with_name("part-" + path.name)
            subprocess.run(["rm", "-rf", part], check=True)
            make(part)
            part.rename(path)
        return path

    def folder(self, model, form):
        """What mixlet runs, and PyTorch in bf16."""
        path = self.work / f"{model}-{form}"
        if form == "bf16":
            return self.made(path, lambda part: self.generate("hf", model, part))
        bf16 = self.folder(model, "bf16")
        if form == "f16":
            return self.made(path, lambda part: quiet([sys.executable, __file__, "--child", "narrow", bf16, part]))
        command = [self.mixlet, "lm", "quantize", bf16]
        return self.made(path, lambda part: quiet([*command, part, "--weights", form, "--only", "all"]))

    def gguf(self, model, form):
        """What llama.cpp runs: every matrix in one format."""
        path = self.work / f"{model}-{form}.gguf"
        if form == "bf16":
            return self.made(path, lambda part: self.generate("gguf", model, part))
        command = [self.tools / "llama-quantize", "--pure", self.gguf(model, "bf16")]
        return self.made(path, lambda part: quiet([*command, part, form.upper(), "2"]))

    def generate(self, layout, model, part):
        """A process of its own, as narrowing is: what this one once took counts for its children."""
        quiet([sys.executable, __file__, "--child", "generate", layout, model, part])

    def ids(self, count):
        """Prompts as mixlet reads them."""
        path = self.work / f"ids-{count}.safetensors"

        def write(part):
            import numpy as np
            from safetensors.numpy import save_file

            save_file({"input_ids": np.array([prompt(count)], np.int64)}, part)

        return self.made(path, write)


def prompt(count):
    return [(i * 7919 + 13) % 31000 + 500 for i in range(count)]


def narrow(source, target):
    """The same model in f16."""
    import torch
    from safetensors.torch import load_file, save_file

    source, target = Path(source), Path(target)
    target.mkdir()
    for path in source.iterdir():
        if path.suffix == ".safetensors":
            tensors = {name: tensor.to(torch.float16) for name, tensor in load_file(path).items()}
            save_file(tensors, target / path.name, metadata={"format": "pt"})
        else:
            (target / path.name).write_text(path.read_text().replace('"bfloat16"', '"float16"'))


def generate(layout, model, part):
    spec = importlib.util.spec_from_file_location("make_models", GENERATOR)
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    make.MODELS = {model: make.MODELS[model]}
    within = Path(part).with_name("within-" + Path(part).name)
    within.mkdir(exist_ok=True)
    if layout == "hf":
        make.write_hf(within)
        (within / model).rename(part)
    else:
        make.write_gguf(within, ["bf16"])
        (within / f"{model}-bf16.gguf").rename(part)
    subprocess.run(["rm", "-rf", within], check=True)


# --- Measuring ---


def quiet(command):
    """The standard output of a process, its largest resident memory in MiB, its seconds."""
    started = time.perf_counter()
    words = [str(word) for word in command]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, errors = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(words)}\n{errors.strip()[-2000:]}")
    return out, usage.ru_maxrss / 1024, time.perf_counter() - started


def measure_mixlet(models, model, form, threads):
    folder = models.folder(model, form)
    command = [models.mixlet, "lm", "generate", folder, "--ignore-end", "--threads", threads, "--json"]

    def run(ids, written):
        out, peak, seconds = quiet([*command, "--input", ids, "--max-new-tokens", written])
        return json.loads(out)["seconds"], peak, seconds

    prefill, peak, _ = run(models.ids(PREFILL), 1)
    (warm, _, _), (both, _, _) = (run(models.ids(1), times * DECODED + 1) for times in [1, 2])
    _, _, start = run(models.ids(1), 1)
    decode = both["decode"] - warm["decode"]
    return {"prefill": PREFILL / prefill["prefill"], "decode": DECODED / decode, "start": start, "peak": peak}


def measure_llama(models, model, form, threads):
    command = [models.tools / "llama-bench", "-m", models.gguf(model, form), "-o", "json", "-t", threads, "-r", 1]
    out, peak, _ = quiet([*command, "-p", PREFILL, "-n", DECODED])
    rows = {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in json.loads(out)}
    _, _, start = quiet([*command, "-p", 0, "-n", 1, "--no-warmup"])
    return {**rows, "start": start, "peak": peak}


def measure_torch(models, model, form, threads):
    out, peak, _ = quiet([sys.executable, __file__, "--child", "torch", models.folder(model, form), threads])
    return {**json.loads(out), "start": None, "peak": peak}


def torch_child(folder, threads):
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(int(threads))
    # Over 512 tokens a loop over the experts and the grouped product differ; the better one counts.
    rates = {"prefill": 0.0, "decode": 0.0}
    ids = torch.tensor([prompt(PREFILL)])
    for experts in ["eager", "grouped_mm"]:
        load = transformers.AutoModelForCausalLM.from_pretrained
        model = load(folder, dtype=torch.bfloat16, experts_implementation=experts).eval()
        with torch.inference_mode():
            model(ids[:, :32], logits_to_keep=1)
            started = time.perf_counter()
            model(ids, use_cache=True, logits_to_keep=1)
            rates["prefill"] = max(rates["prefill"], PREFILL / (time.perf_counter() - started))
            past = model(ids[:, :1], use_cache=True).past_key_values
            started = time.perf_counter()
            for i in range(1, DECODED + 1):
                past = model(ids[:, i : i + 1], past_key_values=past, use_cache=True).past_key_values
            rates["decode"] = max(rates["decode"], DECODED / (time.perf_counter() - started))
        del model
    print(json.dumps(rates))


def methods(form):
    """Names and how each is measured, mixlet first."""
    yield "mixlet", measure_mixlet, form
    for peer in FORMATS[form]:
        yield f"llama.cpp {peer}", measure_llama, peer
    if form in TORCH:
        yield "transformers", measure_torch, form


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lm", action="store_true", help="this table")
    parser.add_argument("--only", nargs="*", default=[], help="words a row must have: mixtral bf16 threads=2")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="times every row is measured [3]")
    parser.add_argument("--without", default="", metavar="NAME", help="leave out methods whose name contains this")
    parser.add_argument("--mixlet", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not GENERATOR.exists():
        sys.exit(f"the generator of the models is not there: {GENERATOR}")
    models = Models(options)
    print("model    weights  threads  method           prefill tok/s  times  decode tok/s  times  start s  peak MiB")
    for model in ["mixtral", "olmoe"]:
        for form in FORMATS:
            for threads in THREADS:
                if not set(options.only) <= {model, form, f"threads={threads}"}:
                    continue
                named = [m for m in methods(form) if not options.without or options.without not in m[0]]
                runs = {name: [] for name, _, _ in named}
                for _ in range(options.repeats):
                    for name, measure, own in named:
                        runs[name].append(measure(models, model, own, threads))
                for name in runs:
                    print(f"{model:<7}  {form:<7}  {threads:>7}  {line(name, runs)}", flush=True)


def line(name, runs):
    """Medians, and how many times what this method does in a second mixlet does."""

    def median(what):
        return statistics.median(run[what] for run in runs[name])

    def times(what):
        if name == "mixlet" or "mixlet" not in runs:
            return ""
        ratios = [own[what] / run[what] for own, run in zip(runs["mixlet"], runs[name])]
        return f"{statistics.median(ratios):.2f}"

    start = "" if runs[name][0]["start"] is None else f"{median('start'):.2f}"
    return (
        f"{name:<16} {median('prefill'):>13.0f}  {times('prefill'):>5}  {median('decode'):>12.1f}"
        f"  {times('decode'):>5}  {start:>7}  {median('peak'):>8.0f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        {"generate": generate, "narrow": narrow, "torch": torch_child}[sys.argv[2]](*sys.argv[3:])
    else:
        main()
