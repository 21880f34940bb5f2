"""Adversarial sampling of a two-dimensional double well, from labels of one well.

E(x, y) = (x^2 - 1)^2 + y^2 on what lies below 1.5 with abs(y) < 1. Ten labels around x = -1; each
round finds five points with ``AdversarialSampler``, labels them by the true function and fits the
model anew. The table has the mean absolute error after each round, and that of as many points
displaced at random.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np

from kernchem import GPR
from kernchem.errors import KernchemWarning
from kernchem.kernels import Gaussian
from kernchem.sampling import AdversarialSampler


def energy(X: np.ndarray) -> np.ndarray:
    """Return the double well at points (n, 2)."""
    return (X[:, 0] ** 2 - 1.0) ** 2 + X[:, 1] ** 2


def errors(seed: int, rounds: int, *, adversarial: bool = True) -> list[float]:
    """Return the mean absolute error after 0, 1, ... rounds of five points."""
    grid = np.stack(np.meshgrid(np.linspace(-1.6, 1.6, 49), np.linspace(-1.0, 1.0, 31)), axis=-1)
    grid = grid.reshape(-1, 2)
    grid = grid[energy(grid) < 1.5]
    rng = np.random.default_rng(seed)
    X = np.array([-1.0, 0.0]) + 0.15 * rng.normal(size=(10, 2))
    found = []
    for turn in range(rounds + 1):
        with warnings.catch_warnings():
            # Ten labels of one well leave the width at a bound.
            warnings.simplefilter("ignore", KernchemWarning)
            model = GPR(Gaussian(1.0, (0.3, 5.0)), alpha=1e-8, calibration=None)
            model.fit(X, energy(X))
        found.append(float(np.abs(model.predict(grid) - energy(grid)).mean()))
        if turn == rounds:
            return found
        if adversarial:
            sampler = AdversarialSampler(
                model, temperature=0.5, max_displacement=0.8, n_starts=3, random_state=seed + turn
            )
            more = sampler.sample(X, 5)[0]
        else:
            steps = rng.normal(size=(5, 2))
            steps *= 0.8 * rng.uniform(size=(5, 1)) / np.linalg.norm(steps, axis=1)[:, None]
            more = X[rng.integers(len(X), size=5)] + steps
        X = np.concatenate([X, more])
    return found


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    rows = []
    for adversarial in (True, False):
        print("adversarial" if adversarial else "random displacements")
        print("seed" + "".join(f"{turn:9}" for turn in range(arguments.rounds + 1)))
        for seed in range(arguments.seeds):
            maes = errors(seed, arguments.rounds, adversarial=adversarial)
            rows.append({"adversarial": adversarial, "seed": seed, "mae": maes})
            print(f"{seed:4}" + "".join(f"{mae:9.4f}" for mae in maes))
    passed = sum(min(row["mae"]) < 0.02 for row in rows if row["adversarial"])
    print(f"below 0.02 within {arguments.rounds} rounds: {passed} of {arguments.seeds} seeds")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
