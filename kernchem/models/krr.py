"""Kernel ridge regression with everything that its closed form gives."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Kernel

from kernchem.errors import SettingError
from kernchem.models.kernel_model import KernelModel, require_choice, settled
from kernchem.models.training_set import TrainingSet
from kernchem.models.tuning import Criterion, Trial, noise_of, tune, tune_alpha

__all__ = ["KRR"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


class KRR(KernelModel):
    r"""Kernel ridge regression.

    .. math:: f(x) = h(x)^T \beta + \sum_i a_i\, k(x, x_i)

    minimises :math:`\sum_i w_i (y_i - f(x_i))^2 + \alpha \bar k\, \|f\|_k^2` with the mean diagonal
    :math:`\bar k` of the kernel matrix (1 for Gaussian and Laplacian). The optional linear part h,
    the number of atoms of each element, carries no penalty and is fitted jointly with the kernel.

    With ``descriptor=None`` this is an ordinary scikit-learn regressor on arrays; with a descriptor
    it takes structures.

    Parameters
    ----------
    kernel : kernel, str, Terms or None, default None
        A kernel of :mod:`kernchem.kernels` or of scikit-learn, or a short name such as "gaussian",
        "laplacian" or "precomputed". None is the kernel that the descriptor recommends, Gaussian on
        arrays; for features of atoms, :class:`~kernchem.kernels.AtomSum` of it. A sum or product of
        :class:`~kernchem.models.Term` brings its descriptors along, as does "composite", the name
        of :func:`~kernchem.models.composite`.
    alpha : float or "loo", default "loo"
        Regulariser relative to the mean diagonal, dimensionless, > 0; "loo" chooses it. It is never
        changed silently.
    descriptor : descriptor or None, default None
        Turns structures into features; widened for larger molecules in ``predict``.
    composition : bool or "auto", default "auto"
        Fit element counts jointly; "auto" does with structures and not with arrays.
    optimizer : "loo" or None, default "loo"
        "loo" chooses the kernel's hyperparameters whose bounds are not "fixed"; None keeps them.
    cv : int, splitter or None, default None
        What is left out while choosing: one sample (None; one group if ``groups`` are given to
        ``fit``), or the folds of a scikit-learn splitter, which may not overlap.
    criterion : {"mae", "rmse"}, default "mae"
        Leave-out error that is made small.

    Attributes
    ----------
    kernel_ : kernel or None
        The kernel with the hyperparameters that were chosen; None for a precomputed one.
    alpha_ : float
        The regulariser that was chosen.
    dual_coef_ : array (n_samples,) or (n_samples, n_targets)
        Coefficients a of the training samples; a sample merged into an identical one has 0.
    composition_ : array (n_elements,) or (n_elements, n_targets)
        Energy of each of ``elements_``, in the unit of the labels; only with a composition.
    elements_ : tuple of int
        Atomic numbers of the training set; only with a composition.
    loo_residuals_ : array (n_samples,) or (n_samples, n_targets)
        ``y_i - f_-i(x_i)``, exact, with the composition refitted at fixed hyperparameters; NaN
        where leaving a molecule out leaves the composition undetermined or its weight is zero.
    condition_ : float
        Estimated 1-norm condition number of the matrix that was factorised.
    jitter_ : float
        What had to be added to the diagonal to factorise it; 0.0 unless a warning said so.
    trials_ : list of Trial
        Every evaluation of the search: rows, kernel, alpha, error.
    descriptor_ : descriptor
        The fitted descriptor; only with one, or with terms, which have one for each part.

    Raises
    ------
    LabelError, SettingError, StructureError, SingularKernelError
        On input that cannot be used; the message names the sample and the cure.

    Notes
    -----
    Fitting costs n^3 / 3 flops for the solution, as many again for the leave-one-out
    residuals, and twice that for each trial. The memory is one kernel matrix, and one matrix of
    distances while hyperparameters are chosen (on at most 8000 random rows). Those of kernels
    between structures are chosen on 1000 random ones, those of terms on 1500, and the regulariser
    then anew on all, up to 8000, which takes a second kernel matrix.

    Samples with identical features are merged before anything is left out: their weights are
    added and their labels averaged, so that weights and repetitions mean the same.

    scikit-learn's ``KernelRidge`` is the same model with ``alpha`` not relative to the diagonal,
    without the linear part, and with hyperparameters searched by refits.

    References
    ----------
    Rupp, Tkatchenko, Mueller and von Lilienfeld, Phys. Rev. Lett. 108, 058301 (2012),
    https://doi.org/10.1103/PhysRevLett.108.058301

    Examples
    --------
    >>> X = np.linspace(0, 6, 20)[:, None]
    >>> model = KRR().fit(X, np.sin(X[:, 0]))
    >>> model.predict([[1.5]]).round(2)
    array([1.])
    """

    def __init__(
        self,
        kernel: Kernel | str | None = None,
        *,
        alpha: float | Literal["loo"] = "loo",
        descriptor: Any = None,
        composition: bool | Literal["auto"] = "auto",
        optimizer: Literal["loo"] | None = "loo",
        cv: Any = None,
        criterion: Criterion = "mae",
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.descriptor = descriptor
        self.composition = composition
        self.optimizer = optimizer
        self.cv = cv
        self.criterion = criterion

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> KRR:
        """Fit the model.

        Parameters
        ----------
        X : array (n_samples, n_features), kernel matrix (n_samples, n_samples), or structures
            Samples; structures if a descriptor was given. A float64 kernel matrix is kept without a
            copy, so change it only when ``leave_out_residuals`` is no longer asked for.
        y : array (n_samples,) or (n_samples, n_targets)
            Labels, in any unit.
        sample_weight : array (n_samples,), optional
            Weights w_i >= 0; a weight of 2 equals the sample given twice.
        groups : array (n_samples,), optional
            Samples that are left out together while hyperparameters are chosen.

        Returns
        -------
        KRR
            This object.
        """
        self._fit(X, y, sample_weight, groups)
        return self

    def _check_own_settings(self) -> None:
        alpha = self.alpha
        number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
        if not (alpha == "loo" if isinstance(alpha, str) else number and 0 < alpha < np.inf):
            raise SettingError(f"alpha={alpha!r}; use a positive number or 'loo'")
        require_choice("optimizer", self.optimizer, ("loo", None))
        require_choice("criterion", self.criterion, ("mae", "rmse"))

    def _choose(self, training: TrainingSet, folds: list[_Rows] | None) -> None:
        """Set ``kernel_`` and ``alpha_``, by the leave-out error where that is asked for."""
        kernel = self._initial_kernel(training.features)
        alpha = None if isinstance(self.alpha, str) else float(self.alpha)
        varied = self.optimizer is not None and kernel is not None and len(kernel.theta) > 0
        if alpha is not None and not varied:
            self.kernel_, self.alpha_ = settled(kernel, training.features), alpha
            self.trials_: list[Trial] = []
            return
        if len(training) < 2:
            raise SettingError(
                "choosing hyperparameters needs at least 2 distinct samples; "
                f"{len(training.member)} were given, all alike (n_samples = 1 without copies): "
                "give another one, or in Python alpha a number and use optimizer=None"
            )
        kernel, self.alpha_, self.trials_ = tune(
            training, kernel, alpha, varied=varied, folds=folds, criterion=self.criterion
        )
        self.kernel_ = settled(kernel, training.features)

    def _choose_on_all(self, K: _Array, training: TrainingSet, folds: list[_Rows] | None) -> None:
        """Choose the regulariser anew where the search was on some rows only."""
        if isinstance(self.alpha, str):
            self.alpha_ = tune_alpha(
                K,
                training,
                self.kernel_,
                self.alpha_,
                folds=folds,
                criterion=self.criterion,
                trials=self.trials_,
            )

    def _noise(self, K: _Array, training: TrainingSet) -> _Array:
        return noise_of(K, self.alpha_, training.weights)
