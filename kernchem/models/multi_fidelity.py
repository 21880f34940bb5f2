"""Several levels of theory in one model: many cheap labels, few dear ones."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted

from kernchem._validation import is_whole
from kernchem.errors import SettingError
from kernchem.models.kernel_model import panels, require_choice
from kernchem.models.levels_advice import Advice, advice, checked_costs, checked_known
from kernchem.models.levels_model import FidelityLevel, LevelsModel
from kernchem.uncertainty.checks import check_coverage

__all__ = ["Advice", "FidelityLevel", "MultiFidelityGPR"]

_Array = npt.NDArray[np.float64]


class MultiFidelityGPR(LevelsModel):
    r"""Gaussian process regression on labels of several levels of theory.

    .. math:: y_t(x) = \rho_t\, y_{t-1}(x) + h(x)^T \beta_t + \delta_t(x), \quad
        \delta_t \sim \mathcal{N}(0, s_t^2 k_t)

    Levels go from the cheapest to the dearest. Each level above the first is a slope times the
    level below, element energies of its own, and a process for the rest, which needs fewer labels
    the smoother it is. Nothing of a lower level has to be known where the top is predicted.

    Parameters
    ----------
    kernel : kernel, str, Terms or None, default None
        As in :class:`kernchem.KRR`; each level has a copy of its own.
    method : {"recursive", "joint", "multitask"}, default "recursive"
        - "recursive": level by level, each on the labels of the level below, which every molecule
          of a level must have;
        - "joint": the same process of all labels at once; a molecule may have labels of any
          levels;
        - "multitask": one kernel for all levels, times any positive covariance between levels, of
          low rank plus diagonal; labels may be missing too.
    descriptor : descriptor or None, default None
        Turns structures into features; widened for larger molecules in ``predict``.
    composition : bool or "auto", default "auto"
        Fit element counts jointly, for each level; "auto" does with structures and not with arrays.
    rho : "fit", float or sequence of float, default "fit"
        Slopes; "fit" estimates them, and where ``method="recursive"`` their uncertainty is part of
        error bars. Numbers are kept: 1 learns differences.
    alpha : float or "fit", default "fit"
        Variance of the noise of each level relative to the variance of its process, > 0.
    amplitude : {"loo", "lml"}, default "loo"
        How the variances are found that error bars are made of: by leave-one-out residuals, or by
        the likelihood. The joint methods scale all variances by one factor, from the residuals of
        the top level where molecules are left out with all their labels.
    optimizer : {"loo", "lml"} or None, default "loo"
        How widths are chosen, level by level: by the density of labels that were left out, or by
        the restricted likelihood. Slopes, variances and noises of the joint methods are always
        chosen by the restricted likelihood of all labels, with "lml" their widths too (of kernels
        with one width). None keeps the kernel as it is.
    rank : int, default 1
        Rank of the covariance between levels beside its diagonal, for ``method="multitask"``.
    n_restarts : int, default 0
        Further searches of each level from random points.
    random_state : int, RandomState or None, default 0
        Of the points where restarts begin.

    Attributes
    ----------
    levels_ : list of FidelityLevel
        Number of labels, kernel, prior standard deviation and noise of each level.
    rho_ : array (n_levels - 1,)
        Slope of each level above the first on the one below; of ``method="multitask"`` that of the
        covariance.
    rho_std_ : array (n_levels - 1,)
        Standard deviations of the slopes; only with ``method="recursive"``.
    level_covariance_ : array (n_levels, n_levels)
        Prior covariance of the levels of one molecule, in the squared unit of the labels; only with
        the joint methods.
    loo_residuals_ : array (n_samples, n_levels) or (n_samples,)
        ``y_i - f_-i(x_i)``, where all labels of molecule i are left out, exact, at fixed
        hyperparameters but for slopes that are fitted by ``method="recursive"``, which are found
        anew. NaN where there is no label.
    loo_std_ : array (n_samples, n_levels) or (n_samples,)
        Standard deviations of those residuals: what a fit without the molecule predicts for a new
        label. Of a label that was given m times, the noise is that of a mean of m.
    jitter_ : float
        Largest number that had to be added to a diagonal; 0.0 unless a warning said so.
    trials_ : list of Trial
        Every evaluation of the searches; errors are scores, twice a negative log density per label.
    descriptor_ : descriptor
        The fitted descriptor; only with one, or with terms.

    Raises
    ------
    LabelError
        If a level or a sample has no label at all, or ``method="recursive"`` lacks one.
    SettingError, StructureError, SingularKernelError
        On input that cannot be used; the message names the sample and the cure.

    Notes
    -----
    With n_t labels of level t, "recursive" costs as much as a :class:`kernchem.GPR` of each level,
    and n_t^3 flops per level beside the search. The joint methods start there, and take up to 80
    factorisations of 1500 labels and three of all: (sum_t n_t)^3. Distances are computed once for a
    search. A prediction costs the kernel with all molecules, its error bar n_t^2 more.

    With nested labels without noise, "recursive" and "joint" are the same process. With one level
    and no label repeated, all methods are ``GPR(calibration=None)``.

    Identical samples are merged, and the labels of each level averaged: a mean of m labels has 1/m
    of the variance of the noise. Noise is learnt from these means alone; how the labels of one
    molecule scatter about their mean, from which :class:`kernchem.GPR` learns too, does not count.

    References
    ----------
    M. C. Kennedy, A. O'Hagan, Biometrika 87, 1 (2000), https://doi.org/10.1093/biomet/87.1.1
    (joint); L. Le Gratiet, J. Garnier, Int. J. Uncertainty Quantification 4, 365 (2014),
    https://doi.org/10.1615/Int.J.UncertaintyQuantification.2014006914 (recursive); E. V. Bonilla,
    K. M. A. Chai, C. K. I. Williams, Adv. Neural Inf. Process. Syst. 20 (2007) (multitask).

    Examples
    --------
    >>> from kernchem.datasets import load_qm_small
    >>> from kernchem.descriptors import BagOfBonds
    >>> from kernchem.models import MultiFidelityGPR
    >>> data = load_qm_small()
    >>> train, test = data[:300], data[300:500]
    >>> y = np.stack([train["gfn2_atomization_energy"], train["atomization_energy"]], axis=1)
    >>> y[60:, 1] = np.nan  # the dear level is known of 60 molecules
    >>> model = MultiFidelityGPR("laplacian", descriptor=BagOfBonds()).fit(train, y)
    >>> mean, std = model.predict(test, return_std=True)
    >>> error = np.abs(mean - test["atomization_energy"])
    >>> bool(error.mean() < 10.0)  # kcal/mol
    True
    """

    def __init__(
        self,
        kernel: Kernel | str | None = None,
        *,
        method: Literal["recursive", "joint", "multitask"] = "recursive",
        descriptor: Any = None,
        composition: bool | Literal["auto"] = "auto",
        rho: Any = "fit",
        alpha: float | Literal["fit"] = "fit",
        amplitude: Literal["loo", "lml"] = "loo",
        optimizer: Literal["loo", "lml"] | None = "loo",
        rank: int = 1,
        n_restarts: int = 0,
        random_state: Any = 0,
    ) -> None:
        self.kernel = kernel
        self.method = method
        self.descriptor = descriptor
        self.composition = composition
        self.rho = rho
        self.alpha = alpha
        self.amplitude = amplitude
        self.optimizer = optimizer
        self.rank = rank
        self.n_restarts = n_restarts
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> MultiFidelityGPR:
        """Fit the model.

        Parameters
        ----------
        X : array (n_samples, n_features), or structures
            Samples; structures if a descriptor was given.
        y : array (n_samples, n_levels) or (n_samples,)
            Labels in any unit, of the cheapest level first; NaN where a label is missing. Each
            sample and each level needs at least one. One column is one level.

        Returns
        -------
        MultiFidelityGPR
            This object.
        """
        self._fit_levels(X, y)
        return self

    # -- predictions ------------------------------------------------------------------------------

    def predict(
        self, X: Any, return_std: bool = False, return_cov: bool = False, level: int = -1
    ) -> Any:
        """Return predictions of a level and, if asked for, how far labels may be from them.

        Parameters
        ----------
        X : array (n, n_features) or structures
            What to predict.
        return_std : bool, default False
            Also return the standard deviation of each label.
        return_cov : bool, default False
            Also return the covariance of the labels instead.
        level : int, default -1
            Number of the level from 0; -1 is the top.

        Returns
        -------
        mean : array (n,)
            In the unit of the labels.
        std : array (n,)
            Only with ``return_std``; in the unit of the labels.
        covariance : array (n, n)
            Only with ``return_cov``; in the squared unit of the labels.

        Raises
        ------
        UnknownElementError, CompositionError
            If a molecule holds an element or a combination of elements that was absent from a level
            in ``fit``; the message names the level.
        SettingError
            If both are asked for, or there is no such level.
        """
        if return_std and return_cov:
            raise SettingError(
                "return_std and return_cov exclude each other; the diagonal of the "
                "covariance holds the squared standard deviations"
            )
        check_is_fitted(self, "levels_")
        number = self._level_number(level)
        queries = self._level_queries(X, number)
        process = self._process
        if return_cov:
            return process.mean_and_covariance(queries, number)
        mean, variance = np.empty(len(queries)), np.empty(len(queries))
        for panel in panels(len(queries)):
            part = queries.take(panel)
            if return_std:
                mean[panel], variance[panel] = process.mean_and_variance(part, number)
            else:
                mean[panel] = process.mean(part, number)
        return (mean, np.sqrt(variance)) if return_std else mean

    def predict_interval(
        self,
        X: Any,
        coverage: float = 0.9,
        method: Literal["calibrated", "gaussian"] = "calibrated",
        level: int = -1,
    ) -> tuple[_Array, _Array]:
        """Return intervals in which labels of a level lie with a given probability.

        Parameters
        ----------
        X : array (n, n_features) or structures
            What to predict.
        coverage : float, default 0.9
            Probability, above 0 and below 1.
        method : {"calibrated", "gaussian"}, default "calibrated"
            Standard deviation times the factor that holds for ``loo_residuals_``, of the first
            label of each molecule, or times that of a normal distribution.
        level : int, default -1
            Number of the level from 0; -1 is the top.

        Returns
        -------
        lower, upper : array (n,)
            Ends, in the unit of the labels.

        Raises
        ------
        SettingError
            If the method or the level is unknown, the coverage does not lie between 0 and 1, or no
            molecule of the level can be left out.
        """
        require_choice("method", method, ("calibrated", "gaussian"))
        coverage = check_coverage(coverage)
        mean, std = self.predict(X, return_std=True, level=level)
        if method == "gaussian":
            width = float(ndtri(0.5 + 0.5 * coverage)) * std
            return mean - width, mean + width
        quantile = self._quantiles[self._level_number(level)]
        if quantile is None:
            raise SettingError(
                "method='calibrated' needs samples that can be left out; use 'gaussian'"
            )
        return quantile.interval(mean, std, coverage)

    # -- the next labels -------------------------------------------------------------------------

    def advise(
        self,
        X: Any,
        costs: npt.ArrayLike,
        n: int = 10,
        *,
        known: npt.ArrayLike | None = None,
        targets: Any = None,
    ) -> list[Advice]:
        """Return which molecules to compute next, and at which level.

        Parameters
        ----------
        X : array (n_candidates, n_features) or structures
            Molecules that can be computed.
        costs : array (n_levels,) or (n_candidates, n_levels)
            What a label of each level costs, in any unit, > 0.
        n : int, default 10
            Number of choices.
        known : array of bool (n_candidates, n_levels), optional
            Labels of the candidates that the model was fitted to, or that are being computed; none
            by default. They are not advised again.
        targets : array (n_targets, n_features) or structures, optional
            Molecules whose top level is to become certain; the candidates by default.

        Returns
        -------
        list of Advice
            Sample, levels, gain and cost of each choice, the best one first: each has the largest
            fall of the mean posterior variance of the top level per cost, given all before it.
            With ``method="recursive"`` a label comes with those of the levels below.

        Raises
        ------
        SettingError
            If costs or known labels have another shape, or costs are not above zero.

        Notes
        -----
        Variances do not depend on labels that are not there yet, so a batch is planned without
        them; slopes count as known. (m n_levels)^2 numbers for m candidates and targets, and as
        many flops for each choice: thousands of molecules, not more.

        References
        ----------
        R. Stroh, J. Bect, S. Demeyer, N. Fischer, D. Marquis, E. Vazquez, Technometrics 64, 199
        (2022), https://doi.org/10.1080/00401706.2021.1935324

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(0.0, 6.0, (30, 1))
        >>> y = np.stack([np.sin(X[:, 0]), 2.0 * np.sin(X[:, 0]) + 0.1 * X[:, 0]], axis=1)
        >>> y[8:, 1] = np.nan
        >>> model = MultiFidelityGPR(method="joint").fit(X, y)
        >>> best = model.advise(X, costs=[1.0, 10.0], n=3, known=np.isfinite(y))
        >>> [choice.levels for choice in best]
        [(1,), (1,), (1,)]
        """
        check_is_fitted(self, "levels_")
        if not is_whole(n, 1):
            raise SettingError(f"n={n!r}; use a whole number from 1 on")
        top = len(self.levels_) - 1
        queries = self._level_queries(X, top)
        n_candidates = len(queries)
        cost = checked_costs(costs, n_candidates, top + 1)
        there = checked_known(known, n_candidates, top + 1)
        weights = np.full(n_candidates, 1.0 / n_candidates)
        if targets is not None:
            queries = self._level_queries_of_both(X, targets, top)
            n_targets = len(queries) - n_candidates
            weights = np.repeat([0.0, 1.0 / n_targets], [n_candidates, n_targets])
        unknowns = self._process.unknowns(queries)
        nested = self.method == "recursive"
        return advice(*unknowns, weights, cost, there, n, nested=nested)
