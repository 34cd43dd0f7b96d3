"""
What is wrong, and what to do about it.

    health          whether it works, in a few round trips, for probes
    doctor          every check, with a remedy for each finding
    clock           what a jump of Redis's clock does
    explanation     what will happen to one file, when and why
    configuration   every setting, its value and its source

Promises: each finding names its remedy. An unreachable Redis is a finding, not an exception.

Does not: change anything.
"""

from .clock import clock_problem
from .configuration import DEFAULT, explain_settings
from .doctor import diagnose
from .explanation import Explanation
from .finding import Finding, Level
from .health import DEGRADED, HEALTHY, UNHEALTHY, health_check, host_warnings, not_served_warning

__all__ = [
    "DEFAULT",
    "DEGRADED",
    "HEALTHY",
    "UNHEALTHY",
    "Explanation",
    "Finding",
    "Level",
    "clock_problem",
    "diagnose",
    "explain_settings",
    "health_check",
    "host_warnings",
    "not_served_warning",
]
