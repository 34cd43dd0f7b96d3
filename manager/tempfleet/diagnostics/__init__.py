"""
What is wrong, and what to do about it.

    problems        the one list of what can be wrong with a fleet, each with its remedy; the others show it
    disk_problems   those that only a process with the disk can measure
    health          whether it works, in a few round trips, for probes
    doctor          every check, with a remedy for each finding
    clock           what a jump of Redis's clock does
    thrown_away     which messages workers threw away
    explanation     what will happen to one file, when and why
    configuration   every setting, its value and its source

Promises: each finding names its remedy. An unreachable Redis is a finding, not an exception.

Does not: change anything.
"""

from .clock import clock_problem
from .configuration import DEFAULT, explain_settings
from .disk_problems import disk_problems, free_share
from .doctor import diagnose
from .explanation import Explanation
from .facts import facts_of
from .finding import Finding, Level
from .health import DEGRADED, HEALTHY, UNHEALTHY, health_check
from .problem import Problem
from .problems import NO_WORKER_YET, keeping, problems_of, registered_elsewhere, unknown_host

__all__ = [
    "DEFAULT",
    "DEGRADED",
    "HEALTHY",
    "NO_WORKER_YET",
    "UNHEALTHY",
    "Explanation",
    "Finding",
    "Level",
    "Problem",
    "clock_problem",
    "diagnose",
    "disk_problems",
    "explain_settings",
    "facts_of",
    "free_share",
    "health_check",
    "keeping",
    "problems_of",
    "registered_elsewhere",
    "unknown_host",
]
