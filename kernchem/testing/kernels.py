"""The contract of kernels on rows of features, one function per promise."""
# ruff: noqa: D401 - a docstring says what is promised, and is no command

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Kernel, NormalizedKernelMixin, WhiteKernel

from kernchem.errors import SettingError
from kernchem.kernels import RadialKernel
from kernchem.testing.contract import Array, pickled, require, require_close, require_promises

__all__ = ["check_kernel"]

#: Samples of the default: more than fit a panel of any kernel here.
_SAMPLES = 70
#: Samples where the cost is more than one matrix.
_FEW = 20
#: What rounding may change, relative to the largest element.
_CLOSE = 1e-10
#: Step along theta in finite differences; with Richardson's extrapolation, errors are ~ step^4.
_STEP = 1e-3


@dataclass(frozen=True)
class _Trial:
    """What the promises are tried on; ``Y`` holds other samples than ``X``."""

    kernel: Any
    X: Array
    Y: Array

    @property
    def few(self) -> Array:
        return self.X[:_FEW]


def check_kernel(kernel: Any, X: npt.ArrayLike | None = None) -> None:
    """Check that a kernel keeps every promise that kernchem and scikit-learn rely on.

    Nothing is printed, and nothing returned: a promise that is broken is an error.

    Parameters
    ----------
    kernel : kernel
        An object with the hyperparameters to check it at, of :mod:`kernchem.kernels`, of
        scikit-learn, a sum, product or power of these, or your own.
    X : array-like (n_samples, n_features), optional
        At least three samples between which the kernel varies. By default 70 normally distributed
        ones with five features, or as many as the kernel has length scales.

    Raises
    ------
    AssertionError
        At the first promise that is broken; the message says which one, for which samples, and by
        how much. An error inside the kernel becomes its cause.
    SettingError
        If ``X`` holds fewer than three samples or numbers that are not finite.

    Notes
    -----
    Checked in this order: scikit-learn's protocol; a new float64 matrix; input left alone; symmetry
    of ``K(X)`` and of ``K(X, Y)``; ``K(X) = K(X, X)``; ``diag``, with ones for normalised kernels;
    that stationary ones ignore a shift; no eigenvalue below -1e-10 of the trace, also with
    duplicates, which must be alike; one sample; the same bits for any ``n_jobs``. For
    :class:`~kernchem.kernels.RadialKernel` exact symmetry, and that ``pair``, ``distances``,
    ``from_distances``, ``gradient_from_distances`` and ``length_scale_from`` agree with the matrix.
    Then ``theta`` there and back; the gradient against finite differences; hyperparameters with
    fixed bounds; clones, copies and ``==``; sums, products and powers; scikit-learn's Gaussian
    process.

    White noise is known by its zeros between different samples; a kernel that contains some may
    differ from ``K(X, X)`` on the diagonal.

    Examples
    --------
    >>> from kernchem.kernels import Laplacian
    >>> from sklearn.gaussian_process.kernels import DotProduct
    >>> check_kernel(Laplacian(2.0))
    >>> check_kernel(3.0 * Laplacian(2.0) + DotProduct())
    """
    samples = _default_samples(kernel) if X is None else np.array(X, dtype=np.float64)
    if samples.ndim != 2 or len(samples) < 3 or not np.isfinite(samples).all():
        raise SettingError(
            f"X has shape {samples.shape}; expected at least three samples of finite features"
        )
    # Points between samples are as far apart as samples are.
    others = (0.3 * samples[:-1] + 0.7 * samples[1:])[:_FEW]
    require_promises(_PROMISES, _Trial(kernel, samples, others), kernel)


# -- the promises, in the order in which they are tried -------------------------------------------


def _follows_the_protocol(trial: _Trial) -> None:
    """A kernel is one in the sense of scikit-learn."""
    require(
        isinstance(trial.kernel, Kernel),
        "it does not derive from sklearn.gaussian_process.kernels.Kernel",
    )


def _returns_new_matrices(trial: _Trial) -> None:
    """Each call returns a finite matrix of float64 that the caller may overwrite."""
    for samples in ((trial.X,), (trial.X, trial.Y)):
        K = trial.kernel(*map(np.copy, samples))
        shape = (len(samples[0]), len(samples[-1]))
        require(isinstance(K, np.ndarray), f"it returned {type(K).__name__}")
        require(K.dtype == np.float64, f"the matrix is of type {K.dtype}")
        require(K.shape == shape, f"the matrix is {K.shape} where {shape} was expected")
        require(np.isfinite(K).all(), "the matrix holds numbers that are not finite")
        before = K.copy()
        require(K.flags.writeable, "the matrix cannot be written")
        K[:] = -1.0
        again = trial.kernel(*map(np.copy, samples))
        require_close(again, before, _element("K", "when called again"))


def _leaves_input_alone(trial: _Trial) -> None:
    """The samples are not changed, and may be read-only."""
    X, Y = trial.few.copy(), trial.Y.copy()
    for args in ((X,), (X, Y), (X, None, True)):
        trial.kernel(*args)
    trial.kernel.diag(X)
    require_close(X, trial.few, _element("X"))
    require_close(Y, trial.Y, _element("Y"))
    expected = trial.kernel(X, Y)
    X.flags.writeable = Y.flags.writeable = False
    require_close(trial.kernel(X, Y), expected, _element("K", "of read-only samples"))


def _is_symmetric(trial: _Trial) -> None:
    """K(X) is symmetric, and K(X, Y) is the transpose of K(Y, X)."""
    K, cross = trial.kernel(trial.X), trial.kernel(trial.X, trial.Y)
    exact = isinstance(trial.kernel, RadialKernel)
    require_close(K, K.T, _element("K(X)"), 0.0 if exact else _rounding(K))
    other = trial.kernel(trial.Y, trial.X).T
    require_close(other, cross, _element("K(Y, X).T"), _rounding(cross))


def _is_one_function(trial: _Trial) -> None:
    """K(X) equals K(X, X), but for white noise on the diagonal."""
    K, cross = trial.kernel(trial.X), trial.kernel(trial.X, trial.X.copy())
    noise = np.diag(K - cross).copy()
    if _has_noise(trial.kernel, trial.X):
        require((noise >= -_rounding(K)).all(), f"the noise is negative: {noise.min():.2g}")
        np.fill_diagonal(K, np.diag(cross))
    require_close(K, cross, _element("K(X)"), _rounding(cross))


def _knows_its_diagonal(trial: _Trial) -> None:
    """diag(X) is the diagonal of K(X), and one for a normalised kernel."""
    for X in (trial.Y, trial.X):
        K, diagonal = trial.kernel(X), trial.kernel.diag(X)
        require_close(diagonal, np.diag(K), _element("diag"), _rounding(np.diag(K)))
    if isinstance(trial.kernel, NormalizedKernelMixin):
        exact = isinstance(trial.kernel, RadialKernel)
        ones = np.ones(len(K))
        require_close(np.diag(K), ones, _element("diag"), 0.0 if exact else _CLOSE)


def _ignores_a_shift(trial: _Trial) -> None:
    """A stationary kernel depends on differences of features only."""
    if trial.kernel.is_stationary():
        K = trial.kernel(trial.X, trial.Y)
        shifted = trial.kernel(trial.X + 0.5, trial.Y + 0.5)
        require_close(shifted, K, _element("K", "shifted"), 100.0 * _rounding(K))


def _is_positive(trial: _Trial) -> None:
    """No eigenvalue is negative, and duplicates are alike."""
    few = trial.few
    for what, X in (("X", trial.X), ("duplicates", np.concatenate([few, few]))):
        K = trial.kernel(X)
        lowest, trace = float(np.linalg.eigvalsh(K)[0]), float(np.trace(K))
        require(
            lowest >= -_CLOSE * trace,
            f"the smallest eigenvalue of K for {what} is {lowest:.3g}, and the trace {trace:.3g}",
        )
    K = trial.kernel(np.concatenate([few, few]), trial.Y)
    again = K[len(few) :]
    require_close(again, K[: len(few)], _element("K", "of duplicates"), _rounding(K))


def _takes_single_samples(trial: _Trial) -> None:
    """One sample, and no other samples, give the part of the matrix that belongs to them."""
    K, few = trial.kernel(trial.few, trial.Y), trial.few
    one = np.concatenate([trial.kernel(few[[k]], trial.Y) for k in range(len(few))])
    require_close(one, K, _element("K", "one sample at a time"), _rounding(K))
    alone, diagonal = trial.kernel(few[:1]), trial.kernel.diag(few[:1])
    require_close(alone, diagonal[None], _element("K(X[:1])"), _rounding(diagonal))


def _ignores_threads(trial: _Trial) -> None:
    """The bits do not depend on n_jobs."""
    names = [name for name in trial.kernel.get_params() if name.split("__")[-1] == "n_jobs"]
    if not names:
        return
    for X, Y in ((trial.X, None), (trial.X, trial.Y), (trial.Y, trial.X)):
        expected = clone(trial.kernel).set_params(**dict.fromkeys(names, 1))(X, Y)
        for n_jobs in (2, 3):
            kernel = clone(trial.kernel).set_params(**dict.fromkeys(names, n_jobs))
            require_close(kernel(X, Y), expected, _element("K", f"with n_jobs={n_jobs}"))


def _agrees_with_its_definition(trial: _Trial) -> None:
    """A radial kernel's matrix holds pair(x, y)."""
    kernel = trial.kernel
    if isinstance(kernel, RadialKernel):
        pairs = np.array([[kernel.pair(x, y) for y in trial.Y[:4]] for x in trial.X[:4]])
        K = kernel(trial.X[:4], trial.Y[:4])
        require_close(K, pairs, _element("K"), _rounding(pairs))


def _agrees_with_its_distances(trial: _Trial) -> None:
    """A radial kernel is from_distances(distances), and so is its gradient."""
    kernel, X, Y = trial.kernel, trial.X, trial.Y
    if not isinstance(kernel, RadialKernel):
        return
    D, across = kernel.distances(X), kernel.distances(X, Y)
    require_close(D, D.T, _element("distances(X)"))
    require_close(np.diag(D), np.zeros(len(X)), _element("the diagonal of distances(X)"))
    require_close(kernel.from_distances(D), kernel(X), _element("from_distances"), _CLOSE)
    where = _element("from_distances", "of X and Y")
    require_close(kernel.from_distances(across), kernel(X, Y), where, _CLOSE)
    K, gradient = kernel(X, eval_gradient=True)
    if gradient.shape[2] == 1:
        got, expected = kernel.gradient_from_distances(D, K), gradient[:, :, 0]
        require_close(got, expected, _element("gradient_from_distances"), _rounding(expected))
    in_place = D.copy()
    require(kernel.from_distances(in_place, out=in_place) is in_place, "out is not what it returns")
    require_close(in_place, kernel.from_distances(D), _element("from_distances", "in place"))


def _scales_with_the_features(trial: _Trial) -> None:
    """The length scale of a typical distance has the unit of the features."""
    kernel = trial.kernel
    if isinstance(kernel, RadialKernel):
        first, second = (
            kernel.length_scale_from(float(np.median(kernel.distances(factor * trial.X))))
            for factor in (1.0, 1000.0)
        )
        require(first > 0, f"length_scale_from a median distance is {first}")
        require(
            abs(second / first - 1000.0) <= 1e-6,
            f"features times 1000 have a length scale times {second / first:.10g}",
        )


def _keeps_theta(trial: _Trial) -> None:
    """The free hyperparameters go into theta, as logarithms within their bounds, and back."""
    kernel, X = trial.kernel, trial.few
    theta, bounds = np.array(kernel.theta), np.asarray(kernel.bounds)
    free = sum(h.n_elements for h in kernel.hyperparameters if not h.fixed)
    require(theta.shape == (free,), f"theta is {theta.shape} for {free} free hyperparameters")
    require(kernel.n_dims == free, f"n_dims is {kernel.n_dims} where {free} was expected")
    require(
        bounds.reshape(-1, 2).shape == (free, 2) and (free == 0 or bounds.shape == (free, 2)),
        f"bounds is {bounds.shape} where {(free, 2)} was expected",
    )
    inside = (bounds.reshape(-1, 2).T[0] <= theta) & (theta <= bounds.reshape(-1, 2).T[1])
    require(inside.all(), f"theta={theta} is outside of its bounds {bounds.tolist()}")
    K = kernel(X)
    other = kernel.clone_with_theta(theta + 0.3)
    near = np.allclose(other.theta, theta + 0.3, rtol=0.0, atol=1e-12)
    require(near, f"clone_with_theta({theta + 0.3}) has theta={other.theta}")
    require_close(kernel(X), K, _element("K", "after clone_with_theta"))
    back = other.clone_with_theta(theta)
    require_close(back(X), K, _element("K", "with theta there and back"), _rounding(K))
    other.theta = theta
    require_close(other(X), K, _element("K", "with theta set back"), _rounding(K))


def _knows_its_gradient(trial: _Trial) -> None:
    """eval_gradient gives K(X) and its derivatives with respect to theta."""
    kernel, X, theta = trial.kernel, trial.few, trial.kernel.theta
    K, gradient = kernel(X, eval_gradient=True)
    require_close(K, kernel(X), _element("K", "with eval_gradient"), _rounding(K))
    shape = (len(X), len(X), len(theta))
    require(gradient.shape == shape, f"the gradient is {gradient.shape} where {shape} was expected")
    for axis, expected in enumerate(_numerical_gradient(kernel, X)):
        allowed = 1e-9 * np.abs(K).max() + 1e-7 * np.abs(expected).max()
        where = _element("the gradient", f"along theta[{axis}]")
        require_close(gradient[:, :, axis], expected, where, allowed)


def _lets_bounds_be_fixed(trial: _Trial) -> None:
    """A hyperparameter whose bounds are "fixed" leaves theta and the gradient."""
    kernel, X = trial.kernel, trial.few
    K = kernel(X)
    for parameter in kernel.hyperparameters:
        name = f"{parameter.name}_bounds"
        if parameter.fixed or name not in kernel.get_params():
            continue
        fixed = clone(kernel).set_params(**{name: "fixed"})
        n_left = len(kernel.theta) - parameter.n_elements
        require(len(fixed.theta) == n_left, f"{name}='fixed' leaves theta={fixed.theta}")
        value, gradient = fixed(X, eval_gradient=True)
        shape = (len(X), len(X), n_left)
        require(gradient.shape == shape, f"{name}='fixed' leaves a gradient {gradient.shape}")
        require_close(value, K, _element("K", f"with {name}='fixed'"), _rounding(K))


def _can_be_copied(trial: _Trial) -> None:
    """Clones and pickled copies are equal to the kernel, and other kernels are not."""
    kernel, X = trial.kernel, trial.few
    K = kernel(X)
    for what, copy in (("clone", clone(kernel)), ("copy", pickled(kernel))):
        require(copy is not kernel and copy == kernel, f"its {what} does not equal the kernel")
        require_close(copy(X), K, _element("K", f"of the {what}"))
    require(kernel != kernel + RBF(), "a kernel equals its sum with another one")
    if len(kernel.theta):
        other = kernel.clone_with_theta(kernel.theta + 0.1)
        require(kernel != other, "a kernel equals that with another theta")


def _works_in_algebra(trial: _Trial) -> None:
    """Sums, products and powers with scikit-learn's kernels have their values and gradients."""
    kernel, X, other = trial.kernel, trial.few, RBF(2.0)
    K, dK = kernel(X, eval_gradient=True)
    R, dR = other(X, eval_gradient=True)
    k, r = K[:, :, np.newaxis], R[:, :, np.newaxis]
    for what, composite, value, gradient in (
        ("kernel + RBF", kernel + other, K + R, np.dstack([dK, dR])),
        ("kernel * RBF", kernel * other, K * R, np.dstack([dK * r, k * dR])),
        ("RBF * kernel", other * kernel, K * R, np.dstack([dR * k, r * dK])),
        ("kernel ** 2", kernel**2, K**2, 2.0 * k * dK),
    ):
        got, got_gradient = composite(X, eval_gradient=True)
        require_close(got, value, _element(what), _rounding(value))
        allowed = _CLOSE * (np.abs(gradient).max(initial=0.0) + np.abs(value).max())
        require_close(got_gradient, gradient, _element(f"the gradient of {what}"), allowed)


def _serves_gaussian_processes(trial: _Trial) -> None:
    """scikit-learn's GaussianProcessRegressor predicts the mean and variance of the formula."""
    X, Y = trial.few, trial.Y
    y = np.random.default_rng(1).normal(size=len(X))
    kernel = trial.kernel + WhiteKernel(float(trial.kernel.diag(X).mean()))
    model = GaussianProcessRegressor(kernel, optimizer=None).fit(X, y)
    mean, std = model.predict(Y, return_std=True)
    K, cross = kernel(X), trial.kernel(Y, X)
    expected = cross @ np.linalg.solve(K, y)
    scale = np.abs(y).max()
    require_close(mean, expected, _element("the mean"), 1e-8 * scale)
    variance = kernel.diag(Y) - np.einsum("ij,ji->i", cross, np.linalg.solve(K, cross.T))
    require_close(std**2, variance, _element("the variance"), 1e-8 * np.abs(K).max())
    _, gradient = model.log_marginal_likelihood(kernel.theta, eval_gradient=True)
    require(np.isfinite(gradient).all(), f"the gradient of the likelihood is {gradient}")


_PROMISES: tuple[Callable[[_Trial], None], ...] = (
    _follows_the_protocol,
    _returns_new_matrices,
    _leaves_input_alone,
    _is_symmetric,
    _is_one_function,
    _knows_its_diagonal,
    _ignores_a_shift,
    _is_positive,
    _takes_single_samples,
    _ignores_threads,
    _agrees_with_its_definition,
    _agrees_with_its_distances,
    _scales_with_the_features,
    _keeps_theta,
    _knows_its_gradient,
    _lets_bounds_be_fixed,
    _can_be_copied,
    _works_in_algebra,
    _serves_gaussian_processes,
)


# -- helpers --------------------------------------------------------------------------------------


def _default_samples(kernel: Any) -> Array:
    """Return random samples, with a feature for each length scale if there are several."""
    widths = [parameter.n_elements for parameter in getattr(kernel, "hyperparameters", [])]
    n_features = max([*widths, 1])
    shape = (_SAMPLES, n_features if n_features > 1 else 5)
    return np.random.default_rng(0).normal(size=shape)


def _has_noise(kernel: Any, X: Array) -> bool:
    """Whether a part of the kernel is nothing but white noise: zero between any two samples."""
    nested = [part for part in kernel.get_params().values() if isinstance(part, Kernel)]
    return any(part(X).any() and not part(X, X.copy()).any() for part in (kernel, *nested))


def _numerical_gradient(kernel: Any, X: Array) -> Iterator[Array]:
    """Yield central differences along each theta, the error of order step^2 taken out."""
    for direction in np.eye(len(kernel.theta)):
        wide, narrow = (
            (
                kernel.clone_with_theta(kernel.theta + h * direction)(X)
                - kernel.clone_with_theta(kernel.theta - h * direction)(X)
            )
            / (2.0 * h)
            for h in (2.0 * _STEP, _STEP)
        )
        yield (4.0 * narrow - wide) / 3.0


def _rounding(values: Array) -> float:
    return float(_CLOSE * np.abs(values).max(initial=0.0))


def _element(name: str, what: str = "") -> Callable[..., str]:
    """Return what names an element of a matrix by its index."""

    def where(*index: int) -> str:
        return f"{name}{list(index)}{what and f' ({what})'}"

    return where
