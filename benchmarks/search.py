"""A search of 20 length scales and 48 regularisers beside scikit-learn's GridSearchCV.

Sorted Coulomb matrices of QM7, Gaussian kernel, PBE0 atomisation energies. ``LeaveOneOutSearch``
gives all 960 candidates their exact leave-one-out error and the 20 best their exact 5-fold error;
``GridSearchCV`` of ``KernelRidge`` gives all of them the latter by refits. It is timed on a few
candidates and extrapolated: its time is proportional to their number.

One thread: run with OMP_NUM_THREADS=1, and taskset on a busy machine. CPU seconds.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold

from kernchem import KRR, Structures
from kernchem.descriptors import CoulombMatrix
from kernchem.kernels import Gaussian
from kernchem.models import LeaveOneOutSearch

N_SCALES, N_ALPHAS, N_BEST = 20, 48, 20
GOAL = 1.0 / 12.0


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features in random order, and labels less their mean."""
    with np.load(folder / "qm7.npz") as data:
        order = np.random.default_rng(0).permutation(len(data["e_pbe0"]))
        molecules = Structures.from_arrays(data["Z"][order], data["R"][order])
        labels = data["e_pbe0"][order]
    return CoulombMatrix().fit_transform(molecules), labels - labels.mean()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds qm7.npz")
    parser.add_argument("--n", type=int, default=5000, help="samples")
    parser.add_argument("--candidates", type=int, default=3, help="candidates of the peer")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    X, y = (part[: arguments.n] for part in load(arguments.data))
    folds = KFold(5, shuffle=True, random_state=0)
    scales = np.geomspace(20.0, 2000.0, N_SCALES)
    alphas = np.geomspace(1e-10, 1e-1, N_ALPHAS)
    LeaveOneOutSearch(KRR(Gaussian()), length_scales=2, alphas=2).fit(X[:50], y[:50])

    start = time.process_time()
    search = LeaveOneOutSearch(
        KRR(Gaussian()), length_scales=scales, alphas=alphas, cv=folds, n_best=N_BEST
    ).fit(X, y)
    seconds = time.process_time() - start

    best = search.cv_results_
    order = np.argsort(best["rank_test_score"])[: arguments.candidates]
    start = time.process_time()
    errors = []
    for k in order:
        grid = {
            "gamma": [0.5 / best["param_length_scale"][k] ** 2],
            "alpha": [best["param_alpha"][k]],
        }
        peer = GridSearchCV(
            KernelRidge(kernel="rbf"), grid, cv=folds, refit=False,
            scoring="neg_mean_absolute_error",
        ).fit(X, y)  # fmt: skip
        errors.append(-peer.best_score_)
    each = (time.process_time() - start) / len(order)
    n_candidates = N_SCALES * N_ALPHAS
    result = {
        "n": len(y),
        "seconds": seconds,
        "peer_seconds_per_candidate": each,
        "peer_seconds": each * n_candidates,
        "ratio": seconds / (each * n_candidates),
        "goal": GOAL,
        "best_length_scale": float(best["param_length_scale"][order[0]]),
        "best_alpha": float(best["param_alpha"][order[0]]),
        "cv_error": float(best["cv_error"][order[0]]),
        "largest_difference_of_errors": float(
            np.abs(best["cv_error"][order] - np.array(errors)).max()
        ),
    }
    print(f"{result['n']} samples, {n_candidates} candidates: {seconds:.0f} s; GridSearchCV "
          f"{each:.2f} s per candidate, {each * n_candidates:.0f} s for all (extrapolated from "
          f"{len(order)})")  # fmt: skip
    print(f"ratio 1/{1 / result['ratio']:.1f} (goal 1/{1 / GOAL:.0f})")
    print(f"best: length scale {result['best_length_scale']:.4g}, "
          f"alpha {result['best_alpha']:.2e}, 5-fold MAE {result['cv_error']:.3f}")  # fmt: skip
    print(f"the peer's errors differ by {result['largest_difference_of_errors']:.1e} at most")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
