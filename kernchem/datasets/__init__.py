"""Embedded and named datasets."""

from kernchem.datasets.qm_small import load_qm_small
from kernchem.datasets.registry import Dataset, get_dataset, list_datasets, load, register

__all__ = ["Dataset", "get_dataset", "list_datasets", "load", "load_qm_small", "register"]
