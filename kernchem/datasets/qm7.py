"""QM7 and QM7b: seven thousand small organic molecules, from Coulomb matrices and beside them."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from kernchem.datasets.matlab import MAGIC, read_mat
from kernchem.datasets.registry import Dataset, register
from kernchem.datasets.remote import RemoteFile, fetch_file, local_file
from kernchem.elements import MAX_ATOMIC_NUMBER, formula
from kernchem.errors import FileFormatError, KernchemError
from kernchem.structures import Structures
from kernchem.units import energy_factor

__all__ = ["fetch_qm7", "fetch_qm7b"]

#: The source publishes no checksums: they are recorded at the first download. The size is that of
#: five arrays of single precision (indices: 8 bytes) with their headers.
QM7 = RemoteFile(
    name="qm7/qm7.mat",
    url="http://quantum-machine.org/data/qm7.mat",
    begins=MAGIC,
    size=17_884_280,
)
QM7B = RemoteFile(
    name="qm7b/qm7b.mat", url="http://quantum-machine.org/data/qm7b.mat", begins=MAGIC
)

#: Atoms to which both files pad their molecules.
_PADDED = 23
_FOLDS = 5

#: Columns of QM7b's labels in the order of the file, the unit in which they are published, and
#: what they are.
QM7B_COLUMNS = (
    ("aepbe0", "kcal/mol", "PBE0 atomisation energy, negative = bound"),
    ("zindo-excitation-energy-with-the-most-absorption", "eV", "ZINDO"),
    ("zindo-highest-absorption", "", "ZINDO, arbitrary unit"),
    ("zindo-homo", "eV", "ZINDO"),
    ("zindo-lumo", "eV", "ZINDO"),
    ("zindo-1st-excitation-energy", "eV", "ZINDO"),
    ("zindo-ionization-potential", "eV", "ZINDO"),
    ("zindo-electron-affinity", "eV", "ZINDO"),
    ("ks-homo", "eV", "PBE0"),
    ("ks-lumo", "eV", "PBE0"),
    ("gw-homo", "eV", "GW"),
    ("gw-lumo", "eV", "GW"),
    ("polarizability-pbe", "A^3", "PBE0"),
    ("polarizability-scs", "A^3", "self-consistent screening"),
)

#: Units that are those of energies.
_CONVERTED = ("kcal/mol", "eV")

#: Single precision leaves this much of a diagonal element open, relative to itself; neighbouring
#: elements differ by a hundred times more.
_DIAGONAL_TOLERANCE = 1e-3
#: Largest difference between a published distance and the rebuilt one, angstrom.
_DISTANCE_TOLERANCE = 0.01
#: No distance in these molecules comes near it, and its square can still be computed with.
_FAR = 1e6


def fetch_qm7(*, unit: str = "kcal/mol", path: str | os.PathLike[str] | None = None) -> Structures:
    """Return QM7: molecules of up to seven C, N, O and S atoms, and H, with PBE0 labels.

    The file (18 MB) is downloaded at the first call, into the folder that :func:`data_home` names.

    Parameters
    ----------
    unit : str, default "kcal/mol"
        Unit of the energies: one of :data:`kernchem.units.ENERGY_UNITS`. Published in kcal/mol.
    path : str or path-like, optional
        A file ``qm7.mat`` that is here already.

    Returns
    -------
    Structures
        7165 molecules of 5 to 23 atoms, in the order of the file. Properties:

        ====================== ======== ======== ==========================================
        name                   in file  unit     meaning
        ====================== ======== ======== ==========================================
        ``atomization_energy`` ``T``    ``unit`` PBE0 atomisation energy; negative = bound
        ``fold``               ``P``             number, 0 to 4, of the published cross-
                                                 validation fold that tests on the molecule
        ====================== ======== ======== ==========================================

    Raises
    ------
    DatasetError
        If the file cannot be downloaded, or is not the one downloaded first.
    FileFormatError
        If the file cannot be read.
    FileNotFoundError
        If there is no ``path``.
    SettingError
        If ``unit`` is not an energy unit.

    Notes
    -----
    Coordinates are published in bohr and converted. The published Coulomb matrices, in atomic
    units, are left out: they follow from the molecules. The source states neither a licence nor a
    checksum; the SHA-256 is recorded at the first download and verified at every use.

    References
    ----------
    M. Rupp, A. Tkatchenko, K.-R. Müller, O. A. von Lilienfeld, Phys. Rev. Lett. 108, 058301
    (2012), https://doi.org/10.1103/PhysRevLett.108.058301

    L. C. Blum, J.-L. Reymond, J. Am. Chem. Soc. 131, 8732 (2009),
    https://doi.org/10.1021/ja902302h

    Examples
    --------
    >>> from kernchem.datasets import fetch_qm7
    >>> data = fetch_qm7()  # doctest: +SKIP
    >>> train, test = data[data["fold"] != 0], data[data["fold"] == 0]  # doctest: +SKIP
    """
    factor = energy_factor("kcal/mol", unit)
    source = fetch_file(QM7)[0] if path is None else local_file(path)
    arrays = read_mat(
        source,
        {
            "Z": ("n", _PADDED),
            "R": ("n", _PADDED, 3),
            "T": (1, "n"),
            "P": (_FOLDS, "m"),
        },
    )
    n = len(arrays["Z"])
    if not np.array_equal(np.sort(arrays["P"], axis=None), np.arange(n)):
        raise FileFormatError(
            f"{source}: 'P' holds other numbers than 0 to {n - 1}, each once; the file is damaged"
        )
    fold = np.empty(n, dtype=np.int64)
    fold[arrays["P"].astype(np.int64)] = np.arange(_FOLDS)[:, None]
    from ase.units import Bohr

    try:
        return Structures.from_arrays(
            arrays["Z"],
            arrays["R"] * Bohr,
            properties={"atomization_energy": arrays["T"][0] * factor, "fold": fold},
        )
    except KernchemError as error:
        raise type(error)(f"{source}: {error}") from None


def fetch_qm7b(*, unit: str = "kcal/mol", path: str | os.PathLike[str] | None = None) -> Structures:
    """Return QM7b: molecules of up to seven C, N, O, S and Cl atoms, and H, with 14 labels.

    QM7b is published as Coulomb matrices, without coordinates. A Coulomb matrix holds the nuclear
    charges and all distances; here they are turned into coordinates again, which is possible up to
    translation, rotation and reflection: **which of two mirror images a molecule is, is not
    known**. Descriptors made of distances, as all of kernchem's, do not see the difference. The
    file (16 MB) is downloaded at the first call, into the folder that :func:`data_home` names.

    Parameters
    ----------
    unit : str, default "kcal/mol"
        Unit of all energies: one of :data:`kernchem.units.ENERGY_UNITS`. Published in kcal/mol
        (atomisation energies) and eV (all others).
    path : str or path-like, optional
        A file ``qm7b.mat`` that is here already.

    Returns
    -------
    Structures
        7211 molecules of up to 23 atoms, in the order of the file. Properties, named as there:

        ==================================================== ======== =============================
        name                                                 unit     meaning
        ==================================================== ======== =============================
        ``aepbe0``                                           ``unit`` PBE0 atomisation energy;
                                                                      negative = bound
        ``zindo-excitation-energy-with-the-most-absorption`` ``unit`` excitation of largest
                                                                      intensity, ZINDO
        ``zindo-highest-absorption``                                  that intensity, arbitrary
                                                                      unit
        ``zindo-homo``, ``zindo-lumo``                       ``unit`` orbital energies, ZINDO
        ``zindo-1st-excitation-energy``                      ``unit`` first excitation, ZINDO
        ``zindo-ionization-potential``                       ``unit`` ionisation energy, ZINDO
        ``zindo-electron-affinity``                          ``unit`` electron affinity, ZINDO
        ``ks-homo``, ``ks-lumo``                             ``unit`` orbital energies, PBE0
        ``gw-homo``, ``gw-lumo``                             ``unit`` quasi-particle energies, GW
        ``polarizability-pbe``                               A^3      polarisability, PBE0
        ``polarizability-scs``                               A^3      the same, self-consistent
                                                                      screening
        ==================================================== ======== =============================

    Raises
    ------
    DatasetError
        If the file cannot be downloaded, or is not the one downloaded first.
    FileFormatError
        If the file cannot be read, or a matrix belongs to no arrangement of atoms in space.
    FileNotFoundError
        If there is no ``path``.
    SettingError
        If ``unit`` is not an energy unit.

    Notes
    -----
    With C_ii = 0.5 Z_i^2.4 and C_ij = Z_i Z_j / r_ij in atomic units, the charges are
    Z_i = (2 C_ii)^(1/2.4), and the distances r_ij = Z_i Z_j / C_ij. Classical multidimensional
    scaling gives the coordinates: the eigenvectors of -1/2 J r^2 J, J = 1 - 1/n, that belong to its
    three largest eigenvalues, times the roots of these. Every distance of the result agrees with
    the published one within 0.01 angstrom, or it is an error.

    The source states neither a licence nor a checksum; the SHA-256 is recorded at the first
    download and verified at every use.

    References
    ----------
    G. Montavon, M. Rupp, V. Gobre, A. Vazquez-Mayagoitia, K. Hansen, A. Tkatchenko, K.-R. Müller,
    O. A. von Lilienfeld, New J. Phys. 15, 095003 (2013),
    https://doi.org/10.1088/1367-2630/15/9/095003

    L. C. Blum, J.-L. Reymond, J. Am. Chem. Soc. 131, 8732 (2009),
    https://doi.org/10.1021/ja902302h

    Examples
    --------
    >>> from kernchem.datasets import fetch_qm7b
    >>> data = fetch_qm7b(unit="eV")  # doctest: +SKIP
    >>> gap = data["gw-lumo"] - data["gw-homo"]  # doctest: +SKIP
    """
    energy_factor("eV", unit)
    source = fetch_file(QM7B)[0] if path is None else local_file(path)
    arrays = read_mat(source, {"X": ("n", _PADDED, _PADDED), "T": ("n", len(QM7B_COLUMNS))})
    properties = {
        name: values * energy_factor(published, unit) if published in _CONVERTED else values
        for (name, published, _), values in zip(QM7B_COLUMNS, arrays["T"].T, strict=True)
    }
    try:
        molecules = [_from_coulomb_matrix(matrix, k) for k, matrix in enumerate(arrays["X"])]
        return Structures.from_arrays(
            [numbers for numbers, _ in molecules],
            [positions for _, positions in molecules],
            properties=properties,
        )
    except KernchemError as error:
        raise type(error)(f"{source}: {error}") from None


def _from_coulomb_matrix(
    matrix: npt.NDArray[np.float64], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return atomic numbers and coordinates (angstrom) of a padded Coulomb matrix."""
    from ase.units import Bohr

    n = int(np.count_nonzero(matrix.diagonal()))
    used = matrix[:n, :n]
    if n == 0 or np.count_nonzero(matrix) != n * n or used.min() <= 0:
        raise FileFormatError(
            f"structure {k}: expected a Coulomb matrix, positive and padded with zeros; the file "
            "is damaged"
        )
    numbers = np.rint((2.0 * used.diagonal()) ** (1 / 2.4))
    ideal = 0.5 * numbers**2.4
    whole = np.abs(used.diagonal() - ideal) <= _DIAGONAL_TOLERANCE * ideal
    if not (whole & (numbers <= MAX_ATOMIC_NUMBER)).all():
        raise FileFormatError(
            f"structure {k}: the diagonal {used.diagonal().round(3).tolist()} of its Coulomb "
            "matrix holds other numbers than 0.5 Z^2.4 of atomic numbers; the file is damaged"
        )
    with np.errstate(over="ignore"):
        distances = np.outer(numbers, numbers) / used * Bohr
    np.fill_diagonal(distances, 0.0)
    positions = _from_distances(distances)
    rebuilt = np.linalg.norm(positions[:, None] - positions, axis=2)
    residual = np.abs(rebuilt - distances).max()
    if not residual <= _DISTANCE_TOLERANCE:
        raise FileFormatError(
            f"structure {k} ({formula(numbers)}): its Coulomb matrix belongs to no arrangement of "
            f"atoms in space: distances differ by {residual:.3g} angstrom from the nearest one "
            f"found, and {_DISTANCE_TOLERANCE} is allowed; the file is damaged"
        )
    return numbers.astype(np.int64), positions


def _from_distances(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return coordinates (n, 3) by classical multidimensional scaling."""
    n = len(distances)
    centring = np.eye(n) - 1.0 / n
    gram = -0.5 * centring @ np.minimum(distances, _FAR) ** 2 @ centring
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    axes = vectors[:, -3:] * np.sqrt(np.maximum(values[-3:], 0.0))
    # The sign of an eigenvector is an accident.
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    positions = np.zeros((n, 3))
    positions[:, : axes.shape[1]] = axes * np.where(largest < 0, -1.0, 1.0)
    return positions


_CITE_GDB13 = (
    "L. C. Blum, J.-L. Reymond, J. Am. Chem. Soc. 131, 8732 (2009), "
    "https://doi.org/10.1021/ja902302h"
)

register(
    Dataset(
        name="qm7",
        loader=fetch_qm7,
        summary="small organic molecules (C N O S, up to 7, and H), PBE0 atomisation energies",
        n_structures=7165,
        target="atomization_energy",
        files=(QM7,),
        properties=(
            ("atomization_energy", "kcal/mol", "PBE0, negative = bound"),
            ("fold", "", "published cross-validation fold, 0 to 4"),
        ),
        citation="M. Rupp, A. Tkatchenko, K.-R. Mueller, O. A. von Lilienfeld, Phys. Rev. Lett. "
        f"108, 058301 (2012), https://doi.org/10.1103/PhysRevLett.108.058301; {_CITE_GDB13}",
    )
)
register(
    Dataset(
        name="qm7b",
        loader=fetch_qm7b,
        summary="small organic molecules (C N O S Cl, up to 7, and H), 14 labels, geometries up "
        "to mirror images",
        n_structures=7211,
        target="aepbe0",
        files=(QM7B,),
        properties=QM7B_COLUMNS,
        citation="G. Montavon, M. Rupp, V. Gobre, A. Vazquez-Mayagoitia, K. Hansen, A. "
        "Tkatchenko, K.-R. Mueller, O. A. von Lilienfeld, New J. Phys. 15, 095003 (2013), "
        f"https://doi.org/10.1088/1367-2630/15/9/095003; {_CITE_GDB13}",
    )
)
