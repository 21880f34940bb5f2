"""Embedded and named datasets."""

from kernchem.datasets.cache import data_home
from kernchem.datasets.md17 import fetch_md17, md17_split
from kernchem.datasets.qm7 import fetch_qm7, fetch_qm7b
from kernchem.datasets.qm9 import fetch_qm9
from kernchem.datasets.qm_small import load_qm_small
from kernchem.datasets.registry import Dataset, get_dataset, list_datasets, load, register

__all__ = [
    "Dataset",
    "data_home",
    "fetch_md17",
    "fetch_qm7",
    "fetch_qm7b",
    "fetch_qm9",
    "get_dataset",
    "list_datasets",
    "load",
    "load_qm_small",
    "md17_split",
    "register",
]
