"""Which samples to label next."""

from kernchem.sampling.adversarial import AdversarialSampler
from kernchem.sampling.selector import BatchSelector

__all__ = ["AdversarialSampler", "BatchSelector"]
