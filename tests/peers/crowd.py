"""mixlet and the public label aggregators on the same crowds: one table.

Without --speed: every set of FOLDER with gold, each method with its own default settings (or --rounds for all
that iterate): errors, accuracy, CPU seconds, peak memory; the means over the sets come last.
With --speed: CPU time per answer and round, and how many times mixlet's that is.

Each measurement is a process of its own, on one thread. This file imports nothing large before it is a child: on
Linux the peak memory of a child is never below that of the process it was forked from.
"""
import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIXLET = {
    "mixlet majority-vote": ["--method", "majority-vote"],
    "mixlet dawid-skene": ["--method", "dawid-skene"],
    "mixlet dawid-skene, select auto": ["--method", "dawid-skene", "--select", "auto"],
    "mixlet dawid-skene, plain": ["--method", "dawid-skene", "--pseudocount", "0"],
    "mixlet one-coin": ["--method", "one-coin"],
}
PEERS = [
    "numpy DawidSkene",
    "crowd-kit MajorityVote",
    "crowd-kit Wawa",
    "crowd-kit DawidSkene",
    "crowd-kit OneCoinDawidSkene",
]
SLOW_PEERS = ["crowd-kit GLAD", "crowd-kit MACE", "crowd-kit MMSR", "crowd-kit KOS", "crowd-kit ZeroBasedSkill"]
ITERATES = ["numpy DawidSkene", "crowd-kit DawidSkene", "crowd-kit OneCoinDawidSkene"]

SPEED_BASELINE = "mixlet dawid-skene, plain"
SPEED_METHODS = [SPEED_BASELINE, "numpy DawidSkene", "crowd-kit DawidSkene"]
LARGE = {"tasks": 1_000_000, "workers": 5_000, "answers_per_task": 5}


# --- Measuring: the parent ---


def run(command, limit):
    """Runs a child: the JSON of its last line with CPU seconds and peak MiB, or {"failed": reason}.

    The limit is CPU time, which the kernel watches: a busy machine makes nobody fail.
    """
    with tempfile.TemporaryFile("w+") as errors:
        limited = lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, preexec_fn=limited)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode == -signal.SIGXCPU:
            return {"failed": f"over {limit} s"}
        if process.returncode != 0:
            errors.seek(0)
            last_line = (errors.read().strip().splitlines() or [f"exit {process.returncode}"])[-1]
            return {"failed": last_line[:60]}
    return {
        **json.loads(output.strip().splitlines()[-1]),
        "process_cpu": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def run_mixlet(options, method, folder, rounds=None):
    command = [options.mixlet, "crowd", "fit", f"{folder}/answers.csv", "--gold", f"{folder}/gold.csv"]
    command += ["--json", "--threads", "1", *MIXLET[method]]
    if rounds and method != "mixlet majority-vote":
        command += ["--start", "vote", "--rounds", str(rounds), "--tolerance", "0"]
    result = run(command, options.limit)
    if "failed" not in result:
        gold = result["gold"]
        result |= {"errors": gold["errors"], "gold": gold["tasks"], "cpu": result["process_cpu"]}
    return result


def run_peer(options, method, folder, rounds=()):
    """The fit once with the peer's own settings, or once for each number of rounds."""
    return run([sys.executable, __file__, "--child", method, str(folder), *map(str, rounds)], options.limit)


def gold_sets(folder):
    """The folder itself, or those inside it, that hold answers and at least one gold row."""
    for candidate in [folder, *sorted(folder.iterdir())]:
        gold = candidate / "gold.csv"
        if (candidate / "answers.csv").exists() and gold.exists() and len(gold.read_text().splitlines()) > 1:
            yield candidate


def progress(*words):
    print(*words, file=sys.stderr, flush=True)


# --- Accuracy ---


def measure_accuracy(options, folder):
    methods = ([] if options.no_mixlet else list(MIXLET)) + PEERS + (SLOW_PEERS if options.all else [])
    methods = [method for method in methods if options.only in method]
    results = {}
    for data in gold_sets(folder):
        for method in methods:
            progress(data.name, method)
            if method in MIXLET:
                result = run_mixlet(options, method, data, options.rounds)
            else:
                rounds = [options.rounds] if options.rounds and method in ITERATES else []
                result = run_peer(options, method, data, rounds)
            if "failed" not in result:
                result["accuracy"] = 1 - result["errors"] / result["gold"]
            progress("   ", result.get("failed") or f"{result['accuracy']:.4f}, {result['cpu']:.1f} s")
            results[data.name, method] = result
    return methods, results


def long_table(methods, results):
    rows = [["set", "method", "rounds", "errors", "gold", "accuracy", "CPU s", "peak MiB"]]
    for (data, method), r in results.items():
        if "failed" in r:
            rows.append([data, method, r["failed"], "", "", "", "", ""])
        else:
            counts = [str(r.get("rounds") or ""), f"{r['errors']:g}", str(r["gold"])]
            rows.append([data, method, *counts, f"{r['accuracy']:.4f}", f"{r['cpu']:.3f}", f"{r['peak_mib']:.0f}"])
    for method, mean, finished, sets in means(methods, results):
        rows.append([f"mean of {finished}/{sets}", method, "", "", "", mean, "", ""])
    return rows


def compact_table(methods, results):
    """Accuracy alone: sets down, methods across."""
    rows = [["set", *methods]]
    for data in dict.fromkeys(data for data, _ in results):
        ran = [results[data, method] for method in methods]
        rows.append([data, *(f"{r['accuracy']:.4f}" if "accuracy" in r else r["failed"] for r in ran)])
    rows.append(["mean"])
    for _, mean, finished, sets in means(methods, results):
        rows[-1].append(mean if finished == sets else f"{mean} ({finished} of {sets})".strip())
    return rows


def means(methods, results):
    """For each method its mean accuracy over the sets it finished, and how many those are."""
    for method in methods:
        ran = [r for (_, m), r in results.items() if m == method]
        scores = [r["accuracy"] for r in ran if "accuracy" in r]
        yield method, f"{statistics.mean(scores):.4f}" if scores else "", len(scores), len(ran)


# --- Speed ---


def measure_speed(options, folder):
    """Cost of a round = (CPU of many − CPU of few) / difference in rounds: reading and the start cancel out."""
    large = options.work / "data" / "large"
    if not (large / "gold.csv").exists():
        progress("generating", large)
        generated = run([sys.executable, __file__, "--generate", str(large)], options.limit)
        if "failed" in generated:
            sys.exit(f"tests/peers/run: cannot generate {large}: {generated['failed']}")
    rows = [["set", "answers", "method", "rounds", "ns per answer and round", "times mixlet", "accuracy", "peak MiB"]]
    for data in (folder / "fact_eval", folder / "relevance", large):
        measured = {}
        for method in SPEED_METHODS[1:] if options.no_mixlet else SPEED_METHODS:
            progress(data.name, method)
            few, many = (1, 4) if data == large and method.startswith("crowd-kit") else (1, 50)
            slope = mixlet_slope if method in MIXLET else peer_slope
            measured[method] = slope(options, method, data, few, many)
        baseline = measured.get(SPEED_BASELINE, {}).get("round_seconds")
        rows += [speed_row(data, method, result, baseline) for method, result in measured.items()]
    return rows


def speed_row(data, method, result, baseline):
    if "failed" in result:
        return [data.name, "", method, result["failed"], "", "", "", ""]
    cost = result["round_seconds"]
    times = f"{cost / baseline:.1f}" if baseline else ""
    per_answer = f"{1e9 * cost / result['answers']:.2f}"
    accuracy, memory = f"{1 - result['errors'] / result['gold']:.4f}", f"{result['peak_mib']:.0f}"
    return [data.name, str(result["answers"]), method, result["rounds"], per_answer, times, accuracy, memory]


def peer_slope(options, method, data, few, many):
    """Both fits in one child, which measures the CPU of each call."""
    runs = [run_peer(options, method, data, [few, many]) for _ in range(1 if many < 50 else options.repeats)]
    if failed := [r for r in runs if "failed" in r]:
        return failed[0]
    cost = statistics.median((r["cpus"][1] - r["cpus"][0]) / (many - few) for r in runs)
    return {**runs[0], "round_seconds": cost, "rounds": f"{few}, {many}"}


def mixlet_slope(options, method, data, few, many):
    """One process for each number of rounds, charged with all its CPU."""
    runs = [[run_mixlet(options, method, data, n) for n in (few, many)] for _ in range(options.repeats)]
    if failed := [r for pair in runs for r in pair if "failed" in r]:
        return failed[0]
    low, high = runs[0]
    rounds = high["rounds"] - low["rounds"]
    cost = statistics.median((b["process_cpu"] - a["process_cpu"]) / rounds for a, b in runs)
    own = 1e9 * high["seconds"]["fit"] / high["rounds"] / high["answers"]
    progress(f"mixlet's own clock on {data.name}: {own:.2f} ns per answer and round")
    return {**high, "round_seconds": cost, "rounds": f"{low['rounds']}, {high['rounds']}"}


# --- Children: the fits of the peers ---


def child(method, folder, rounds):
    import pandas

    answers = pandas.read_csv(f"{folder}/answers.csv")[["task", "worker", "label"]]
    # The rule of `mixlet crowd fit --repeats first`.
    answers = answers.drop_duplicates(["task", "worker"], ignore_index=True)
    gold = pandas.read_csv(f"{folder}/gold.csv").set_index("task")["label"]
    fit = numpy_dawid_skene if method.startswith("numpy") else crowd_kit(method.split()[1])
    cpus = []
    for number in rounds or [None]:
        start = time.process_time()
        predicted, used = fit(answers, number)
        cpus.append(time.process_time() - start)
    predicted = predicted.reindex(gold.index)
    classes = len(set(answers.label) | set(gold))
    # A gold task nobody answered is an error with the probability that a guess is.
    wrong = (predicted.notna() & (predicted != gold)).sum() + predicted.isna().sum() * (classes - 1) / classes
    sizes = {"gold": len(gold), "answers": len(answers)}
    return {**sizes, "errors": float(wrong), "rounds": used, "cpu": cpus[-1], "cpus": cpus}


def crowd_kit(name):
    import crowdkit.aggregation

    def fit(answers, rounds):
        settings = {"random_state": 0} if name == "KOS" else {}
        if rounds:
            settings = {"n_iter": rounds, "tol": float("-inf")}
        model = getattr(crowdkit.aggregation, name)(**settings)
        predicted = model.fit_predict(answers)
        history = getattr(model, "loss_history_", None)
        return predicted, None if history is None else len(history)

    return fit


def numpy_dawid_skene(answers, rounds):
    """What a careful user writes: vote start, 0.01 added to each count, 500 rounds or a gain below 1e-7 a task."""
    import numpy as np
    import pandas

    tasks, task_ids = pandas.factorize(answers.task)
    workers, worker_ids = pandas.factorize(answers.worker)
    labels, classes = pandas.factorize(answers.label, sort=True)
    n, m, k = len(task_ids), len(worker_ids), len(classes)
    cells = workers * k + labels
    responsibilities = np.bincount(tasks * k + labels, minlength=n * k).reshape(n, k).astype(float)
    responsibilities /= responsibilities.sum(1, keepdims=True)
    tolerance, last, used = -np.inf if rounds else 1e-7, -np.inf, 0
    for used in range(1, (rounds or 500) + 1):
        # Maximize: class shares, and counts [worker, answered, true] turned into confusions.
        shares = responsibilities.mean(0)
        counts = np.stack([np.bincount(cells, responsibilities[tasks, c], m * k) for c in range(k)], 1)
        confusion = counts.reshape(m, k, k) + 0.01
        confusion /= confusion.sum(1, keepdims=True)
        # Expectation: Bayes' rule in logarithms.
        log_confusion = np.log(confusion).reshape(m * k, k)
        scores = np.stack([np.bincount(tasks, log_confusion[cells, c], n) for c in range(k)], 1)
        scores += np.log(shares + 1e-300)
        peak = scores.max(1, keepdims=True)
        responsibilities = np.exp(scores - peak)
        total = responsibilities.sum(1, keepdims=True)
        responsibilities /= total
        objective = float((peak + np.log(total)).mean())
        if objective - last < tolerance:
            break
        last = objective
    return pandas.Series(classes[responsibilities.argmax(1)], index=task_ids), used


def generate(folder):
    """Two classes, every fifth worker a spammer, the others right with 0.55 to 0.95, by class."""
    import numpy as np
    import pandas

    tasks, workers, per_task = LARGE["tasks"], LARGE["workers"], LARGE["answers_per_task"]
    random = np.random.default_rng(1)
    truth = (random.random(tasks) < 0.4).astype(int)
    says_one = np.stack([1 - random.uniform(0.55, 0.95, workers), random.uniform(0.55, 0.95, workers)])
    spammers = random.random(workers) < 0.2
    says_one[:, spammers] = random.uniform(0.1, 0.9, spammers.sum())
    # A first worker and a stride for each task: the strides of one task add up to less than a round trip.
    first = random.integers(workers, size=(tasks, 1))
    stride = random.integers(1, workers // per_task, size=(tasks, 1))
    who = (first + stride * np.arange(per_task)) % workers
    said = (random.random(who.shape) < says_one[truth[:, None], who]).astype(int)
    os.makedirs(folder, exist_ok=True)
    rows = {"task": np.repeat(np.arange(tasks), per_task), "worker": who.ravel(), "label": said.ravel()}
    pandas.DataFrame(rows).to_csv(f"{folder}/answers.csv", index=False)
    pandas.DataFrame({"task": np.arange(tasks), "label": truth}).to_csv(f"{folder}/gold.csv", index=False)
    return {}


# --- Printing and options ---


def show(rows, markdown):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    bar = (" | ", "| ", " |") if markdown else ("  ", "", "")
    lines = [bar[1] + bar[0].join(cell.ljust(width) for cell, width in zip(row, widths)) + bar[2] for row in rows]
    lines.insert(1, bar[1] + bar[0].join("-" * width for width in widths) + bar[2])
    print("\n".join(line.rstrip() for line in lines))


def parse():
    parser = argparse.ArgumentParser(
        prog="tests/peers/run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    option = parser.add_argument
    option("folder", nargs="?", type=Path, default="../shared/data/crowd", help="sets: answers.csv and gold.csv")
    option("--speed", action="store_true", help="CPU per answer and round: fact_eval, relevance, a generated set")
    option("--rounds", type=int, help="exactly this many rounds of EM for every method that has them")
    option("--all", action="store_true", help="also GLAD, MACE, MMSR, KOS, ZeroBasedSkill of crowd-kit: slow")
    option("--only", default="", help="only methods whose name holds this text (not with --speed)")
    option("--limit", type=int, default=300, help="CPU seconds a process may take (300)")
    option("--repeats", type=int, default=3, help="processes per median in --speed (3)")
    option("--compact", action="store_true", help="accuracy alone, one line per set")
    option("--markdown", action="store_true", help="the table as markdown")
    option("--no-mixlet", action="store_true", help="the peers alone; mixlet is not built")
    option("--mixlet", help=argparse.SUPPRESS)
    option("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    if sys.argv[1:2] == ["--child"]:
        method, folder, *rounds = sys.argv[2:]
        return print(json.dumps(child(method, folder, [int(number) for number in rounds])))
    if sys.argv[1:2] == ["--generate"]:
        return print(json.dumps(generate(sys.argv[2])))
    options = parse()
    if not options.folder.is_dir():
        sys.exit(f"tests/peers/run: no folder {options.folder}")
    if options.speed:
        rows = measure_speed(options, options.folder)
    else:
        table = compact_table if options.compact else long_table
        rows = table(*measure_accuracy(options, options.folder))
    show(rows, options.markdown)


if __name__ == "__main__":
    main()
