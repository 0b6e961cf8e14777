"""Finds the tenant who disturbs the others, and holds that one to its share; nobody else."""

from lab.governor.blame import Blame, Resource
from lab.governor.detector import Finding, NoisyNeighborDetector
from lab.governor.enforcer import QuotaEnforcer
from lab.governor.governor import Governor

__all__ = ["Blame", "Finding", "Governor", "NoisyNeighborDetector", "QuotaEnforcer", "Resource"]
