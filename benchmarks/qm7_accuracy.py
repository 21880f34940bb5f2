"""Accuracy of the package's defaults on QM7, directly and as Delta-learning on DFTB.

File names sorted, one permutation by ``numpy.random.default_rng(0)``, or other seeds that --draws
names, the first N molecules train and the last 1000 test. Nothing is set but descriptor and kernel:
hyperparameters are chosen by leave-one-out inside the training set, and element counts are fitted
jointly.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import numpy as np

from kernchem import KRR, DeltaLearner, Structures
from kernchem.descriptors import FCHL19, SLATM, SOAP, BagOfBonds, CoulombMatrix, EncodedBonds
from kernchem.kernels import AtomSum, Gaussian, Polynomial

MODELS = {
    "CM, Laplacian": lambda: KRR(descriptor=CoulombMatrix()),
    "BoB, Laplacian": lambda: KRR(descriptor=BagOfBonds()),
    "encoded bonds, Gaussian": lambda: KRR(descriptor=EncodedBonds()),
    "encoded bonds <= 3, Gaussian": lambda: KRR(descriptor=EncodedBonds(max_bonds=3)),
    "SLATM, Gaussian": lambda: KRR(descriptor=SLATM()),
    "FCHL19, sum of Gaussians": lambda: KRR(AtomSum(Gaussian()), descriptor=FCHL19()),
    "SOAP, sum of squares": lambda: KRR(AtomSum(Polynomial(2, 0.0)), descriptor=SOAP()),
}
#: MAE in kcal/mol that plain prototypes reached on this split, at N = 1000, 2000, 5000.
GOALS = {
    ("CM, Laplacian", "direct"): (7.03, 5.22, 3.40),
    ("BoB, Laplacian", "direct"): (3.05, 2.55, 1.80),
    ("encoded bonds, Gaussian", "direct"): (2.96, 2.23, 1.65),
    ("encoded bonds <= 3, Gaussian", "direct"): (2.18, 1.53, 1.07),
    ("SLATM, Gaussian", "direct"): (1.01, 0.74, 0.47),
    ("FCHL19, sum of Gaussians", "direct"): (1.69, 0.91, 0.46),
    ("SOAP, sum of squares", "direct"): (1.93, 1.27, 0.63),
    ("SLATM, Gaussian", "delta"): (0.81, 0.60, 0.34),
    ("FCHL19, sum of Gaussians", "delta"): (np.nan, np.nan, np.nan),
    ("SOAP, sum of squares", "delta"): (np.nan, np.nan, np.nan),
    ("CM, Laplacian", "delta"): (2.76, 2.02, 1.41),
    ("BoB, Laplacian", "delta"): (1.37, 1.12, 0.85),
    ("encoded bonds, Gaussian", "delta"): (1.67, 1.19, 0.87),
    ("encoded bonds <= 3, Gaussian", "delta"): (1.25, 0.94, 0.61),
}
GOAL_SIZES = (1000, 2000, 5000)


def load(folder: Path, draw: int) -> Structures:
    """Return the molecules in the order of a draw."""
    with np.load(folder / "qm7.npz") as data:
        order = np.argsort(data["name"])
        order = order[np.random.default_rng(draw).permutation(len(order))]
        return Structures.from_arrays(
            data["Z"][order],
            data["R"][order],
            properties={"pbe0": data["e_pbe0"][order], "dftb": data["e_dftb"][order]},
        )


def measure(data: Structures, name: str, mode: str, size: int, draw: int) -> dict:
    """Fit one model and return its errors on the last 1000 molecules."""
    train, test = data[:size], data[-1000:]
    model = MODELS[name]()
    if mode == "delta":
        model = DeltaLearner(model, baseline="dftb")
    start = time.perf_counter()
    model.fit(train, train["pbe0"])
    fitted = time.perf_counter()
    error = np.abs(model.predict(test) - test["pbe0"])
    krr = model if mode == "direct" else model.model_
    return {
        "model": name,
        "mode": mode,
        "n_train": size,
        "draw": draw,
        "mae": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "p95": float(np.quantile(error, 0.95)),
        "max": float(error.max()),
        "loo_mae": float(np.nanmean(np.abs(krr.loo_residuals_))),
        "length_scale": float(np.exp(np.append(krr.kernel_.theta, np.nan)[0])),
        "alpha": krr.alpha_,
        "fit_seconds": fitted - start,
        "predict_seconds": time.perf_counter() - fitted,
        "trials": len(krr.trials_),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds qm7.npz")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(GOAL_SIZES))
    parser.add_argument("--draws", type=int, nargs="+", default=[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--modes", nargs="+", default=["direct", "delta"])
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    print(f"{'model':30}{'mode':8}{'N':>6}{'draw':>5}{'MAE':>7}{'goal':>7}{'ratio':>7}{'LOO':>7}{'RMSE':>7}"
          f"{'p95':>7}{'max':>8}{'length':>11}{'alpha':>9}{'fit s':>7}")  # fmt: skip
    results = []
    for draw, size in product(arguments.draws, arguments.sizes):
        data = load(arguments.data, draw)
        for mode, name in product(arguments.modes, arguments.models):
            r = measure(data, name, mode, size, draw)
            goal = dict(zip(GOAL_SIZES, GOALS[name, mode], strict=True)).get(size, np.nan)
            r |= {"goal": goal, "ratio": r["mae"] / goal}
            results.append(r)
            print(f"{name:30}{mode:8}{size:6d}{draw:5d}{r['mae']:7.2f}{goal:7.2f}{r['ratio']:7.2f}"
                  f"{r['loo_mae']:7.2f}{r['rmse']:7.2f}{r['p95']:7.2f}{r['max']:8.1f}"
                  f"{r['length_scale']:11.4g}{r['alpha']:9.1e}{r['fit_seconds']:7.1f}",
                  flush=True)  # fmt: skip
    for mode, name, size in product(arguments.modes, arguments.models, arguments.sizes):
        alike = [r["mae"] for r in results
                 if (r["mode"], r["model"], r["n_train"]) == (mode, name, size)]  # fmt: skip
        if len(alike) > 1:
            error = np.std(alike, ddof=1) / np.sqrt(len(alike))
            print(f"mean of {len(alike)} draws: {name}, {mode}, N = {size}: "
                  f"{np.mean(alike):.3f} +- {error:.3f}")  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
