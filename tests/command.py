"""How tests call the command."""

from click.testing import CliRunner

__all__ = ["runner"]


def runner():
    """What keeps the two streams apart: click 8.2 does, older ones if told to."""
    try:
        return CliRunner(mix_stderr=False)
    except TypeError:
        return CliRunner()
