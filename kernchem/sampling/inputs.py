"""What a selector was given, as rows of one kernel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from kernchem._validation import short
from kernchem.errors import SettingError
from kernchem.kernels import Laplacian, Matern, RadialKernel, StructureKernel
from kernchem.models import KRR, DeltaLearner
from kernchem.models.composition import CompositionSpace
from kernchem.models.joint import JointFeatures, stacked
from kernchem.models.kernel_model import KernelModel, require_symmetric, settled
from kernchem.models.terms import joined, typical_distance
from kernchem.models.training_set import full_rank
from kernchem.sampling.covariance import RowKernel
from kernchem.structures import Structures, as_structures

__all__ = ["Gathered", "fitted_model", "gather", "is_index"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Length scale of kernels with a kink where there are no labels to choose one by, in units of the
#: one that suits the median distance: labels choose rather larger ones than smaller. Smooth kernels
#: have the median's own: a wide one leaves a few directions that some rows seem to determine.
_WIDTH = 4.0
#: Noise relative to the mean variance where neither a model nor the user says it. With less, rows
#: far from all others look as if they told as much as those in the midst of them.
_NOISE = 1e-3


@dataclass
class Gathered:
    """Rows of the pool, of further targets and of further labelled samples, in this order."""

    kernel: RowKernel
    sizes: tuple[int, int, int]
    basis: _Array | None
    alike: _Rows
    noise: float
    labelled_noise: Any = None


def is_index(value: Any) -> bool:
    """Whether samples are named by numbers."""
    if value is None or isinstance(value, Structures):
        return False
    if isinstance(value, list | tuple | range) and not len(value):
        return True
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and (value.dtype.kind in "iu" or not len(value))
    if not isinstance(value, list | tuple | range):
        return False
    return all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in value)


def fitted_model(kernel: Any) -> KernelModel | None:
    """Return the fitted kernel model that was given in place of a kernel, if one was."""
    model = kernel
    while hasattr(model, "model_"):
        model = model.model_
    if not isinstance(model, KernelModel) or not model.one_level:
        return None
    if not hasattr(model, "dual_coef_"):
        raise SettingError(f"{type(model).__name__} is not fitted; fit it, or give its kernel")
    if model.kernel_ is None:
        raise SettingError(
            "the model has a precomputed kernel, which knows no pool; use kernel='precomputed' "
            "and give the kernel matrix of the pool"
        )
    return model


def gather(
    pool: Any,
    targets: Any,
    labelled: Any,
    *,
    kernel: Any,
    descriptor: Any,
    composition: Any,
    noise: float | None,
    training: bool = True,
) -> Gathered:
    """Return all rows; ``targets`` and ``labelled`` are further samples or None.

    ``training`` tells whether the training set of a fitted model is labelled where nothing else is.
    """
    for name, value in (("targets", targets), ("labelled", labelled)):
        if _is_mask(value):
            raise SettingError(
                f"{name} is a mask of truth values; give the numbers of the rows, "
                f"np.flatnonzero({name})"
            )
    unfitted, free = _unfitted_model(kernel), kernel is None or isinstance(kernel, str)
    if unfitted is not None:
        kernel, free = unfitted.kernel, unfitted.optimizer is not None
        descriptor, composition = unfitted.descriptor, unfitted.composition
    model = fitted_model(kernel)
    if model is not None:
        return _of_model(model, pool, targets, labelled, noise, training and labelled is None)
    settings = KRR(kernel, descriptor=descriptor, composition=composition)
    settings._check_settings()
    relative = _NOISE if noise is None else noise
    if settings._precomputed:
        K = _numbers(pool)
        if K.ndim != 2 or K.shape[0] != K.shape[1] or targets is not None or labelled is not None:
            raise SettingError(
                f"kernel='precomputed' takes the square kernel matrix of the pool, not shape "
                f"{K.shape}, and targets and labelled samples as indices"
            )
        if not len(K) or not np.isfinite(K).all() or (np.diagonal(K) < 0.0).any():
            raise SettingError(
                "the kernel matrix of the pool must hold finite numbers, none below zero on its "
                "diagonal"
            )
        require_symmetric(K)
        rows = RowKernel(None, K)
        return Gathered(rows, (len(K), 0, 0), None, _classes(K), _scaled(rows, relative))
    if settings.takes_structures:
        terms = settings._terms
        fresh = clone(descriptor) if terms is None else joined(terms)[0]
        samples, sizes = _structures(pool, targets, labelled)
        features = fresh.fit(samples)._described(samples)
        basis = None if composition is False else CompositionSpace(samples).basis(samples)
        alike = _classes(features if isinstance(features, np.ndarray) else None, samples)
    else:
        features, sizes = _arrays(pool, targets, labelled)
        basis, alike = None, _classes(features)
    made = settings._initial_kernel(features)
    if free:
        _widen(made, features)
    rows = RowKernel(settled(made, features), features)
    return Gathered(rows, sizes, basis, alike, _scaled(rows, relative))


def _of_model(
    model: KernelModel, pool: Any, targets: Any, labelled: Any, noise: float | None, own: bool
) -> Gathered:
    """Return rows in the kernel of a fitted model, with its training set if that is labelled."""
    if not own and model.takes_structures:
        # There may be elements that the model has not seen.
        terms = model._terms
        fresh = clone(model.descriptor) if terms is None else joined(terms)[0]
        batch, sizes = _structures(pool, targets, labelled)
        features = fresh.fit(batch)._described(batch)
        basis = None if model._space is None else CompositionSpace(batch).basis(batch)
        alike = _classes(features if isinstance(features, np.ndarray) else None, batch)
    elif not own:
        features, sizes = _arrays(pool, targets, labelled)
        basis, alike = None, _classes(features)
    else:
        samples: Any
        if model.takes_structures:
            samples, sizes = _structures(pool, targets, None)
        else:
            samples, sizes = _arrays(pool, targets, None)
        new, known, part = model._queries(samples)
        features, training = stacked([new, known]), model._training
        sizes = (sizes[0], sizes[1], len(training))
        basis = None
        if training.basis is not None:
            basis = np.concatenate([part, training.basis])
        # The training set has no geometries any more.
        alike = _classes(features)
    rows = RowKernel(model.kernel_, features)
    diagonal = np.asarray(model.kernel_.diag(model._training.features))
    alpha = float(np.mean(model.alpha_)) if noise is None else noise
    found = Gathered(rows, sizes, basis, alike, alpha * float(diagonal.mean()))
    if own:
        levels = model._noise(np.diag(diagonal), model._training) if noise is None else None
        found.labelled_noise = levels
    return found


def _is_mask(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype == bool
    return isinstance(value, list | tuple) and all(isinstance(one, bool) for one in value)


def _scaled(rows: RowKernel, relative: float) -> float:
    return relative * float(np.mean(rows.diagonal()))


def _unfitted_model(kernel: Any) -> Any:
    """Return the kernel model that was given in place of a kernel before there are labels."""
    inner = kernel
    while isinstance(inner, DeltaLearner):
        inner = inner.model
    unfitted = isinstance(inner, KernelModel) and inner.one_level
    unfitted = unfitted and not hasattr(inner, "dual_coef_")
    return inner if unfitted and not hasattr(kernel, "model_") else None


def _widen(kernel: Any, features: Any) -> None:
    """Set the length scale of a kernel that may choose it; it is a scalar that is not fixed."""
    base = kernel.base if isinstance(kernel, StructureKernel) else kernel
    if not isinstance(base, RadialKernel) or np.ndim(base.length_scale):
        return
    if not base.hyperparameter_length_scale.fixed:
        kink = isinstance(base, Laplacian) or (isinstance(base, Matern) and base.nu == 0.5)
        base.length_scale = (_WIDTH if kink else 1.0) * base.length_scale_from(
            typical_distance(kernel, features)
        )


def _structures(*parts: Any) -> tuple[Structures, tuple[int, int, int]]:
    batches = [None if part is None else as_structures(part) for part in parts]
    sizes = [0 if batch is None else len(batch) for batch in batches]
    bare = []
    for batch in batches:
        if batch is not None and len(batch):
            fields = batch._fields()
            fields["properties"], fields["per_atom"] = {}, frozenset()
            bare.append(Structures._unchecked(**fields))
    if not sizes[0]:
        raise SettingError("the pool is empty; give at least one structure")
    return Structures.concatenate(bare), (sizes[0], sizes[1], sizes[2])


def _arrays(*parts: Any) -> tuple[_Array, tuple[int, int, int]]:
    arrays = [None if part is None else _numbers(part) for part in parts]
    first = arrays[0]
    if first is None or first.ndim != 2 or not first.size:
        raise SettingError(
            "the pool must be rows of features (n, d), or structures with a descriptor"
        )
    for name, array in zip(("pool", "targets", "labelled"), arrays, strict=True):
        if array is not None and (array.ndim != 2 or array.shape[1:] != first.shape[1:]):
            raise SettingError(
                f"{name} of shape {array.shape} do not fit a pool of shape {first.shape}; give "
                f"samples of shape (m, {first.shape[1]}), or whole numbers of rows of the pool"
            )
        if array is not None and not np.isfinite(array).all():
            raise SettingError("features must be finite numbers; drop rows with NaN or infinity")
    sizes = [0 if array is None else len(array) for array in arrays]
    joined_rows = np.concatenate([array for array in arrays if array is not None])
    return joined_rows, (sizes[0], sizes[1], sizes[2])


def _classes(features: Any, samples: Structures | None = None) -> _Rows:
    """Return a number for each row, the same for identical rows."""
    seen: dict[Any, int] = {}
    if features is not None:
        return np.array([seen.setdefault(key, len(seen)) for key in _keys(features)])
    keys = (
        tuple(
            b"" if part is None else (part + 0).tobytes()
            for part in (one.numbers, one.positions, one.cell, one.pbc)
        )
        for one in samples or ()
    )
    return np.array([seen.setdefault(key, len(seen)) for key in keys])


def _keys(features: Any) -> Iterable[Any]:
    """Return what tells the features of each sample from others."""
    if isinstance(features, JointFeatures):
        return zip(*(_keys(part) for part in features.parts), strict=True)
    # Those of atoms can be compared themselves.
    plain = isinstance(features, np.ndarray)
    return ((row + 0.0).tobytes() if plain else row for row in features)


def _numbers(values: Any) -> _Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise SettingError(
            f"{short(values)} is no array of numbers; give rows of features, or structures and a "
            "descriptor"
        ) from None


def reduced(basis: _Array | None) -> _Array | None:
    """Return a basis of full column rank."""
    return None if basis is None else full_rank(basis)
