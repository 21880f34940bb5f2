"""The base of every descriptor: structures in, features of structures or of their atoms out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from kernchem._threads import effective_n_jobs
from kernchem._validation import short
from kernchem.elements import formula, symbol
from kernchem.environments import Environments
from kernchem.errors import SettingError, StructureError, UnknownElementError
from kernchem.structures import Structures, as_structures

__all__ = ["Descriptor"]

#: Arguments that no feature depends on: they may be changed after ``fit``.
_FREE = ("n_jobs", "verbose")


class _InContainer(TransformerMixin):
    """Features in the container that scikit-learn is told to use, such as a data frame."""

    def transform(self, X: Any) -> Any:
        """Return the features of molecules.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules.

        Returns
        -------
        array or data frame (n_structures, n_features)
            Features in float64.
        """
        return self._described(X)


# The keyword is one of scikit-learn's base classes, which have no types.
class Descriptor(  # type: ignore[call-arg]
    ABC, _InContainer, BaseEstimator, auto_wrap_output_keys=None
):
    """Base class of descriptors.

    ``fit`` learns sizes and elements and nothing else; ``transform`` gives an array
    ``(n_structures, n_features)`` in float64 or, where :attr:`local` is true, one row per atom as
    :class:`~kernchem.environments.Environments`. A subclass implements the first three hooks below,
    and sets :attr:`citation` and :attr:`recommended_kernel`. Where the number of columns depends on
    the sizes of the molecules, it implements the other two as well.

    Attributes
    ----------
    elements_ : tuple of int
        Atomic numbers seen in ``fit``; a structure with another one is refused by ``transform``.
    n_features_out_ : int
        Number of columns of the features.
    """

    #: Where the descriptor was published, with its DOI.
    citation: str
    #: Name of the vector kernel that suits the features (``kernchem.kernels``).
    recommended_kernel: str
    #: Whether periodic images are taken into account; a descriptor of molecules refuses them.
    periodic: bool = False

    elements_: tuple[int, ...]
    n_features_out_: int
    #: The arguments at ``fit``; a descriptor pickled by an older version has none.
    _fitted_with: dict[str, Any] | None = None

    @abstractmethod
    def _learn(self, structures: Structures) -> None:
        """Learn the layout and set ``n_features_out_``; ``elements_`` is set already."""

    @abstractmethod
    def _compute(self, structures: Structures) -> npt.NDArray[np.float64] | Environments:
        """Return the features of structures that fit the layout."""

    @abstractmethod
    def _feature_names(self) -> list[str]:
        """Return the name of each column."""

    def _require_fit(self, structures: Structures) -> None:
        """Raise LayoutError, naming the molecule, if one does not fit; by default all do."""

    def _widen(self, structures: Structures) -> tuple[Descriptor, npt.NDArray[np.int64]]:
        """Return a fitted copy that also holds ``structures``, and where the old columns go.

        By default the descriptor itself, which holds all molecules of its elements.
        """
        return self, np.arange(self.n_features_out_)

    def fit(self, X: Any, y: Any = None) -> Descriptor:
        """Learn the sizes and elements of a set of molecules.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules.
        y : ignored
            Present for scikit-learn.

        Returns
        -------
        Descriptor
            This object.

        Raises
        ------
        SettingError
            If an argument of the constructor has a value it cannot have.
        StructureError
            If there are no molecules, or one of them is periodic.

        Notes
        -----
        A ``fit`` that raises leaves the descriptor as it was.
        """
        structures = self._accepted(X)
        effective_n_jobs(getattr(self, "n_jobs", None))
        if len(structures) == 0:
            raise StructureError(
                f"{type(self).__name__} was given no structures to learn its layout from; "
                "fit it on at least one"
            )
        # Another object learns, and is taken over as a whole. It is made by hand, as a class may
        # leave out of its copies what it does not need in a pickle.
        learnt = type(self).__new__(type(self))
        learnt.__dict__.update(vars(self))
        learnt.elements_ = structures.elements
        learnt._learn(structures)
        learnt._fitted_with = {
            name: copy.copy(value) if isinstance(value, dict | list | np.ndarray) else value
            for name, value in learnt.get_params(deep=False).items()
            if name not in _FREE
        }
        self.__dict__ = learnt.__dict__
        return self

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Return the features of the molecules on which the descriptor is fitted.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules; an iterator is read once.
        y : ignored
            Present for scikit-learn.
        **fit_params : ignored
            Arguments of ``fit`` of a subclass that has some.

        Returns
        -------
        array (n_structures, n_features), or Environments
            As :meth:`transform` returns them.

        Raises
        ------
        SettingError
            If an argument of the constructor has a value it cannot have.
        StructureError
            If there are no molecules, or one of them is periodic.
        """
        structures = as_structures(X)
        return self.fit(structures, y, **fit_params).transform(structures)

    @property
    def local(self) -> bool:
        """Whether the features are those of atoms, which asks for a kernel between atoms."""
        return False

    def transform(self, X: Any) -> npt.NDArray[np.float64] | Environments:
        """Return the features of molecules.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules of the elements and sizes seen in ``fit``.

        Returns
        -------
        array (n_structures, n_features), or Environments
            Features in float64; one row per atom where :attr:`local` is true. An array is put
            into the container that ``set_output`` or scikit-learn's ``transform_output`` names;
            models of kernchem do not depend on these.

        Raises
        ------
        UnknownElementError
            If a molecule holds an element that was absent in ``fit``.
        LayoutError
            If a molecule does not fit the layout learnt in ``fit``.
        StructureError
            If a structure is periodic and the descriptor is not.
        SettingError
            If an argument of the constructor, other than ``n_jobs``, was changed after ``fit``.
        """
        return self._described(X) if self.local else super().transform(X)

    def _described(self, X: Any) -> npt.NDArray[np.float64] | Environments:
        """Return the features of molecules as they are, whatever container is asked for."""
        self._require_fitted()
        structures = self._accepted(X)
        self._require_known_elements(structures)
        self._require_fit(structures)
        return self._compute(structures)

    def widened(self, X: Any) -> tuple[Descriptor, npt.NDArray[np.int64]]:
        """Return this descriptor with a layout that also holds ``X``.

        Features under the old layout equal those under the new one at the returned columns, and
        all other new columns are zero for the old molecules. An estimator that owns a descriptor
        uses this to predict molecules larger than those it was trained on.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules of the elements seen in ``fit``, of any size.

        Returns
        -------
        descriptor : Descriptor
            This object if ``X`` fits already, else a fitted copy with a wider layout.
        columns : array (n_features,)
            New position of each old column.
        """
        self._require_fitted()
        structures = self._accepted(X)
        self._require_known_elements(structures)
        return self._widen(structures)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return the names of the columns of the features.

        Parameters
        ----------
        input_features : ignored
            Present for scikit-learn.

        Returns
        -------
        array (n_features,) of str
            One name per column.
        """
        self._require_fitted()
        return np.array(self._feature_names(), dtype=object)

    def _require_fitted(self) -> None:
        """Raise NotFittedError before ``fit``, and SettingError if arguments changed since."""
        check_is_fitted(self, "n_features_out_")
        if self._fitted_with is None:
            return
        now = self.get_params(deep=False)
        for name, value in self._fitted_with.items():
            if name in now and not _are_same(value, now[name]):
                raise SettingError(
                    f"{name} of {type(self).__name__} was changed after fit, from {short(value)} "
                    f"to {short(now[name])}: the layout is that of the old value; fit again"
                )

    def _accepted(self, X: Any) -> Structures:
        """Return samples as structures of a kind that the descriptor can describe."""
        structures = as_structures(X)
        if not self.periodic and structures.pbc is not None and structures.pbc.any():
            k = int(np.flatnonzero(structures.pbc.any(axis=1))[0])
            raise StructureError(
                f"structure {k} ({formula(structures[k].numbers)}) is periodic, and "
                f"{type(self).__name__} describes molecules only; if it is a molecule in a box, "
                "set its pbc to False, else choose a descriptor of periodic structures"
            )
        return structures

    def _require_known_elements(self, structures: Structures) -> None:
        foreign = ~np.isin(structures.numbers, self.elements_)
        if not foreign.any():
            return
        atom = int(np.flatnonzero(foreign)[0])
        k = int(np.searchsorted(structures.offsets, atom, side="right")) - 1
        known = " ".join(symbol(number) for number in self.elements_)
        raise UnknownElementError(
            f"structure {k} ({formula(structures[k].numbers)}): element "
            f"{symbol(structures.numbers[atom])} is none of those that {type(self).__name__} was "
            f"fitted for ({known}); fit on molecules that contain it, or drop this one"
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


def _are_same(first: Any, second: Any) -> bool:
    """Whether two values of an argument are equal; what cannot be compared must be one object."""
    if first is second or type(first) is not type(second):
        return first is second
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_are_same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_are_same, first, second))
    try:
        # NaN, as no other value, differs from itself.
        same = (first == second) | ((first != first) & (second != second))  # noqa: PLR0124
        return bool(np.shape(first) == np.shape(second) and np.all(same))
    except (TypeError, ValueError):
        return False
