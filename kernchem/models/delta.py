"""Delta-learning: learn what a cheap method gets wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from kernchem._validation import check_labels, check_weights
from kernchem.elements import formula
from kernchem.errors import KernchemWarning, PropertyError, SettingError
from kernchem.models.composition import CompositionSpace
from kernchem.structures import Structures, as_structures

__all__ = ["DeltaLearner"]

_Array = npt.NDArray[np.float64]

#: Labels per fitted coefficient below which a slope is not fitted.
_LABELS_PER_COEFFICIENT = 4
#: Singular values below this fraction of the largest one leave the slope undetermined.
_RANK = 1e-10


class DeltaLearner(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    r"""Learn the difference between a property and baselines that were computed before.

    .. math:: f(A) = \sum_Z n_Z(A)\, \varepsilon_Z + \sum_b s_b\, y_b(A) + g(A)

    The offsets :math:`\varepsilon_Z` per element and the slope :math:`s_b` of each baseline are
    fitted by least squares; ``model`` learns the rest g.

    Parameters
    ----------
    model : estimator
        Any regressor that takes structures, e.g. ``KRR(descriptor=BagOfBonds())``, the same
        with :class:`kernchem.GPR` for error bars, or a pipeline that starts with a descriptor.
    baseline : str or sequence of str
        Name of the stored property that holds the baseline, or several names. The structures given
        to ``predict`` must carry it too.
    slope : "fit" or 1, default "fit"
        "fit" fits one slope per baseline; 1 subtracts the baseline as it is (one baseline only).

    Attributes
    ----------
    model_ : estimator
        The fitted model of the difference.
    slope_ : array (n_baselines,) or (n_baselines, n_targets)
        Slopes.
    elements_ : tuple of int
        Atomic numbers of the training set.
    offset_ : array (n_elements,) or (n_elements, n_targets)
        Energy per atom of each element, in the unit of the labels.

    Raises
    ------
    PropertyError
        If the structures lack the baseline, or it is not a finite number for one of them.

    Notes
    -----
    The baseline and the labels should be in one unit: a fitted slope absorbs a factor, a slope of
    1 does not. With fewer than four labels per coefficient, or where the element counts determine
    the baseline, the slope falls back to 1 with a warning. A model that fits a composition itself
    (:class:`kernchem.KRR` does) refits the offsets jointly with its kernel.

    The leave-one-out residuals of ``model_`` hold slope and offsets at their values from all
    labels.

    References
    ----------
    Ramakrishnan, Dral, Rupp and von Lilienfeld, J. Chem. Theory Comput. 11, 2087 (2015),
    https://doi.org/10.1021/acs.jctc.5b00099

    Examples
    --------
    >>> from kernchem.datasets import load_qm_small
    >>> from kernchem.descriptors import BagOfBonds
    >>> from kernchem.models import KRR
    >>> data = load_qm_small()
    >>> train, test = data[:100], data[100:200]
    >>> model = DeltaLearner(KRR(descriptor=BagOfBonds()), baseline="gfn2_atomization_energy")
    >>> model = model.fit(train, train["atomization_energy"])
    >>> error = np.abs(model.predict(test) - test["atomization_energy"])
    >>> bool(error.mean() < 6.0)  # kcal/mol
    True
    """

    def __init__(
        self,
        model: Any,
        baseline: str | Sequence[str],
        *,
        slope: Literal["fit"] | float = "fit",
    ) -> None:
        self.model = model
        self.baseline = baseline
        self.slope = slope

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> DeltaLearner:
        """Fit offsets and slopes, then the model on what they leave.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules that carry the baseline.
        y : array (n,) or (n, n_targets)
            Labels, in the unit of the baseline.
        sample_weight : array (n,), optional
            Weights of the squared residuals, also passed on to the model if given.
        **fit_params
            Passed on to the model's ``fit``, e.g. ``groups``.

        Returns
        -------
        DeltaLearner
            This object.
        """
        self._check_settings()
        structures = as_structures(X)
        labels = check_labels(y, len(structures))
        targets = labels.reshape(len(labels), -1)
        weights = check_weights(sample_weight, len(labels))
        kept = np.flatnonzero(weights > 0)
        columns = self._baseline_columns(structures)[kept]
        self._space = CompositionSpace(structures[kept])
        basis = self._space.basis(structures[kept])
        root = np.sqrt(weights[kept])[:, None]
        slope = self._fit_slope(basis * root, columns * root, targets[kept] * root)
        rest = targets[kept] - columns @ slope
        offset: _Array = np.asarray(np.linalg.lstsq(basis * root, rest * root, rcond=None)[0])
        self._keep(slope, offset, labels.shape[1:])
        # Samples of weight zero count for nothing, and may hold elements that no other one does.
        difference = np.zeros_like(targets)
        difference[kept] = rest - basis @ offset
        if sample_weight is not None:
            fit_params = {**fit_params, "sample_weight": weights}
        self.model_ = clone(self.model).fit(
            structures, difference.reshape(labels.shape), **fit_params
        )
        return self

    def predict(self, X: Any, **predict_params: Any) -> Any:
        """Return baseline, offsets and learnt difference, added.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules that carry the baseline.
        **predict_params
            Passed on to the model's ``predict``, e.g. ``return_std``; of a tuple that the model
            returns, the first item is the mean.

        Returns
        -------
        array (n,) or (n, n_targets), or tuple
            In the unit of the labels.
        """
        check_is_fitted(self, "model_")
        structures = as_structures(X)
        linear = self._linear(structures)
        difference = self.model_.predict(structures, **predict_params)
        if isinstance(difference, tuple):
            return (difference[0] + linear, *difference[1:])
        return difference + linear

    def predict_interval(
        self, X: Any, coverage: float = 0.9, method: str = "calibrated"
    ) -> tuple[_Array, _Array]:
        """Return intervals in which labels lie with a given probability.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules that carry the baseline.
        coverage : float, default 0.9
            Probability, above 0 and below 1.
        method : str, default "calibrated"
            One of those of the model, see :meth:`kernchem.GPR.predict_interval`.

        Returns
        -------
        lower, upper : array (n,) or (n, n_targets)
            Ends, in the unit of the labels: those of the model, shifted by baseline and offsets.

        Raises
        ------
        SettingError
            If the model has no intervals, or not of this kind.

        Notes
        -----
        Slopes and offsets count as known. A model that fits a composition itself
        (:class:`kernchem.GPR` does) has the uncertainty of the offsets in its error bars.
        """
        check_is_fitted(self, "model_")
        if not hasattr(self.model_, "predict_interval"):
            raise SettingError(
                f"model={type(self.model_).__name__} predicts no intervals; use "
                "DeltaLearner(GPR(...), baseline)"
            )
        structures = as_structures(X)
        linear = self._linear(structures)
        lower, upper = self.model_.predict_interval(structures, coverage, method)
        return lower + linear, upper + linear

    def _linear(self, structures: Structures) -> _Array:
        """Return baselines and offsets, array (n,) or (n, n_targets)."""
        linear = self._space.basis(structures) @ self._offset
        linear = linear + self._baseline_columns(structures) @ self._slope
        return np.asarray(linear.reshape(-1, *self._target_shape))

    def _keep(self, slope: _Array, offset: _Array, target_shape: tuple[int, ...]) -> None:
        """Keep what ``predict`` needs besides the model and the space of compositions."""
        self._slope, self._offset, self._target_shape = slope, offset, target_shape
        self.elements_ = self._space.elements
        self.slope_ = slope.reshape(-1, *target_shape)
        self.offset_ = (self._space.vectors @ offset).reshape(-1, *target_shape)

    def _check_settings(self) -> None:
        if not isinstance(self.slope, str | int | float) or self.slope not in {"fit", 1}:
            raise SettingError(f"slope={self.slope!r}; use 'fit' or 1")
        names = self._baseline_names()
        if not names or not all(isinstance(name, str) for name in names):
            raise SettingError(
                f"baseline={self.baseline!r}; use the name of a stored property, or several names"
            )
        if self.slope != "fit" and len(names) > 1:
            raise SettingError(
                f"slope=1 takes one baseline, {len(names)} were given; use slope='fit'"
            )
        if not (hasattr(self.model, "fit") and hasattr(self.model, "predict")):
            raise SettingError(
                f"model={self.model!r} is no regressor; use e.g. KRR(descriptor=BagOfBonds())"
            )

    def _baseline_names(self) -> list[str]:
        if isinstance(self.baseline, str):
            return [self.baseline]
        return list(self.baseline) if isinstance(self.baseline, Iterable) else []

    def _baseline_columns(self, structures: Structures) -> _Array:
        """Return the baselines, array (n, n_baselines)."""
        columns = []
        for name in self._baseline_names():
            try:
                column = np.asarray(structures[name], dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise PropertyError(f"baseline {name!r} cannot be used: {error}") from None
            if column.shape != (len(structures),):
                raise PropertyError(
                    f"baseline {name!r} has shape {column.shape}; it must hold one number per "
                    "structure"
                )
            bad = np.flatnonzero(~np.isfinite(column))
            if len(bad):
                k = int(bad[0])
                raise PropertyError(
                    f"structure {k} ({formula(structures[k].numbers)}): baseline {name!r} is "
                    f"{column[k]}; compute it, or drop the {len(bad)} structures without it"
                )
            columns.append(column)
        return np.stack(columns, axis=1)

    def _fit_slope(self, basis: _Array, columns: _Array, targets: _Array) -> _Array:
        """Return slopes (n_baselines, n_targets), fitted beside the element counts.

        The rows are weighted already.
        """
        ones = np.ones((columns.shape[1], targets.shape[1]))
        if self.slope != "fit":
            return ones
        n_coefficients = basis.shape[1] + columns.shape[1]
        q = np.linalg.qr(basis)[0]
        rest = columns - q @ (q.T @ columns)
        scale = np.linalg.norm(columns, axis=0)
        singular = np.linalg.svd(rest / np.where(scale > 0, scale, 1.0), compute_uv=False)
        determined = singular.min(initial=np.inf) > _RANK
        if len(targets) >= _LABELS_PER_COEFFICIENT * n_coefficients and determined:
            return np.asarray(np.linalg.lstsq(rest, targets, rcond=None)[0])
        if columns.shape[1] > 1:
            raise SettingError(
                f"{len(targets)} labels do not determine {columns.shape[1]} slopes beside "
                f"{basis.shape[1]} elements; give more labels or one baseline"
            )
        warnings.warn(
            f"{len(targets)} labels do not determine a slope beside {basis.shape[1]} elements; "
            "the baseline is subtracted as it is (slope 1)",
            KernchemWarning,
            stacklevel=3,
        )
        return ones

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.multi_output = True
        tags.no_validation = True
        return tags
