"""By what the sizes of errors are compared: the kernel of the process, and encoded bonds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from kernchem.descriptors import EncodedBonds
from kernchem.kernels import Laplacian
from kernchem.models.terms import typical_distance
from kernchem.structures import Structures

__all__ = ["ErrorLikeness"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ErrorLikeness:
    r"""Kernel by which a model of the size of errors compares structures.

    .. math:: k_e(A, B) = k(A, B) / \bar k + \exp(-\lVert b(A) - b(B) \rVert_1 / \ell)

    with the kernel k of the process, its mean diagonal over the training set, encoded bonds b and
    their median distance in the training set. A descriptor that knows little of structures, such as
    a Coulomb matrix, knows less of where it errs; which bonds a molecule has tells more.

    Attributes
    ----------
    descriptor : EncodedBonds
        Fitted to the training set.
    features : array (n, n_features)
        Encoded bonds of the distinct training samples.
    length_scale : float
        Median distance of the features, of pairs that differ.
    """

    descriptor: EncodedBonds
    features: _Array
    length_scale: float = 1.0

    @classmethod
    def of(cls, structures: Structures) -> Self:
        """Return the likeness to training samples, which is not settled."""
        descriptor = EncodedBonds().fit(structures)
        return cls(descriptor, np.asarray(descriptor._described(structures)))

    def settled(self) -> Self:
        """Return the likeness with the median distance of its training samples."""
        return replace(self, length_scale=typical_distance(Laplacian(), self.features))

    def matrix(self, K: _Array, diagonal: float) -> _Array:
        """Return the likeness (n, n) of training samples with a kernel matrix and its mean."""
        found: _Array = Laplacian(self.length_scale)(self.features)
        found += K / diagonal
        return found

    def cross(self, structures: Structures, K: _Array, diagonal: float) -> _Array:
        """Return the likeness (m, n) of new and training samples; K is their kernel."""
        features = self.descriptor._described(structures)
        found: _Array = Laplacian(self.length_scale)(features, self.features)
        found += K / diagonal
        return found

    def appended(self, structures: Structures) -> Self:
        """Return the likeness to these training samples and to further ones."""
        features = np.asarray(self.descriptor._described(structures))
        return replace(self, features=np.concatenate([self.features, features]))

    def without(self, rows: _Rows) -> Self:
        """Return the likeness to the training samples but those of some rows."""
        return replace(self, features=np.delete(self.features, rows, axis=0))
