"""Gaussian process regression: predictions with error bars that can be believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted

from kernchem._threads import blas_for
from kernchem._validation import as_numbers, generator_of, is_whole, short
from kernchem.errors import SettingError
from kernchem.models.gp_search import Noise, log_likelihood, noise_variances
from kernchem.models.intervals import IntervalModel
from kernchem.solvers import CholeskyFactor

__all__ = ["GPR"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Added to the diagonal of the prior covariance, relative to its mean, so that draws can be made:
#: the smallest of these that suffices.
_DRAW_JITTERS = 10.0 ** np.arange(-15.0, -5.0)


class GPR(IntervalModel):
    r"""Gaussian process regression.

    .. math:: y = h(x)^T \beta + f(x) + \varepsilon, \quad
        f \sim \mathcal{N}(0, s^2 k), \quad
        \varepsilon_i \sim \mathcal{N}(0, s^2 \alpha \bar k / w_i)

    with the mean diagonal :math:`\bar k` of the kernel matrix and the amplitude :math:`s^2`. The
    linear part h, the number of atoms of each element, is part of the process: its coefficients
    are estimated jointly with f, and their uncertainty is part of the error bar. The predicted mean
    is that of :class:`kernchem.KRR` with the same kernel and alpha.

    The standard deviation is the one of the next label. By default it is corrected by what is
    learnt from the leave-one-out residuals (:class:`kernchem.uncertainty.ScaleModel`), for which no
    label has to be kept back.

    Parameters
    ----------
    kernel : kernel, str, Terms or None, default None
        As in :class:`kernchem.KRR`.
    alpha : float or "fit", default "fit"
        Variance of the noise relative to the mean variance of f, dimensionless, > 0; "fit" chooses
        it by ``optimizer``, not so small that predictions are made of rounding.
    amplitude : {"loo", "lml"} or float, default "loo"
        "loo" is the mean of squared leave-one-out residuals over their variances, of repeated
        labels in units of their joint covariance; "lml" maximises the likelihood. A number, in the
        squared unit of the labels, is kept.
    descriptor : descriptor or None, default None
        Turns structures into features; widened for larger molecules in ``predict``.
    composition : bool or "auto", default "auto"
        Fit element counts jointly; "auto" does with structures and not with arrays.
    optimizer : {"loo", "lml"} or None, default "loo"
        How the kernel's hyperparameters and alpha are chosen: by the density of labels that were
        left out, or by the log marginal likelihood. None keeps the kernel as it is.
    cv : int, splitter or None, default None
        What is left out by "loo": one sample (None; one group if ``groups`` are given to ``fit``),
        or the folds of a scikit-learn splitter, which may not overlap.
    n_restarts : int, default 0
        Further searches from random points.
    calibration : {"scale"} or None, default "scale"
        "scale" corrects standard deviations by a model of leave-one-out residuals, which compares
        samples by the kernel, and by :class:`kernchem.descriptors.EncodedBonds` too where the
        descriptor is one of whole molecules; None leaves them as the process has them.
    random_state : int, RandomState or None, default 0
        Of the points where restarts begin.

    Attributes
    ----------
    kernel_ : kernel
        The kernel with the hyperparameters that were chosen.
    alpha_ : float or array (n_groups,)
        The relative noise that was chosen; several with ``noise_groups``.
    amplitude_ : float or array (n_targets,)
        Amplitude, in the squared unit of the labels.
    noise_groups_ : tuple
        Names of the groups of noise; only where they were given.
    dual_coef_ : array (n_samples,) or (n_samples, n_targets)
        Coefficients of the training samples; a sample merged into an identical one has 0.
    composition_ : array (n_elements,) or (n_elements, n_targets)
        Energy of each of ``elements_``, in the unit of the labels; only with a composition.
    elements_ : tuple of int
        Atomic numbers of the training set; only with a composition.
    loo_residuals_ : array (n_samples,) or (n_samples, n_targets)
        ``y_i - f_-i(x_i)``, exact, at fixed hyperparameters; NaN where a molecule cannot be left
        out.
    loo_std_ : array (n_samples,) or (n_samples, n_targets)
        Standard deviations of those residuals, calibrated as predictions are.
    condition_ : float
        Estimated 1-norm condition number of the matrix that was factorised.
    jitter_ : float
        What had to be added to the diagonal to factorise it; 0.0 unless a warning said so.
    trials_ : list of Trial
        Every evaluation of the search; errors are scores, twice a negative log density per label.
    descriptor_ : descriptor
        The fitted descriptor; only with one, or with terms.

    Raises
    ------
    LabelError, SettingError, StructureError, SingularKernelError
        On input that cannot be used; the message names the sample and the cure.

    Notes
    -----
    A fit costs n^3 flops beside the search, of which each step takes 1 to 3 n^3 on at most 2000
    rows; a prediction with error bar n^2. The factor stays in memory: n^2 numbers.

    Samples with identical features are left out together, and merged, as in :class:`kernchem.KRR`,
    unless their labels differ in ``noise_groups``, or in known ``noise`` or weights beside it. Of
    labels that were merged, those that differ tell of the noise, whose density joins in every
    score, while equal ones are one label with the sum of their weights. Labels that are appended
    are samples of their own. With known ``noise`` of the labels the standard deviation of a
    prediction holds the noise of ``alpha`` only.

    scikit-learn's ``GaussianProcessRegressor`` is the same process with ``amplitude=1.0``,
    ``calibration=None`` and all of it in the kernel.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    chapters 2 and 5, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 6, 40)[:, None]
    >>> model = GPR().fit(X, np.sin(X[:, 0]) + 0.1 * rng.normal(size=40))
    >>> mean, std = model.predict([[1.5], [30.0]], return_std=True)
    >>> bool(abs(mean[0] - 1.0) < 0.2), bool(std[1] > 5 * std[0])
    (True, True)
    """

    _keeps_folds = True

    def __init__(
        self,
        kernel: Kernel | str | None = None,
        *,
        alpha: float | Literal["fit"] = "fit",
        amplitude: float | Literal["loo", "lml"] = "loo",
        descriptor: Any = None,
        composition: bool | Literal["auto"] = "auto",
        optimizer: Literal["loo", "lml"] | None = "loo",
        cv: Any = None,
        n_restarts: int = 0,
        calibration: Literal["scale"] | None = "scale",
        random_state: Any = 0,
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.amplitude = amplitude
        self.descriptor = descriptor
        self.composition = composition
        self.optimizer = optimizer
        self.cv = cv
        self.n_restarts = n_restarts
        self.calibration = calibration
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        noise: Any = None,
        noise_groups: Any = None,
    ) -> GPR:
        """Fit the model.

        Parameters
        ----------
        X : array (n_samples, n_features), or structures
            Samples; structures if a descriptor was given.
        y : array (n_samples,) or (n_samples, n_targets)
            Labels, in any unit.
        sample_weight : array (n_samples,), optional
            Weights w_i >= 0; a weight of 2 equals the sample given twice. They divide the noise of
            alpha, and not known ``noise``.
        groups : array (n_samples,), optional
            Samples that are left out together while hyperparameters are chosen.
        noise : float or array (n_samples,), optional
            Known standard deviations of the labels, in their unit, beside the noise that is fitted.
        noise_groups : array (n_samples,), optional
            Name of a group for each label, such as its source; each group has an alpha of its own.

        Returns
        -------
        GPR
            This object.
        """
        self._fit(X, y, sample_weight, groups, noise, noise_groups)
        return self

    # -- predictions ------------------------------------------------------------------------------

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Return predictions and, if asked for, how far labels may be from them.

        Parameters
        ----------
        X : array (n, n_features) or structures
            What to predict.
        return_std : bool, default False
            Also return the standard deviation of each label.
        return_cov : bool, default False
            Also return the covariance of the labels instead.

        Returns
        -------
        mean : array (n,) or (n, n_targets)
            In the unit of the labels.
        std : array (n,) or (n, n_targets)
            Only with ``return_std``; in the unit of the labels.
        covariance : array (n, n) or (n, n, n_targets)
            Only with ``return_cov``; in the squared unit of the labels.

        Raises
        ------
        UnknownElementError, CompositionError
            If a molecule holds an element or a combination of elements that was absent in ``fit``.
        SettingError
            If both are asked for.
        """
        if return_std and return_cov:
            raise SettingError(
                "return_std and return_cov exclude each other; the diagonal of the "
                "covariance holds the squared standard deviations"
            )
        if not (return_std or return_cov):
            return super().predict(X)
        check_is_fitted(self, "dual_coef_")
        if return_cov:
            X = self._samples(X)
            found, posterior = self._queries(X), self._posterior
            features, m = found[0], len(found[0])
            queries = self._query(X, found, slice(m))
            covariance = posterior.covariance(queries, np.asarray(self.kernel_(features)))
            shape = (m, m, *self._target_shape)
            return self._like_labels(posterior.mean(queries)), covariance.reshape(shape)
        mean, std = self._mean_and_std(X)
        return self._like_labels(mean), self._like_labels(std)

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> _Array:
        """Draw labels from the posterior, by correcting draws from the prior.

        Parameters
        ----------
        X : array (n, n_features) or structures
            Where.
        n_samples : int, default 1
            Number of draws.
        random_state : int, RandomState or None, default 0
            Seed.

        Returns
        -------
        array (n, n_samples) or (n, n_targets, n_samples)
            In the unit of the labels, with the covariance of ``predict(X, return_cov=True)``.

        Notes
        -----
        (n_samples_of_fit + n)^3 / 3 flops for the draws from the prior.

        References
        ----------
        J. T. Wilson et al., J. Mach. Learn. Res. 22, 105 (2021),
        https://www.jmlr.org/papers/v22/20-1260.html
        """
        if not is_whole(n_samples, 1):
            raise SettingError(f"n_samples={n_samples!r}; use a whole number from 1 on")
        rng = generator_of(random_state)
        X = self._samples(X)
        features, known, basis = found = self._queries(X)
        posterior, training = self._posterior, self._training
        n, m, t = len(training), len(features), self._dual.shape[1]
        queries = self._query(X, found, slice(m))
        cross = queries.cross
        joint = np.empty((n + m, n + m))
        joint[:n, :n] = self.kernel_(known)
        joint[n:, :n], joint[:n, n:] = cross, cross.T
        joint[n:, n:] = self.kernel_(features)
        root = _root(joint, self._diagonal)
        drawn = root.multiply_half(rng.normal(size=(n + m, t * n_samples)))
        noise = np.sqrt(noise_variances(self._noise_levels, training, self._diagonal))
        drawn[:n] += noise[:, None] * rng.normal(size=(n, t * n_samples))
        rest = drawn[n:] - posterior.solution.weights(cross, basis) @ drawn[:n]
        rest += np.sqrt(posterior.noise) * rng.normal(size=rest.shape)
        variance = posterior.plain_variance(queries)
        scale = posterior.corrected(variance, queries) / np.sqrt(variance)[:, None]
        deviations = rest.reshape(m, t, n_samples) * scale[:, :, None]
        out = posterior.mean(queries)[:, :, None] + deviations
        return np.asarray(out.reshape(m, *self._target_shape, n_samples))

    # -- what one factorisation gives -------------------------------------------------------------

    def leave_out(self, cv: Any = None, groups: Any = None) -> tuple[_Array, _Array]:
        """Return predictions of the training samples by models that did not see them.

        Parameters
        ----------
        cv : int, splitter or None, default None
            Folds as in scikit-learn, without overlap; None leaves out one group at a time, or one
            sample where there are no groups.
        groups : array (n_samples,), optional
            Group of each sample that was given to ``fit``.

        Returns
        -------
        mean, std : array (n_samples,) or (n_samples, n_targets)
            At fixed hyperparameters and amplitude, standard deviations as the process has them;
            equal to explicit refits. NaN as in ``loo_residuals_``. Identical samples leave
            together, with the first of them that is in a fold.

        Notes
        -----
        n^2 per sample of the largest fold: no refits.
        """
        check_is_fitted(self, "dual_coef_")
        with blas_for(len(self._training)):
            residuals, std = self._posterior.left_out(self._folds(cv, groups))
        mean = self._of_samples(self._training.targets - residuals)
        return mean, self._of_labels(std)

    def log_marginal_likelihood(self, theta: Any = None, eval_gradient: bool = False) -> Any:
        """Return the log marginal likelihood of the training labels, repeated ones included.

        Parameters
        ----------
        theta : array (n_theta,), optional
            Logarithms of the kernel's hyperparameters; those of ``kernel_`` by default.
        eval_gradient : bool, default False
            Also return the gradient with respect to ``theta``.

        Returns
        -------
        value : float
            At ``alpha_``, ``jitter_`` and ``amplitude_``, summed over targets; restricted to
            contrasts of the labels where there is a composition. Minus infinity where the kernel
            matrix is not positive definite.
        gradient : array (n_theta,)
            Only with ``eval_gradient``; zeros where the value is infinite.

        Raises
        ------
        SettingError
            If ``theta`` does not hold one number for each hyperparameter.
        """
        check_is_fitted(self, "dual_coef_")
        kernel = self.kernel_
        if theta is not None:
            kernel = kernel.clone_with_theta(_checked_theta(theta, kernel))
        noise = Noise(self._noise_levels.alphas, np.reshape(self.amplitude_, -1))
        if self._training.errors.variances is not None:
            noise = self._noise_levels
        noise = replace(noise, jitter=self.jitter_)
        value, slopes = log_likelihood(self._training, kernel, noise, slopes=eval_gradient)
        return (value, slopes) if eval_gradient else value


def _checked_theta(theta: Any, kernel: Any) -> _Array:
    """Return logarithms of the hyperparameters of a kernel, if there is one number for each."""
    number = len(kernel.theta)
    try:
        values = as_numbers(theta)
    except (TypeError, ValueError):
        values = np.full(number, np.nan)
    if values.shape != (number,) or not np.isfinite(values).all():
        raise SettingError(
            f"theta={short(theta)}; give {number} finite numbers, the logarithms of the "
            f"hyperparameters of {kernel!r}"
        )
    return values


def _root(K: _Array, diagonal: float) -> CholeskyFactor:
    """Return the factor of a prior covariance with as little on its diagonal as that takes."""
    for jitter in _DRAW_JITTERS:
        factor = CholeskyFactor.attempt(K.copy(), jitter * diagonal)
        if factor is not None:
            return factor
    return CholeskyFactor(K, _DRAW_JITTERS[-1] * diagonal)
