"""The judge of isolation and its relatives: pairs of blocks, limits, slopes, fairness, indices."""

from lab.stats.design import PairedBlocks
from lab.stats.validator import Finding, PerformanceIsolationValidator

__all__ = ["Finding", "PairedBlocks", "PerformanceIsolationValidator"]
