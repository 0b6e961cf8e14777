"""Samples what containers and processes use, from outside, and says whose reading each one is."""

from lab.monitor.monitor import ResourceMonitor
from lab.monitor.sample import Bound, Sample, Source, Violation

__all__ = ["Bound", "ResourceMonitor", "Sample", "Source", "Violation"]
