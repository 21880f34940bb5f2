"""Speed of Gaussian processes beside scikit-learn, GPyTorch and MAPIE, on sorted Coulomb matrices.

``--cases fit`` does the first two of these:

- fit: three hyperparameters (amplitude, width, noise) by the likelihood at N = 1000, standardised
  features and labels, beside ``GaussianProcessRegressor``; the log likelihoods that both reach are
  in the table.
- predict: mean and standard deviation of 2000 molecules with that model, beside GPyTorch with its
  Cholesky settings and the same hyperparameters; first call (GPyTorch factorises in it) and later
  calls.
- jackknife+: exact intervals of 5000 points from 5000 labels, beside the refits of MAPIE, measured
  at N = 300 and extrapolated by n^3 per refit for the solution and n per prediction and refit;
  intervals are compared at N = 300.
- append: 50 labels to 5000, and 50 more each time, beside the factorisation of 5050.

One thread: run with OMP_NUM_THREADS=1, and taskset on a busy machine. Times are CPU seconds, the
least of the repeats.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kernchem import GPR, Structures
from kernchem.descriptors import CoulombMatrix
from kernchem.kernels import Gaussian, Laplacian

CASES = ("fit", "jackknife+", "append")


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted Coulomb matrices of QM7 in random order, and atomisation energies."""
    with np.load(folder / "qm7.npz") as data:
        order = np.random.default_rng(0).permutation(len(data["e_pbe0"]))
        molecules = Structures.from_arrays(data["Z"][order], data["R"][order])
        return CoulombMatrix().fit_transform(molecules), data["e_pbe0"][order]


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the least CPU time of some calls, and what the last one returned."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return best, result


def fit_beside_scikit_learn(X: np.ndarray, y: np.ndarray, repeats: int) -> tuple[dict, GPR]:
    """Fit both to the same likelihood."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-3, 1e6)) * RBF(20.0, (1e-1, 1e4))
    kernel += WhiteKernel(1e-2, (1e-10, 1e2))

    def peer() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return GaussianProcessRegressor(kernel).fit(X, y)

    def ours() -> GPR:
        return GPR(Gaussian(), optimizer="lml", amplitude="lml", calibration=None).fit(X, y)

    ours()
    own_seconds, own = timed(ours, repeats)
    peer_seconds, other = timed(peer, 1)
    return {
        "case": "fit, N=1000",
        "peer": "scikit-learn",
        "seconds": own_seconds,
        "peer_seconds": peer_seconds,
        "goal": 0.25,
        "note": f"log likelihood {own.log_marginal_likelihood():.1f}, "
        f"peer {other.log_marginal_likelihood_value_:.1f}",
    }, own


def predict_beside_gpytorch(
    model: GPR, X: np.ndarray, y: np.ndarray, new: np.ndarray, repeats: int
) -> list[dict]:
    """Predict with the same hyperparameters."""
    try:
        import gpytorch
        import torch
    except ImportError:
        return []
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)

    class Exact(gpytorch.models.ExactGP):
        def __init__(self, x: Any, labels: Any, likelihood: Any) -> None:
            super().__init__(x, labels, likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())

        def forward(self, x: Any) -> Any:
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(x), self.covar_module(x)
            )

    likelihood = gpytorch.likelihoods.GaussianLikelihood(
        noise_constraint=gpytorch.constraints.GreaterThan(1e-12)
    )
    peer = Exact(torch.tensor(X), torch.tensor(y), likelihood)
    peer.covar_module.outputscale = float(model.amplitude_)
    peer.covar_module.base_kernel.lengthscale = float(model.kernel_.length_scale)
    likelihood.noise = float(model.amplitude_ * model.alpha_)
    points = torch.tensor(new)

    def predicted(*, anew: bool) -> tuple[np.ndarray, np.ndarray]:
        if anew:
            peer.train()
            likelihood.train()
        peer.eval()
        likelihood.eval()
        with (
            torch.no_grad(),
            gpytorch.settings.fast_computations(False, False, False),
            gpytorch.settings.max_cholesky_size(100000),
        ):
            found = likelihood(peer(points))
            return found.mean.numpy(), np.sqrt(found.variance.numpy())

    predicted(anew=True)
    first, _ = timed(lambda: predicted(anew=True), repeats)
    later, expected = timed(lambda: predicted(anew=False), repeats)
    model.predict(new, return_std=True)
    own, found = timed(lambda: model.predict(new, return_std=True), repeats)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
    return [
        {
            "case": f"mean and std of {len(new)}, {which} call",
            "peer": "GPyTorch",
            "seconds": own,
            "peer_seconds": seconds,
            "goal": 0.4,
            "note": f"largest difference {difference:.1e}",
        }
        for which, seconds in (("first", first), ("later", later))
    ]


def jackknife_beside_mapie(X: np.ndarray, y: np.ndarray, n: int, small: int) -> list[dict]:
    """Compare exact intervals with refits."""
    try:
        from mapie.regression import CrossConformalRegressor
    except ImportError:
        return []
    from kernchem import KRR

    fixed = {"kernel": Laplacian(2000.0), "alpha": 1e-5, "optimizer": None}
    # No more new points than refits, so that each refit has its share of both.
    train, labels, new = X[:small], y[:small], X[-small:]
    start = time.process_time()
    peer = CrossConformalRegressor(KRR(**fixed), confidence_level=0.9, method="plus", cv=-1)
    peer.fit_conformalize(train, labels)
    _, ends = peer.predict_interval(new)
    peer_seconds = time.process_time() - start
    own = GPR(**fixed).fit(train, labels).predict_interval(new, 0.9, "jackknife+")
    difference = float(np.abs(np.stack(own, axis=1) - ends[:, :, 0]).max())
    big, points = X[:n], X[-min(n, len(X) - n) :]
    points = np.resize(points, (n, X.shape[1]))
    start = time.process_time()
    GPR(**fixed).fit(big, y[:n]).predict_interval(points, 0.9, "jackknife+")
    seconds = time.process_time() - start
    # n refits, each quadratic in n for kernels and predictions, cubic for the solution.
    factors = {"n^3": (n / small) ** 3, "n^4": (n / small) ** 4}
    return [
        {
            "case": f"jackknife+, N={n}, {n} points",
            "peer": f"MAPIE, N={small} times {power}",
            "seconds": seconds,
            "peer_seconds": peer_seconds * factor,
            "goal": 1 / 500,
            "note": f"largest difference at N={small}: {difference:.1e}",
        }
        for power, factor in factors.items()
    ]


def append_beside_factorisation(
    X: np.ndarray, y: np.ndarray, n: int, more: int, repeats: int
) -> dict:
    """Append labels again and again, and factorise anew."""
    from kernchem.solvers import CholeskyFactor

    kernel = Laplacian(2000.0)
    fixed = {"kernel": kernel, "alpha": 1e-5, "optimizer": None, "calibration": None}
    model = GPR(**fixed).fit(X[:n], y[:n])

    last = n + repeats * more
    starts = iter(range(n, last, more))

    def append() -> None:
        rows = slice(first := next(starts), first + more)
        model.append(X[rows], y[rows], calibrate=False)

    seconds, _ = timed(append, repeats)
    K = kernel(X[: n + more])
    copies = iter([K.copy() for _ in range(repeats)])
    peer_seconds, _ = timed(lambda: CholeskyFactor(next(copies), 1e-5), repeats)
    other = GPR(**fixed).fit(X[:last], y[:last])
    found, expected = model.predict(X[-500:]), other.predict(X[-500:])
    difference = float(np.abs(found / expected - 1.0).max())
    return {
        "case": f"append {more} to {n}",
        "peer": "factorisation",
        "seconds": seconds,
        "peer_seconds": peer_seconds,
        "goal": 0.06,
        "note": f"largest relative difference {difference:.1e}",
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds qm7.npz")
    parser.add_argument("--n", type=int, default=5000, help="labels of jackknife+ and append")
    parser.add_argument("--small", type=int, default=300, help="labels of the refits")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    X, y = load(arguments.data)
    rows = []
    if "fit" in arguments.cases:
        varied = X[:1000].std(axis=0) > 0.0
        scaled = X[:, varied] - X[:1000, varied].mean(axis=0)
        scaled /= X[:1000, varied].std(axis=0)
        labels = (y - y[:1000].mean()) / y[:1000].std()
        row, model = fit_beside_scikit_learn(scaled[:1000], labels[:1000], arguments.repeats)
        rows.append(row)
        rows += predict_beside_gpytorch(
            model, scaled[:1000], labels[:1000], scaled[2000:4000], arguments.repeats
        )
    if "jackknife+" in arguments.cases:
        rows += jackknife_beside_mapie(X, y, arguments.n, arguments.small)
    if "append" in arguments.cases:
        rows.append(append_beside_factorisation(X, y, arguments.n, 50, arguments.repeats))
    print(f"{'case':34}{'peer':26}{'ours s':>9}{'peer s':>12}{'ratio':>10}{'goal':>8}  note")
    for row in rows:
        row["ratio"] = row["seconds"] / row["peer_seconds"]
        print(f"{row['case']:34}{row['peer']:26}{row['seconds']:9.3f}{row['peer_seconds']:12.3f}"
              f"{row['ratio']:10.5f}{row['goal']:8.3f}  {row['note']}")  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
