"""What to label next."""

from kernchem.sampling.adversarial import AdversarialSampler

__all__ = ["AdversarialSampler"]
