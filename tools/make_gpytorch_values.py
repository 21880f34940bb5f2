"""Write values of GPyTorch's exact Gaussian processes, with which tests compare ours.

Run with ``gpytorch`` installed (the extra ``bench``): ``python tools/make_gpytorch_values.py``. It
writes tests/models/gpytorch_values.json: inputs, hyperparameters, log marginal likelihood, its
slopes, means and variances, by Cholesky factorisation in float64.
"""

import json
from pathlib import Path
from typing import Any

import gpytorch
import numpy as np
import torch

OUT = Path(__file__).parents[1] / "tests" / "models" / "gpytorch_values.json"
AMPLITUDE, NOISE = 1.7, 0.03


class Exact(gpytorch.models.ExactGP):
    """A process of mean zero."""

    def __init__(self, X: Any, y: Any, likelihood: Any, kernel: Any) -> None:
        super().__init__(X, y, likelihood)
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(kernel)

    def forward(self, x: Any) -> Any:
        """Return the prior."""
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def values(X: np.ndarray, y: np.ndarray, new: np.ndarray, nu: float | None, widths: list) -> dict:
    """Return what one process gives; nu of None is the Gaussian kernel."""
    n_widths = len(widths) if len(widths) > 1 else None
    if nu is None:
        kernel = gpytorch.kernels.RBFKernel(ard_num_dims=n_widths)
    else:
        kernel = gpytorch.kernels.MaternKernel(nu=nu, ard_num_dims=n_widths)
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = Exact(torch.tensor(X), torch.tensor(y), likelihood, kernel)
    kernel.lengthscale = torch.tensor(widths)
    model.covar_module.outputscale, likelihood.noise = AMPLITUDE, NOISE
    with (
        gpytorch.settings.fast_computations(False, False, False),
        gpytorch.settings.max_cholesky_size(10**6),
    ):
        model.train()
        likelihood.train()
        density = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
        value = density(model(model.train_inputs[0]), model.train_targets) * len(y)
        value.backward()
        # Slopes along the logarithms of widths, from those along what softplus is taken of.
        raw = kernel.raw_lengthscale
        slopes = raw.grad / torch.sigmoid(raw) * kernel.lengthscale
        model.eval()
        likelihood.eval()
        with torch.no_grad():
            found = likelihood(model(torch.tensor(new)))
            return {
                "nu": nu,
                "widths": widths,
                "log_likelihood": float(value),
                "slopes": slopes.detach().flatten().tolist(),
                "mean": found.mean.tolist(),
                "covariance": found.covariance_matrix.tolist(),
            }


def main() -> None:
    """Write the file."""
    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(25, 2)).round(3), rng.normal(size=(4, 2)).round(3)
    y = (np.sin(X[:, 0]) + np.cos(2 * X[:, 1]) + 0.1 * rng.normal(size=25)).round(4)
    cases = [
        values(X, y, new, nu, widths)
        for nu in (None, 0.5, 1.5, 2.5)
        for widths in ([0.9], [0.7, 1.6])
    ]
    content = {
        "gpytorch": gpytorch.__version__,
        "torch": torch.__version__,
        "amplitude": AMPLITUDE,
        "noise": NOISE,
        "X": X.tolist(),
        "y": y.tolist(),
        "new": new.tolist(),
        "cases": cases,
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
