"""Accuracy of the recommended recipe, ``KRR("composite")``, on QM7 and QM9.

QM7: PBE0 atomisation energies, directly and as Delta-learning on DFTB; the protocol of
qm7_accuracy.py (names sorted, the first N of a permutation train, the last 1000 test). Draw r
permutes by ``numpy.random.default_rng(r)``.

QM9: U0, directly and as Delta-learning on GFN2-xTB; random splits of the rows where both are
known, the first N train and the last 2000 test.

Nothing is set but the recipe's name: weights, widths and regulariser are chosen by leave-one-out
errors inside the training set, and element counts are fitted jointly.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kernchem import KRR, DeltaLearner, Structures

HARTREE = 627.509474
#: Goals in kcal/mol by set, mode and size.
GOALS = {
    ("qm7", "direct"): {1000: 0.82, 2000: 0.56, 5000: 0.34},
    ("qm7", "delta"): {1000: 0.60, 2000: 0.44, 5000: 0.29},
    ("qm9", "direct"): {1000: 1.45, 5000: 0.70},
    ("qm9", "delta"): {1000: 0.77, 5000: 0.39},
}
N_TEST = {"qm7": 1000, "qm9": 2000}


def load_qm7(folder: Path, draw: int) -> Structures:
    """Return molecules of QM7 in the order of a draw."""
    with np.load(folder / "qm7.npz") as data:
        order = np.argsort(data["name"])
        order = order[np.random.default_rng(draw).permutation(len(order))]
        return Structures.from_arrays(
            data["Z"][order],
            data["R"][order],
            properties={"label": data["e_pbe0"][order], "baseline": data["e_dftb"][order]},
        )


def load_qm9(folder: Path, draw: int) -> Structures:
    """Return molecules of the subset of QM9 in the order of a draw, energies in kcal/mol."""
    with np.load(folder / "qm9_subset.npz") as data:
        label, baseline = data["u0"] * HARTREE, data["gfn2"] * HARTREE
        known = np.flatnonzero(np.isfinite(label) & np.isfinite(baseline))
        order = known[np.random.default_rng(draw).permutation(len(known))]
        return Structures.from_arrays(
            data["Z"][order],
            data["R"][order],
            properties={"label": label[order], "baseline": baseline[order]},
        )


LOADERS: dict[str, Callable[[Path, int], Structures]] = {"qm7": load_qm7, "qm9": load_qm9}


def measure(data: Structures, name: str, mode: str, size: int, draw: int) -> dict:
    """Fit one model and return its errors on the last molecules."""
    train, test = data[:size], data[-N_TEST[name] :]
    model = KRR("composite")
    if mode == "delta":
        model = DeltaLearner(model, baseline="baseline")
    start = time.perf_counter()
    model.fit(train, train["label"])
    fitted = time.perf_counter()
    error = np.abs(model.predict(test) - test["label"])
    krr = model if mode == "direct" else model.model_
    return {
        "data": name,
        "mode": mode,
        "n_train": size,
        "draw": draw,
        "mae": float(error.mean()),
        "goal": GOALS[name, mode].get(size),
        "rmse": float(np.sqrt((error**2).mean())),
        "p95": float(np.quantile(error, 0.95)),
        "max": float(error.max()),
        "loo_mae": float(np.nanmean(np.abs(krr.loo_residuals_))),
        "kernel": repr(krr.kernel_),
        "alpha": krr.alpha_,
        "trials": len(krr.trials_),
        "fit_seconds": fitted - start,
        "predict_seconds": time.perf_counter() - fitted,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--qm7", type=Path, help="folder that holds qm7.npz")
    parser.add_argument("--qm9", type=Path, help="folder that holds qm9_subset.npz")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--modes", nargs="+", default=["direct", "delta"])
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    results = []
    print(f"{'data':5}{'mode':8}{'N':>6}{'draw':>5}{'MAE':>7}{'goal':>6}{'LOO':>7}{'RMSE':>7}"
          f"{'p95':>7}{'max':>7}{'alpha':>9}{'fit s':>7}{'pred s':>7}{'GiB':>5}")  # fmt: skip
    for name, load in LOADERS.items():
        folder = getattr(arguments, name)
        if folder is None:
            continue
        for size in arguments.sizes:
            for draw in arguments.draws:
                data = load(folder, draw)
                for mode in arguments.modes:
                    r = measure(data, name, mode, size, draw)
                    results.append(r)
                    goal = "" if r["goal"] is None else f"{r['goal']:.2f}"
                    print(f"{name:5}{mode:8}{size:6d}{draw:5d}{r['mae']:7.3f}{goal:>6}"
                          f"{r['loo_mae']:7.3f}{r['rmse']:7.3f}{r['p95']:7.2f}{r['max']:7.1f}"
                          f"{r['alpha']:9.1e}{r['fit_seconds']:7.0f}{r['predict_seconds']:7.0f}"
                          f"{r['peak_gib']:5.1f}  {r['kernel']}", flush=True)  # fmt: skip
                    if arguments.json:
                        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
