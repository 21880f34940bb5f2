"""What the tests of selection share."""

import pytest

from kernchem.sampling import covariance, reduction, weighted


@pytest.fixture
def small_blocks(monkeypatch):
    """Every panel and block several times in small pools."""
    monkeypatch.setattr(covariance, "_PANEL", 23)
    monkeypatch.setattr(covariance, "_BLOCK", 7)
    monkeypatch.setattr(covariance, "_CANDIDATES", 19)
    monkeypatch.setattr(weighted, "_PANEL", 23)
    monkeypatch.setattr(weighted, "_BLOCK", 31)
    monkeypatch.setattr(weighted, "_LAG", 6)
    monkeypatch.setattr(reduction, "_CANDIDATES", 20)
    monkeypatch.setattr(reduction, "_PANEL", 7)
    monkeypatch.setattr(reduction, "_STEPS", 5)
