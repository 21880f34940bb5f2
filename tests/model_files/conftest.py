"""Saved models whose files are forged, and a folder for the forgeries."""

import warnings

import pytest
from forged import models, saved_parts

from kernchem.errors import KernchemWarning


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Manifest, members and samples of each model."""
    folder = tmp_path_factory.mktemp("saved")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        return [(*saved_parts(model, folder), samples) for model, samples in models()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("forged")
