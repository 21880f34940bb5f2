"""Terms: kernels on structures, made of a descriptor and a kernel, that add and multiply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.gaussian_process.kernels import Kernel

from kernchem._identity import describe
from kernchem._validation import is_positive, short
from kernchem.descriptors import Descriptor
from kernchem.errors import SettingError
from kernchem.kernels import NAMED_KERNELS, AtomSum, RadialKernel, StructureKernel
from kernchem.models.joint import JointDescriptor, JointFeatures, JointKernel
from kernchem.structures import as_structures

__all__ = ["Term", "TermProduct", "TermSum", "Terms", "kernel_for"]

_Array = npt.NDArray[np.float64]


class Terms(BaseEstimator):
    """Base class of kernels on structures: terms, their products and their sums.

    ``a + b``, ``a * b`` and ``2.0 * a`` make new ones. Called on structures, they return a kernel
    matrix; as ``kernel`` of :class:`kernchem.KRR` each term of a sum is also divided by its mean
    diagonal over the training set, so that weights compare terms of any size.
    """

    def __call__(self, X: Any, Y: Any = None) -> _Array:
        """Return the kernel matrix of structures, without division by mean diagonals.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Structures.
        Y : Structures or sequence of ase.Atoms, optional
            Other structures; X itself if absent.

        Returns
        -------
        array (n, m)
            Kernel, float64. Layouts of the descriptors are learnt from both sets of structures.
        """
        left = as_structures(X)
        right = None if Y is None else as_structures(Y)
        descriptor, kernel, _ = joined(self)
        fitted = descriptor.fit(left)
        if right is None:
            return kernel(fitted._described(left))
        fitted, _ = fitted.widened(right)
        return kernel(fitted._described(left), fitted._described(right))

    def __add__(self, other: Any) -> TermSum:
        if not isinstance(other, Terms):
            return NotImplemented
        return TermSum(
            [*_terms_of(self), *_terms_of(other)], fixed_weights=_weights_fixed(self, other)
        )

    def __mul__(self, other: Any) -> Terms:
        if isinstance(other, Terms):
            return _product(self, other)
        return self._weighted(other)

    def __rmul__(self, factor: Any) -> Terms:
        return self._weighted(factor)

    def _weighted(self, factor: Any) -> Terms:
        if not is_positive(factor):
            raise SettingError(
                f"a term cannot be multiplied by {short(factor)}; use a finite number above zero, "
                "or another term"
            )
        if isinstance(self, TermSum):
            scaled = [term._weighted(factor) for term in _terms_of(self)]
            return TermSum(scaled, fixed_weights=self.fixed_weights)
        copy: Any = clone(self)
        of = "a product of terms" if isinstance(self, TermProduct) else "a term"
        copy.weight = _checked_weight(copy.weight, of) * float(factor)
        return cast("Terms", copy)


class Term(Terms):
    r"""A kernel on structures: a kernel of the features of a descriptor.

    .. math:: k(A, B) = w\, f(d(A), d(B))

    Parameters
    ----------
    descriptor : Descriptor
        Turns structures into features.
    kernel : kernel, str or None, default None
        Kernel of the features: of :mod:`kernchem.kernels`, of scikit-learn, or a short name; None
        is the one that the descriptor recommends. For features of atoms a kernel between
        structures such as ``AtomSum(Gaussian())``, into which short names are turned.
    weight : float, default 1.0
        Factor w, above zero. In a sum inside :class:`kernchem.KRR` it is where the search starts.
    width : float, optional
        Where the search for the length scale starts, in units of the one that suits the median
        distance in the training set; kept where the kernel's bounds are "fixed". None keeps the
        kernel's own length scale instead.

    Raises
    ------
    SettingError
        When used, if descriptor and kernel do not fit each other or a number makes no sense.

    Notes
    -----
    Positive semi-definite where the kernel is: sums and products of such terms are too.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 4.2.4, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem import KRR, datasets
    >>> from kernchem.descriptors import BagOfBonds, EncodedBonds
    >>> from kernchem.models import Term
    >>> data = datasets.load_qm_small()[:150]
    >>> terms = Term(EncodedBonds(3), "gaussian", width=4.0) + Term(BagOfBonds(), width=4.0)
    >>> model = KRR(terms).fit(data[:120], data[:120]["atomization_energy"])
    >>> len(model.kernel_.weights)
    2
    """

    def __init__(
        self,
        descriptor: Any,
        kernel: Any = None,
        *,
        weight: float = 1.0,
        width: float | None = None,
    ) -> None:
        self.descriptor = descriptor
        self.kernel = kernel
        self.weight = weight
        self.width = width


class TermProduct(Terms):
    """Product of terms, ``a * b``.

    Parameters
    ----------
    factors : sequence of Term
        At least one; their weights are multiplied too.
    weight : float, default 1.0
        Factor before the product.

    Examples
    --------
    >>> from kernchem.descriptors import BagOfBonds, CoulombMatrix
    >>> from kernchem.models import Term
    >>> len((Term(BagOfBonds()) * Term(CoulombMatrix())).factors)
    2
    """

    def __init__(self, factors: Sequence[Term], *, weight: float = 1.0) -> None:
        self.factors = factors
        self.weight = weight


class TermSum(Terms):
    """Sum of terms, ``a + b``.

    Parameters
    ----------
    terms : sequence of Term or TermProduct
        At least one.
    fixed_weights : bool, default False
        Keep the weights where :class:`kernchem.KRR` chooses hyperparameters. Sums and products of
        this sum with others keep theirs too; two sums that differ in it cannot be joined.

    Examples
    --------
    >>> from kernchem.descriptors import BagOfBonds, CoulombMatrix
    >>> from kernchem.models import Term
    >>> [term.weight for term in (Term(BagOfBonds()) + 0.5 * Term(CoulombMatrix())).terms]
    [1.0, 0.5]
    """

    def __init__(self, terms: Sequence[Term | TermProduct], *, fixed_weights: bool = False) -> None:
        self.terms = terms
        self.fixed_weights = fixed_weights


def joined(terms: Terms) -> tuple[JointDescriptor, JointKernel, list[float | None]]:
    """Return terms as one descriptor, one kernel, and the relative width of each factor.

    Descriptors that occur several times are there once.
    """
    descriptors: dict[str, Any] = {}
    kernels: list[Any] = []
    parts: list[int] = []
    widths: list[float | None] = []
    products: list[list[int]] = []
    weights: list[float] = []
    for term in _terms_of(terms):
        factors = _factors_of(term)
        weight = 1.0
        if isinstance(term, TermProduct):
            weight = _checked_weight(term.weight, "a product of terms")
        products.append([])
        for factor in factors:
            _check(factor)
            names = list(descriptors)
            key = describe(factor.descriptor)
            if key not in descriptors:
                descriptors[key] = factor.descriptor
                names.append(key)
            products[-1].append(len(kernels))
            parts.append(names.index(key))
            kernels.append(kernel_for(factor.descriptor, factor.kernel))
            widths.append(factor.width)
            weight *= float(factor.weight)
        weights.append(weight)
    kernel = JointKernel(kernels, parts, products, weights, None, _weights_fixed(terms))
    return JointDescriptor(list(descriptors.values())), kernel, widths


def with_widths(
    kernel: JointKernel, features: JointFeatures, widths: list[float | None]
) -> JointKernel:
    """Return the kernel with length scales relative to typical distances between features."""
    kernels = []
    for k, width in enumerate(widths):
        one = kernel.kernels[k]
        if width is not None:
            one = clone(one)
            base = one.base if isinstance(one, StructureKernel) else one
            distance = typical_distance(one, features.parts[kernel.parts[k]])
            base.length_scale = width * base.length_scale_from(distance)
        kernels.append(one)
    return JointKernel(
        kernels, kernel.parts, kernel.products, kernel.weights, None, kernel.fixed_weights
    )


#: Samples among which typical distances between rows of features are looked for.
_SAMPLE = 500


def typical_distance(kernel: Any, features: Any) -> float:
    """Return the median of ``kernel.distances`` over pairs of a sample that differ."""
    if isinstance(kernel, StructureKernel):
        return kernel.typical_distance(features)
    rows = np.sort(np.random.default_rng(0).permutation(len(features))[:_SAMPLE])
    D = kernel.distances(features[rows])
    return float(np.median(D[D > 0])) if (D > 0).any() else 1.0


def kernel_for(descriptor: Descriptor, kernel: Any) -> Any:
    """Return a fresh kernel that suits what a descriptor returns.

    Raises
    ------
    SettingError
        If it is a kernel between rows and the features are those of atoms, or the other way round.
    """
    if kernel is None:
        kernel = descriptor.recommended_kernel
    if isinstance(kernel, str):
        made = NAMED_KERNELS[kernel]()
        return AtomSum(made) if descriptor.local else made
    parts = list(_leaves(kernel))
    between = [part for part in parts if isinstance(part, StructureKernel)]
    rows = [part for part in parts if part.requires_vector_input]
    if descriptor.local and rows:
        raise SettingError(
            f"descriptor={descriptor!r} gives features of atoms, which need a kernel between "
            f"structures: AtomSum({rows[0] if between else kernel!r})"
        )
    if not descriptor.local and between:
        raise SettingError(
            f"kernel={between[0]!r} compares atoms, and descriptor={descriptor!r} gives features "
            f"of whole structures: use {between[0].base!r}, or a descriptor such as FCHL19()"
        )
    return clone(kernel)


def _leaves(kernel: Any) -> Iterator[Any]:
    """Yield the kernels that sums, products and powers are made of; one between atoms whole."""
    values = [] if isinstance(kernel, StructureKernel) else kernel.get_params(deep=False).values()
    inner = [value for value in values if isinstance(value, Kernel)]
    for one in inner:
        yield from _leaves(one)
    if not inner:
        yield kernel


def _check(term: Any) -> None:
    if not isinstance(term, Term):
        raise SettingError(f"{short(term)} is no Term; sums and products are made of terms")
    if not isinstance(term.descriptor, Descriptor):
        raise SettingError(f"descriptor={term.descriptor!r} of a term is no descriptor object")
    known = isinstance(term.kernel, Kernel | None)
    if not known and not (isinstance(term.kernel, str) and term.kernel in NAMED_KERNELS):
        raise SettingError(
            f"kernel={term.kernel!r} of a term is no kernel; use an object or one of "
            f"{', '.join(NAMED_KERNELS)}"
        )
    _checked_weight(term.weight, "a term")
    if term.width is None:
        return
    if not is_positive(term.width):
        raise SettingError(f"width={term.width!r} of a term must be a finite number above zero")
    kernel = kernel_for(term.descriptor, term.kernel)
    base = kernel.base if isinstance(kernel, StructureKernel) else kernel
    if not isinstance(base, RadialKernel) or base.anisotropic:
        raise SettingError(
            f"width={term.width!r} needs a kernel with one length scale, not {kernel!r}; leave "
            "it out"
        )


def _checked_weight(weight: Any, of: str) -> float:
    if not is_positive(weight):
        raise SettingError(f"weight={weight!r} of {of} must be a finite number above zero")
    return float(weight)


def _factors_of(term: Any) -> list[Any]:
    if not isinstance(term, TermProduct):
        return [term]
    if not isinstance(term.factors, Sequence) or not len(term.factors):
        raise SettingError(f"factors={term.factors!r} of a TermProduct must be a list of terms")
    return list(term.factors)


def _terms_of(terms: Terms) -> list[Any]:
    if isinstance(terms, TermSum):
        if not isinstance(terms.terms, Sequence) or not len(terms.terms):
            raise SettingError(f"terms={terms.terms!r} of a TermSum must be a list of terms")
        return list(terms.terms)
    return [terms]


def _weights_fixed(*terms: Terms) -> bool:
    """Return whether the weights of a sum of kernels are fixed: as those of the sums among them."""
    given = [one.fixed_weights for one in terms if isinstance(one, TermSum)]
    for fixed in given:
        if not isinstance(fixed, bool):
            raise SettingError(f"fixed_weights={fixed!r} of a TermSum; use True or False")
    if len(set(given)) > 1:
        raise SettingError(
            "one of two sums of terms has fixed weights and the other has not; make one "
            "TermSum([...], fixed_weights=...) of all terms"
        )
    return any(given)


def _product(left: Terms, right: Terms) -> Terms:
    """Return the product of two kernels, multiplied out."""
    fixed = _weights_fixed(left, right)
    products = []
    for a in _terms_of(left):
        for b in _terms_of(right):
            factors, weight = [], 1.0
            for item in (a, b):
                factors += _factors_of(item)
                if isinstance(item, TermProduct):
                    weight *= _checked_weight(item.weight, "a product of terms")
            products.append(TermProduct(factors, weight=weight))
    alone = len(products) == 1 and not fixed
    return products[0] if alone else TermSum(products, fixed_weights=fixed)
