"""Choice of the parameters of baselines by the leave-one-out errors of the model on top."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.utils.validation import check_is_fitted

from kernchem._threads import blas_for
from kernchem._validation import check_labels, generator_of, is_whole
from kernchem.baselines import PairPotential
from kernchem.errors import SettingError
from kernchem.models.baseline_objective import BaselineTrial, LeaveOneOutObjective
from kernchem.models.baseline_slopes import distinct_rows, require_slope
from kernchem.models.kernel_model import KernelModel, require_choice
from kernchem.structures import as_structures

__all__ = ["BaselineChoice", "choose_parameters"]

_Array = npt.NDArray[np.float64]

#: Steps of a search, and relative decrease below which it ends.
_STEPS = 100
_PRECISION = 1e-9


@dataclass(frozen=True)
class BaselineChoice:
    """Parameters that were chosen for baselines.

    Attributes
    ----------
    baselines : tuple of PairPotential
        With the best parameters.
    slopes : array (b, n_targets)
        Slope of each, ones if they were not fitted.
    error_without, error_before, error_after : float
        Leave-one-out error at the model's kernel without baselines, with those that were given
        and with the chosen ones, in the unit of the labels.
    trials : list of BaselineTrial
        Every evaluation.
    """

    baselines: tuple[PairPotential, ...]
    slopes: _Array
    error_without: float
    error_before: float
    error_after: float
    trials: list[BaselineTrial]


def choose_parameters(
    baselines: PairPotential | Sequence[PairPotential],
    X: Any,
    y: Any,
    model: KernelModel,
    *,
    slope: Literal["fit"] | float = "fit",
    criterion: Literal["mae", "rmse"] = "mae",
    n_starts: int = 3,
    random_state: Any = 0,
) -> BaselineChoice:
    """Choose parameters of baselines that make the errors of a model on labels left out small.

    Parameters
    ----------
    baselines : PairPotential or sequence of PairPotential
        What is subtracted from the labels; the search varies theta within its bounds.
    X : Structures or sequence of ase.Atoms
        The molecules that the model was fitted to.
    y : array (n,) or (n, n_targets)
        The labels without any baseline subtracted, in kcal/mol.
    model : KRR or GPR
        A fitted model of structures; its kernel, noise and linear part are held.
    slope : "fit" or 1, default "fit"
        "fit" gives each baseline a slope, fitted jointly with the model; 1 subtracts them as they
        are.
    criterion : {"mae", "rmse"}, default "mae"
        Leave-one-out error that is made small. The search for "mae" squares the residuals below a
        tenth of the median one, so that it has slopes.
    n_starts : int, default 3
        Searches: the first from the parameters that the baselines have, the others from random
        ones within bounds.
    random_state : int, RandomState or None, default 0
        Seed of those.

    Returns
    -------
    BaselineChoice
        The best of all trials, never worse than the start; fit the model anew with it.

    Raises
    ------
    SettingError
        If the model takes no structures, was fitted to another number of samples or targets, or no
        sample can be left out.
    StructureError
        If a baseline has no energy for a structure; names it.

    Notes
    -----
    One inversion of the factor, then O(n^2) per trial and baseline, with analytic slopes. Kernel
    and noise were chosen for other labels: where the baselines explain much, fit the model to what
    they leave first.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    sections 2.7 and 5.4.2, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem import KRR, datasets
    >>> from kernchem.baselines import DampedCoulomb
    >>> from kernchem.descriptors import CoulombMatrix
    >>> data = datasets.load_qm_small()[:100]
    >>> model = KRR(descriptor=CoulombMatrix()).fit(data, data["atomization_energy"])
    >>> found = choose_parameters(DampedCoulomb(), data, data["atomization_energy"], model)
    >>> found.error_after < found.error_before
    True
    """
    single = isinstance(baselines, PairPotential) or not isinstance(baselines, Iterable)
    given: list[Any] = [baselines] if single else list(baselines)
    if not given or not all(isinstance(one, PairPotential) for one in given):
        raise SettingError(f"baselines={baselines!r}; give pair potentials such as DampedCoulomb()")
    require_slope(slope)
    require_choice("criterion", criterion, ("mae", "rmse"))
    if not is_whole(n_starts, 1):
        raise SettingError(f"n_starts={n_starts!r}; use 1, 2, ...")
    if not (isinstance(model, KernelModel) and model.one_level and model.takes_structures):
        raise SettingError(f"model={model!r}; give a fitted KRR or GPR that takes structures")
    check_is_fitted(model, "dual_coef_")
    structures = as_structures(X)
    labels = check_labels(y, len(structures)).reshape(len(structures), -1)
    training = model._training
    rows, targets = distinct_rows(labels, model)
    with blas_for(len(training)):
        objective = LeaveOneOutObjective(
            given,
            structures[rows],
            targets,
            np.zeros((len(training), 0)) if training.basis is None else training.basis,
            model._solution(),
            fit_slopes=slope == "fit",
            criterion=criterion,
        )
        return _search(objective, n_starts, generator_of(random_state))


def _search(
    objective: LeaveOneOutObjective, n_starts: int, random: np.random.RandomState
) -> BaselineChoice:
    start = objective.start
    bounds = np.vstack([one.bounds for one in objective.baselines])
    low, high = bounds.T
    starts = [np.clip(start, low, high)]
    starts += [random.uniform(low, high) for _ in range(n_starts - 1)]
    for point in starts if len(start) else []:
        options = {"maxiter": _STEPS, "ftol": _PRECISION}
        minimize(objective, point, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    trials = objective.trials
    best = min(trials, key=lambda trial: trial.error)
    return BaselineChoice(
        tuple(objective.at(best.theta)),
        objective.slopes(best.theta),
        objective.without,
        trials[0].error,
        best.error,
        trials,
    )
