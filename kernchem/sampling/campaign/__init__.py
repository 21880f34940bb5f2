"""Parts of a campaign: who labels, what is kept, how the model follows, and when it ends."""

from kernchem.sampling.campaign.stop import Budget, Patience, ProjectedGain, StopRule, TargetError

__all__ = ["Budget", "Patience", "ProjectedGain", "StopRule", "TargetError"]
