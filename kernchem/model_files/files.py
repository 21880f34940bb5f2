"""Save and load fitted models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kernchem.errors import ModelFileError
from kernchem.model_files.archive import VERSION, Archive, write_archive
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.estimators import decode_model, encode_model
from kernchem.model_files.info import ModelInfo, describe, info_from_json, info_to_json

__all__ = ["load", "read_info", "save"]

_T = TypeVar("_T")

#: What a check that was not foreseen here raises for content that no model has.
_ODD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def save(
    model: Any,
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    unit: str | None = None,
) -> None:
    """Write a fitted model to one file.

    Parameters
    ----------
    model : estimator
        A fitted :class:`kernchem.KRR`, :class:`kernchem.GPR`, :class:`kernchem.MultiFidelityGPR`,
        :class:`kernchem.DeltaLearner` or :class:`kernchem.CompositionBaseline`, or a scikit-learn
        pipeline of a descriptor and KRR or GPR. Its kernel is one of kernchem or of scikit-learn.
    path : str or path
        The file, of any suffix; a file that is there already is replaced, once the new one is
        complete.
    target : str, optional
        Name of the property that the model predicts; by default the one it was loaded with.
    unit : str, optional
        Unit of the labels, in your words; labels are never rescaled. By default the one the model
        was loaded with.

    Raises
    ------
    NotFittedError
        If the model was not fitted.
    ModelFileError
        If a class in it cannot be kept: those of your own, transformers of scikit-learn.

    Notes
    -----
    The file holds what predictions and leave-one-out errors need: the settings, and the **features,
    labels and weights of the training set**. Structures, names and other properties are not in it;
    yet some features, Coulomb matrices and inverse distances among them, determine the geometry.
    Do not publish a model of molecules that you may not publish.

    The factor of a GPR, as large as its kernel matrix, is not in it: the first error bar that a
    loaded model is asked for costs n^3 flops, means cost what they did. Those of a MultiFidelityGPR
    are not in it either, and are made anew when it is loaded.

    Equal models make equal files, byte by byte. docs/model_files.md describes the format.

    Examples
    --------
    >>> import tempfile
    >>> import kernchem
    >>> from kernchem.descriptors import BagOfBonds
    >>> data = kernchem.datasets.load_qm_small()[:50]
    >>> model = kernchem.KRR("laplacian", descriptor=BagOfBonds())
    >>> model = model.fit(data, data["atomization_energy"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/energy.kc"
    ...     kernchem.save(model, path, target="atomization_energy", unit="kcal/mol")
    ...     loaded = kernchem.load(path)
    >>> bool((loaded.predict(data) == model.predict(data)).all())
    True
    >>> loaded.model_info_.elements, loaded.model_info_.unit
    (('H', 'C', 'N', 'O', 'F'), 'kcal/mol')
    """
    place = Path(path).resolve()
    if place.is_dir():
        raise ModelFileError(f"{path} is a folder; give the name of a file, e.g. model.kc")
    if not place.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {place.parent}; make it first")
    known = getattr(model, "model_info_", None)
    if isinstance(known, ModelInfo):
        target = known.target if target is None else target
        unit = known.unit if unit is None else unit
    arrays: dict[str, npt.NDArray[Any]] = {}
    encoded = encode_model(model, Output(arrays))
    info = info_to_json(describe(model, target, unit))
    write_archive(place, {"info": info, "model": encoded}, arrays)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a fitted model from a file that :func:`save` wrote.

    Nothing in the file is ever run: it holds numbers and texts, and classes by names out of a fixed
    list. Every byte is checked, and so are all sizes and numbers on which the model will rely.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    estimator
        The model as it was saved: predictions on the same machine are equal to the last bit. It can
        be fitted anew, cloned and used in pipelines. Its attribute ``model_info_`` is a
        :class:`ModelInfo`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file holds no model, was cut or altered, or was written by a newer kernchem.

    Notes
    -----
    The digests find damage, not malice: whoever alters a file can write new digests, and thereby
    another model. Such a file cannot harm your computer, but its predictions may be anything.
    """
    return _read(path, _model_and_info)


def read_info(path: str | os.PathLike[str]) -> ModelInfo:
    """Return what a file says of its model, without reading the arrays.

    Parameters
    ----------
    path : str or path
        A file that :func:`save` wrote.

    Returns
    -------
    ModelInfo
        Target, unit, elements, settings, training summary and citations.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file holds no model, was cut, or was written by a newer kernchem. Altered arrays
        are found by :func:`load` only.
    """
    return _read(path, _info)


def _read(path: str | os.PathLike[str], read: Callable[[Archive], _T]) -> _T:
    """Open a file and read it; whatever is wrong with the content becomes one kind of error."""
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{path}: there is no such file; check the name and the folder")
    if not place.is_file():
        raise ModelFileError(f"{path} is no file; give the name of a file that save wrote")
    try:
        with place.open("rb") as file:
            return read(Archive(file))
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except _ODD as error:
        raise ModelFileError(
            f"{path}: its content makes no model: {str(error) or type(error).__name__}"
        ) from error


def _info(archive: Archive) -> ModelInfo:
    manifest = archive.manifest
    return info_from_json(manifest.get("info"), VERSION, manifest.get("kernchem"))


def _model_and_info(archive: Archive) -> Any:
    if set(archive.manifest) != {"info", "model", "kernchem"}:
        raise ModelFileError("the file must hold a model and what is said of it, and nothing else")
    info = _info(archive)
    with np.errstate(all="ignore"):
        model = decode_model(archive.manifest["model"], Input(archive))
    archive.require_all_read()
    model.model_info_ = info
    return model
