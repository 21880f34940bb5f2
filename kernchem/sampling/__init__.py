"""Which samples to label next."""

from kernchem.sampling.selector import BatchSelector

__all__ = ["BatchSelector"]
