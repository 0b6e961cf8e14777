"""Samples what containers, processes and stores use for whom, and says whose reading it is."""

from lab.monitor.leaks import Leak, ResourceLeakDetector
from lab.monitor.monitor import Feed, ResourceMonitor
from lab.monitor.sample import GROWTH, RUNAWAY_CPU, Bound, Violation
from lab.resources import Kind, Sample, Source

__all__ = [
    "GROWTH",
    "RUNAWAY_CPU",
    "Bound",
    "Feed",
    "Kind",
    "Leak",
    "ResourceLeakDetector",
    "ResourceMonitor",
    "Sample",
    "Source",
    "Violation",
]
