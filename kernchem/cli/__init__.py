"""The command ``kernchem``."""

from kernchem.cli.group import main

__all__ = ["main"]
