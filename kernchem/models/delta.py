"""Delta-learning: learn what a cheap method gets wrong."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from kernchem._validation import check_labels, check_weights
from kernchem.errors import LabelError, PropertyError, SettingError
from kernchem.models.baseline_columns import (
    ArraySource,
    Columns,
    PropertySource,
    Source,
    beside,
    sources_of,
)
from kernchem.models.baseline_slopes import require_slope
from kernchem.models.composition import CompositionSpace
from kernchem.models.delta_slopes import DeltaTask
from kernchem.structures import Structures, as_structures

__all__ = ["DeltaLearner"]

_Array = npt.NDArray[np.float64]


class DeltaLearner(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    r"""Learn the difference between a property and cheaper estimates of it.

    .. math:: f(A) = \sum_Z n_Z(A)\, \varepsilon_Z + \sum_b s_b\, y_b(A) + g(A)

    The offsets :math:`\varepsilon_Z` per element and the slope :math:`s_b` of each column of the
    baseline are fitted by least squares; ``model`` learns the rest g. Under a kernel model,
    :class:`kernchem.KRR` or :class:`kernchem.GPR` on structures, the slopes are those of
    generalised least squares, fitted jointly with the kernel: what it can learn does not pull them.

    Parameters
    ----------
    model : estimator
        Any regressor that takes structures, e.g. ``KRR(descriptor=BagOfBonds())``, the same
        with :class:`kernchem.GPR` for error bars, or a pipeline that starts with a descriptor.
    baseline : str, Baseline, callable, fitted model, sequence of them, or None
        Where the columns come from:

        - the name of a stored property of one number, or several, per structure, which the
          structures given to ``predict`` must carry too;
        - an object of :mod:`kernchem.baselines`, e.g. ``GFN2()``: computed when it is needed, so
          give it a cache. ``BondAdditivity(GFN2())`` adds a correction for each bond. Free
          parameters of pair potentials are chosen by the leave-one-out errors of a kernel model on
          top;
        - a function that takes structures and returns an array (n,) or (n, n_columns);
        - a class, or a function without arguments, that makes an ASE calculator; energies in
          kcal/mol;
        - a fitted model of a cheaper property (transfer learning). Where this object is cloned, as
          in searches, wrap it: ``sklearn.frozen.FrozenEstimator(model)``.

        With None an array is passed to ``fit`` and to ``predict``.
    slope : "fit" or 1, default "fit"
        "fit" fits one slope per column; 1 subtracts the baseline as it is (one column only).

    Attributes
    ----------
    model_ : estimator
        The fitted model of the difference.
    baseline_ : list
        The baselines, with the parameters of potentials that were chosen; empty for an array.
    slope_ : array (n_columns,) or (n_columns, n_targets)
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
    1 does not. Slopes of bond additivity corrections are drawn towards zero as their ``std`` says.
    With fewer than four labels per free coefficient, or where element counts and other
    columns determine a column, the first column has slope 1 and the others 0, with a warning. A
    model that fits a composition itself (:class:`kernchem.KRR` does) refits the offsets jointly
    with its kernel. Slopes jointly with a kernel take one fit more, parameters of potentials two,
    on at most 1000 random molecules.

    Error bars are those of the model and, in quadrature, those of a baseline that is a model with
    error bars, times its slope. That is right for a baseline that knows the training set, and too
    cautious for one that does not, whose errors the model sees as noise.

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
        baseline: Any = None,
        *,
        slope: Literal["fit"] | float = "fit",
    ) -> None:
        self.model = model
        self.baseline = baseline
        self.slope = slope

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, baseline: Any = None, **fit_params: Any
    ) -> DeltaLearner:
        """Fit offsets and slopes, then the model on what they leave.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules, with the baseline if it is a stored property.
        y : array (n,) or (n, n_targets)
            Labels, in the unit of the baseline.
        sample_weight : array (n,), optional
            Weights of the squared residuals, also passed on to the model if given, to the last
            step of a pipeline.
        baseline : array (n,) or (n, n_columns), optional
            Where the object was made without one.
        **fit_params
            Passed on to the model's ``fit``, e.g. ``groups``.

        Returns
        -------
        DeltaLearner
            This object.
        """
        self._check_settings()
        self._forget()
        structures = as_structures(X)
        labels = check_labels(y, len(structures))
        weights = check_weights(sample_weight, len(labels))
        self._sources = [] if self.baseline is None else sources_of(self.baseline)
        self._space = CompositionSpace(structures[weights > 0])
        if sample_weight is not None:
            fit_params = {**fit_params, _name_of_weights(self.model): weights}
        basis = np.zeros((len(structures), self._space.vectors.shape[1]))
        basis[weights > 0] = self._space.basis(structures[weights > 0])
        task = DeltaTask(
            self.model,
            self.slope,
            structures,
            labels.reshape(len(labels), -1),
            labels.shape,
            weights,
            basis,
            self._sources_with(baseline),
            fit_params,
        )
        task.run()
        self._keep(np.vstack(task.slopes), task.offset, labels.shape[1:])
        self.model_ = task.fitted
        return self

    def predict(self, X: Any, baseline: Any = None, **predict_params: Any) -> Any:
        """Return baseline, offsets and learnt difference, added.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules, with the baseline if it is a stored property.
        baseline : array (n,) or (n, n_columns), optional
            Where the object was made without one.
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
        spread = next((kind for kind in ("std", "cov") if predict_params.get(f"return_{kind}")), "")
        columns = self._columns(structures, baseline, spread or None)
        linear = self._linear(structures, columns)
        difference = self.model_.predict(structures, **predict_params)
        if not isinstance(difference, tuple):
            return difference + linear
        mean, *others = difference
        if spread and columns.covariances is not None:
            own = self._spread(columns.covariances)
            others[0] = np.hypot(others[0], np.sqrt(own)) if spread == "std" else others[0] + own
        return (mean + linear, *others)

    def calibrate(self, X: Any, y: Any, baseline: Any = None) -> DeltaLearner:
        """Keep the errors on labelled molecules that were not in ``fit``, for conformal intervals.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules, with the baseline if it is a stored property.
        y : array (n,) or (n, n_targets)
            Their labels.
        baseline : array (n,) or (n, n_columns), optional
            Where the object was made without one.

        Returns
        -------
        DeltaLearner
            This object.

        Raises
        ------
        SettingError
            If the model keeps no such errors.
        """
        check_is_fitted(self, "model_")
        if not hasattr(self.model_, "calibrate"):
            raise SettingError(
                f"model={type(self.model_).__name__} keeps no errors; use "
                "DeltaLearner(GPR(...), baseline)"
            )
        structures = as_structures(X)
        labels = check_labels(y, len(structures))
        linear = self._linear(structures, self._columns(structures, baseline))
        if labels.shape != linear.shape:
            raise LabelError(f"y has shape {labels.shape}; expected {linear.shape} as in fit")
        self.model_.calibrate(structures, labels - linear)
        return self

    def predict_interval(
        self, X: Any, coverage: float = 0.9, method: str = "calibrated", baseline: Any = None
    ) -> tuple[_Array, _Array]:
        """Return intervals in which labels lie with a given probability.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules, with the baseline if it is a stored property.
        coverage : float, default 0.9
            Probability, above 0 and below 1.
        method : str, default "calibrated"
            One of those of the model, see :meth:`kernchem.GPR.predict_interval`.
        baseline : array (n,) or (n, n_columns), optional
            Where the object was made without one.

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
        (:class:`kernchem.GPR` does) has the uncertainty of the offsets in its error bars. Of a
        baseline with error bars, the part of a normal distribution that lies inside is added in
        quadrature to both arms of the interval; not so with "conformal", whose errors hold it.
        """
        check_is_fitted(self, "model_")
        if not hasattr(self.model_, "predict_interval"):
            raise SettingError(
                f"model={type(self.model_).__name__} predicts no intervals; use "
                "DeltaLearner(GPR(...), baseline)"
            )
        structures = as_structures(X)
        columns = self._columns(structures, baseline, "std")
        linear = self._linear(structures, columns)
        lower, upper = self.model_.predict_interval(structures, coverage, method)
        if columns.covariances is not None and method != "conformal":
            middle = self.model_.predict(structures)
            arm = ndtri(0.5 + 0.5 * coverage) * np.sqrt(self._spread(columns.covariances))
            lower = middle - np.hypot(middle - lower, arm)
            upper = middle + np.hypot(upper - middle, arm)
        return lower + linear, upper + linear

    @property
    def baseline_(self) -> list[Any]:
        """The baselines, with the parameters that were chosen."""
        check_is_fitted(self, "model_")
        return [source.origin for source in self._sources]

    @property
    def loo_residuals_(self) -> _Array:
        """Leave-one-out residuals of the model, slope and offsets held, in the labels' unit."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.loo_residuals_)

    def _columns(
        self, structures: Structures, given: Any = None, spread: str | None = None
    ) -> Columns:
        """Return the columns of all sources beside each other."""
        sources = self._sources_with(given)
        return beside([source.columns(structures, spread) for source in sources])

    def _sources_with(self, given: Any) -> list[Source]:
        """Return the sources; an array is one where the object was made without a baseline."""
        if (given is None) == (self.baseline is None):
            raise PropertyError(
                "no baseline; pass one here, or to the constructor"
                if given is None
                else "baseline was given here and to the constructor; leave one out"
            )
        return self._sources if given is None else [ArraySource(given)]

    def _linear(self, structures: Structures, columns: Columns) -> _Array:
        """Return baselines and offsets, array (n,) or (n, n_targets)."""
        n_columns = columns.values.shape[1]
        if n_columns != len(self._slope):
            raise PropertyError(
                f"the baseline has {n_columns} columns; it had {len(self._slope)} in fit"
            )
        linear = self._space.basis(structures) @ self._offset + columns.values @ self._slope
        return np.asarray(linear.reshape(-1, *self._target_shape))

    def _spread(self, covariances: _Array) -> _Array:
        """Return what covariances of the columns mean for predictions."""
        spread = covariances @ self._slope**2
        return spread.reshape(*covariances.shape[:-1], *self._target_shape)

    def _forget(self) -> None:
        """Remove what an earlier fit left, so that nothing of it survives one that fails."""
        for name in ("model_", "slope_", "offset_", "elements_"):
            self.__dict__.pop(name, None)

    def _keep(self, slope: _Array, offset: _Array, target_shape: tuple[int, ...]) -> None:
        """Keep what ``predict`` needs besides the model and the space of compositions."""
        self._slope, self._offset, self._target_shape = slope, offset, target_shape
        self.elements_ = self._space.elements
        self.slope_ = slope.reshape(-1, *target_shape)
        self.offset_ = (self._space.vectors @ offset).reshape(-1, *target_shape)

    def _check_settings(self) -> None:
        require_slope(self.slope)
        if not (hasattr(self.model, "fit") and hasattr(self.model, "predict")):
            raise SettingError(
                f"model={self.model!r} is no regressor; use e.g. KRR(descriptor=BagOfBonds())"
            )

    def _baseline_names(self) -> list[str]:
        """Return the names of the stored properties that are needed."""
        if self.baseline is None:
            return []
        return [s.name for s in sources_of(self.baseline) if isinstance(s, PropertySource)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.multi_output = True
        tags.no_validation = True
        return tags


def _name_of_weights(model: Any) -> str:
    """Return under which name the ``fit`` of a model takes weights of samples."""
    if isinstance(model, Pipeline) and not get_config()["enable_metadata_routing"]:
        return f"{model.steps[-1][0]}__sample_weight"
    return "sample_weight"
