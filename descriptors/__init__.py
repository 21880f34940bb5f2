"""Descriptors: structures to features that do not depend on position and orientation."""

from kernchem.descriptors.acsf import ACSF, WACSF
from kernchem.descriptors.atomic_coulomb import AtomicCoulombMatrix
from kernchem.descriptors.bags import BagOfBonds
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.coulomb import CoulombMatrix
from kernchem.descriptors.encoded_bonds import EncodedBonds
from kernchem.descriptors.fchl19 import FCHL19
from kernchem.descriptors.inverse_distances import InverseDistances
from kernchem.descriptors.overlap import OverlapEigenvalues
from kernchem.descriptors.slatm import SLATM
from kernchem.descriptors.soap import SOAP
from kernchem.descriptors.torsions import Torsions

__all__ = [
    "ACSF",
    "FCHL19",
    "SLATM",
    "SOAP",
    "WACSF",
    "AtomicCoulombMatrix",
    "BagOfBonds",
    "CoulombMatrix",
    "Descriptor",
    "EncodedBonds",
    "InverseDistances",
    "OverlapEigenvalues",
    "Torsions",
]
