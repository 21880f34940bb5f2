"""The molecules that come with kernchem: PBE0 labels and a GFN2-xTB baseline."""

from importlib.resources import as_file, files

import numpy as np

from kernchem.datasets.registry import Dataset, register
from kernchem.structures import Structures
from kernchem.units import energy_factor

__all__ = ["load_qm_small"]

_ENERGIES = (
    "dft_energy",
    "atomization_energy",
    "gfn2_energy",
    "gfn2_atomization_energy",
    "homo",
    "lumo",
    "gap",
)
_PER_ATOM = ("q_mulliken", "q_gfn2")


def load_qm_small(*, unit: str = "kcal/mol") -> Structures:
    """Load 1280 small organic molecules with DFT labels and a semiempirical baseline.

    Molecules of C, N, O, F and H with one to seven heavy atoms, at GFN2-xTB minima, labelled with
    PBE0/def2-SVP. They come with the package: nothing is downloaded. The data sheet
    ``kernchem/datasets/data/qm_small.md`` says how they were made.

    Parameters
    ----------
    unit : str, default "kcal/mol"
        Unit of all energies: one of :data:`kernchem.units.ENERGY_UNITS`. The file holds eV.

    Returns
    -------
    Structures
        1280 molecules, 2 to 20 atoms, in an order shuffled once and for all:
        ``numpy.random.default_rng(0).permutation(1280)`` applied to the order of ``id``. The file
        holds this order, so that no version of NumPy changes it: ``data[:800]`` and ``data[800:]``
        are a fair split, the same everywhere. Properties:

        =============================== ======== ============================================
        name                            unit     meaning
        =============================== ======== ============================================
        ``dft_energy``                  ``unit`` PBE0/def2-SVP total energy
        ``atomization_energy``          ``unit`` the same minus the free atoms; negative = bound
        ``gfn2_energy``                 ``unit`` GFN2-xTB total energy at the same geometry
        ``gfn2_atomization_energy``     ``unit`` the same minus the free atoms
        ``homo``, ``lumo``, ``gap``     ``unit`` PBE0 orbital energies
        ``mu``                          debye    norm of the PBE0 dipole moment
        ``dipole_dft``                  debye    PBE0 dipole moment, (n, 3)
        ``dipole_gfn2``                 debye    GFN2-xTB dipole moment, (n, 3)
        ``r2``                          A^2      electronic spatial extent
        ``smiles``                               molecular graph
        ``heavy``                                number of atoms other than H
        ``id``                                   place in the order in which they were made
        ``scf``                                  how the self-consistent field converged
        ``q_mulliken``, ``q_gfn2``      e        charges, one per atom
        =============================== ======== ============================================

    Raises
    ------
    SettingError
        If ``unit`` is not an energy unit.

    Notes
    -----
    Atomisation energies spread by 240 kcal/mol (standard deviation). A fit on element counts alone
    leaves a mean absolute error of 16.0 kcal/mol, and of 6.4 kcal/mol for the difference between
    PBE0 and GFN2-xTB: a model must beat these.

    Examples
    --------
    >>> from kernchem.datasets import load_qm_small
    >>> data = load_qm_small()
    >>> data
    Structures(1280 structures, 14107 atoms, elements H C N O F)
    >>> data["atomization_energy"][data["smiles"] == "C"].round(2)
    array([-417.84])
    """
    factor = energy_factor("eV", unit)
    with as_file(files("kernchem.datasets") / "data" / "qm_small.npz") as path, np.load(path) as zf:
        stored = dict(zf.items())
    stored.pop("meta")
    columns = {}
    for key, values in stored.items():
        name, _, decimals = key.partition(".")
        columns[name] = values / 10.0 ** int(decimals) if decimals else values
    for name in _ENERGIES:
        columns[name] *= factor
    numbers, sizes, positions = (columns.pop(key) for key in ("numbers", "sizes", "positions"))
    # A test passes the same arrays through the checked constructor.
    return Structures._unchecked(
        numbers=numbers.astype(np.int64),
        positions=positions,
        offsets=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]),
        cells=None,
        pbc=None,
        charge=None,
        multiplicity=None,
        per_atom=frozenset(_PER_ATOM),
        properties={
            name: values.astype(np.int64) if values.dtype.kind in "iu" else values
            for name, values in columns.items()
        },
    )


register(
    Dataset(
        name="qm_small",
        loader=load_qm_small,
        summary="small organic molecules (C N O F H), PBE0/def2-SVP labels, GFN2-xTB baseline",
        n_structures=1280,
        target="atomization_energy",
        baseline="gfn2_atomization_energy",
    )
)
