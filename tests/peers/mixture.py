"""mixlet and public peers on mixtures of binary columns: one table.

The data are MNIST test images (or generated rows where `../shared` is absent), tiled to 60,000 rows with two bits in
a hundred flipped. Every method does the same number of rounds from a random start of its own. A round costs the CPU of a long fit
less that of a short one, over the difference in rounds, so reading and the start cancel out.

`numpy` is a round tuned for BLAS: two products in float32, or float64. scikit-learn has no mixture of binary columns:
its GaussianMixture with a diagonal covariance is the closest, a mixture whose columns are independent given the class;
its log-likelihood is that of densities, and not comparable.

Each measurement is a process of its own, on one thread.
"""
import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

METHODS = ["mixlet", "numpy float32", "numpy float64", "StepMix binary", "scikit-learn GaussianMixture"]
SLOW_METHODS = ["StepMix binary_nan"]
IMAGES = Path("../shared/data/mnist/t10k-images-idx3-ubyte.gz")
CLASSES = 10


# --- Measuring: the parent ---


def run(command):
    """Runs a child: the JSON of its last line with CPU seconds and peak MiB, or {"failed": reason}."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        return {"failed": (errors.strip().splitlines() or ["no message"])[-1][:60]}
    result = json.loads(output.strip().splitlines()[-1])
    return {"cpu": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024, **result}


def fit(options, method, data, rounds):
    if method == "mixlet":
        command = [options.mixlet, "mixture", "fit", str(data), "--family", "bernoulli", "--classes", str(CLASSES)]
        command += ["--rounds", str(rounds), "--tolerance", "0", "--pseudocount", "0", "--threads", "1", "--json"]
    else:
        command = [sys.executable, __file__, "--child", method, str(data), str(rounds)]
    return run(command)


def measure(options, method, data):
    short, long = (fit(options, method, data, rounds) for rounds in options.rounds)
    if "failed" in short or "failed" in long:
        return {"failed": short.get("failed") or long["failed"]}
    rounds = options.rounds[1] - options.rounds[0]
    return {**long, "round": (long["cpu"] - short["cpu"]) / rounds}


def table(results):
    first = results.get("mixlet", {}).get("round")
    rows = [["method", "CPU ms a round", "times mixlet", "peak MiB", "log-likelihood"]]
    for method, r in results.items():
        if "failed" in r:
            rows.append([method, r["failed"], "", "", ""])
        else:
            ratio = f"{r['round'] / first:.1f}" if first else ""
            rows.append([method, f"{1e3 * r['round']:.1f}", ratio, f"{r['peak_mib']:.0f}", f"{r['log_likelihood']:.0f}"])
    return rows


def show(rows, markdown):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for nth, row in enumerate(rows):
        cells = [cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |" if markdown else "  ".join(cells))
        if markdown and nth == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixture", action="store_true", help="this comparison instead of that of crowds")
    parser.add_argument("--mixlet", default="target/release/mixlet", help="the program")
    parser.add_argument("--work", default="target/peers", help="folder for generated data")
    parser.add_argument("--rows", type=int, default=60_000, help="rows of the data")
    parser.add_argument("--rounds", type=int, nargs=2, default=(2, 12), help="rounds of the short and of the long fit")
    parser.add_argument("--only", default="", help="methods whose name contains this")
    parser.add_argument("--all", action="store_true", help="also StepMix's model for missing values, which takes minutes")
    parser.add_argument("--no-mixlet", action="store_true", help="the peers alone")
    parser.add_argument("--markdown", action="store_true", help="a markdown table")
    options = parser.parse_args()
    data = Path(options.work) / f"mixture-{options.rows}.npy"
    if not data.exists():
        subprocess.run([sys.executable, __file__, "--child", "data", str(data), str(options.rows)], check=True)
    methods = METHODS[1:] if options.no_mixlet else METHODS
    results = {}
    for method in methods + (SLOW_METHODS if options.all else []):
        if options.only in method:
            print(method, file=sys.stderr, flush=True)
            results[method] = measure(options, method, data)
    show(table(results), options.markdown)


# --- Fitting: the children ---


def write_data(path, rows):
    import numpy as np

    random = np.random.default_rng(1)
    if IMAGES.exists():
        x = np.frombuffer(gzip.open(IMAGES).read(), np.uint8, offset=16).reshape(-1, 784) >= 128
    else:
        prototypes = random.random((CLASSES, 784))
        x = random.random((1000, 784)) < prototypes[np.arange(1000) % CLASSES]
    x = np.resize(x, (rows, 784))
    for start in range(0, rows, 4096):
        block = x[start : start + 4096]
        block ^= random.random(block.shape, np.float32) < 0.02
    np.save(path, x.astype(np.uint8))


def numpy_fit(x, rounds, dtype):
    """Two products a round; everything else in place."""
    import numpy as np

    random = np.random.default_rng(0)
    x = x.astype(dtype)
    ones, shares = random.uniform(0.2, 0.8, (784, CLASSES)), np.full(CLASSES, 1 / CLASSES)
    for _ in range(rounds):
        zeros = np.log1p(-ones)
        joints = x @ (np.log(ones) - zeros).astype(dtype)
        joints += (zeros.sum(0) + np.log(shares)).astype(dtype)
        largest = joints.max(1, keepdims=True)
        joints -= largest
        np.exp(joints, out=joints)
        sums = joints.sum(1, keepdims=True)
        joints /= sums
        log_likelihood = float((largest.astype(np.float64) + np.log(sums)).sum())
        masses = joints.sum(0, dtype=np.float64)
        ones = ((x.T @ joints) / masses).astype(np.float64).clip(1e-10, 1 - 1e-10)
        shares = masses / masses.sum()
    return log_likelihood


def stepmix_fit(x, rounds, measurement):
    import numpy as np
    from stepmix import StepMix

    model = StepMix(CLASSES, measurement=measurement, n_init=1, max_iter=rounds, abs_tol=0.0, rel_tol=0.0,
                    random_state=0, progress_bar=0, verbose=0)
    x = x.astype(np.float64)
    model.fit(x)
    return float(model.score(x)) * len(x)


def gaussian_fit(x, rounds):
    import numpy as np
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(CLASSES, covariance_type="diag", max_iter=rounds, tol=0.0, init_params="random",
                            reg_covar=1e-3, random_state=0)
    model.fit(x.astype(np.float32))
    return float(model.lower_bound_) * len(x)


def child(method, path, number):
    import warnings

    if method == "data":
        return write_data(path, number)
    warnings.filterwarnings("ignore")
    import numpy as np

    x = np.load(path)
    library, name = method.split(" ")
    start = time.process_time()
    if library == "numpy":
        log_likelihood = numpy_fit(x, number, name)
    elif library == "StepMix":
        log_likelihood = stepmix_fit(x, number, name)
    else:
        log_likelihood = gaussian_fit(x, number)
    print(json.dumps({"cpu": time.process_time() - start, "log_likelihood": log_likelihood}))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
