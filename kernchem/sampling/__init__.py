"""Which samples to label next."""

from kernchem.sampling.active import ActiveLearner
from kernchem.sampling.adversarial import AdversarialSampler
from kernchem.sampling.campaign import Budget, Patience, ProjectedGain, StopRule, TargetError
from kernchem.sampling.selector import BatchSelector

__all__ = [
    "ActiveLearner",
    "AdversarialSampler",
    "BatchSelector",
    "Budget",
    "Patience",
    "ProjectedGain",
    "StopRule",
    "TargetError",
]
