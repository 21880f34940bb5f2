"""Geometries that a model knows least of: a double well, learnt from one of its wells.

Run: ``python examples/06_adversarial_sampling.py``; it writes adversarial_sampling.png.
"""

import warnings

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from kernchem import GPR
from kernchem.errors import KernchemWarning
from kernchem.kernels import Gaussian
from kernchem.sampling import AdversarialSampler

# Ten labels of one well leave the width of the kernel at a bound.
warnings.simplefilter("ignore", KernchemWarning)


def energy(X: np.ndarray) -> np.ndarray:
    """Return a double well with minima at x = -1 and x = 1."""
    return (X[:, 0] ** 2 - 1.0) ** 2 + X[:, 1] ** 2


def fit(X: np.ndarray) -> GPR:
    """Return a model of some points."""
    return GPR(Gaussian(1.0, (0.3, 5.0)), alpha=1e-8, calibration=None).fit(X, energy(X))


x, y = np.meshgrid(np.linspace(-1.6, 1.6, 97), np.linspace(-1.0, 1.0, 61))
grid = np.stack([x.ravel(), y.ravel()], axis=1)
low = energy(grid) < 1.5

start = np.array([-1.0, 0.0]) + 0.15 * np.random.default_rng(0).normal(size=(10, 2))
rounds = [start]
for turn in range(7):
    known = np.concatenate(rounds)
    model = fit(known)
    error = np.abs(model.predict(grid[low]) - energy(grid[low])).mean()
    print(f"{len(known)} labels: mean absolute error {error:.4f}")
    if turn < 6:
        sampler = AdversarialSampler(
            model, temperature=0.5, max_displacement=0.8, n_starts=3, random_state=turn
        )
        rounds.append(sampler.sample(known, 5)[0])

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
shown = {"labels of one well": rounds[:1], "after 6 rounds of 5": rounds}
for ax, (title, known) in zip(axes, shown.items(), strict=True):
    std = fit(np.concatenate(known)).predict(grid, return_std=True)[1].reshape(x.shape)
    drawn = ax.contourf(x, y, np.log10(np.maximum(std, 1e-6)), levels=np.linspace(-6, 1, 15))
    ax.contour(x, y, energy(grid).reshape(x.shape), levels=[0.3, 0.9, 1.5], colors="w")
    for turn, points in enumerate(known):
        ax.plot(*points.T, "o", color="k" if turn == 0 else "tab:orange", markersize=4)
    ax.set(title=title, xlabel="x")
axes[0].set_ylabel("y")
figure.colorbar(drawn, ax=axes, label="log10 of the error bar")
figure.savefig("adversarial_sampling.png", dpi=150)
