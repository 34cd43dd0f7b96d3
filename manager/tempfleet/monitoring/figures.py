"""
Numbers as people read them.
"""

from __future__ import annotations

from ..registry import Histogram


def count(number: float) -> str:
    return f"{number:,.0f}"


def size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def seconds(number: float) -> str:
    """Two significant units at most: 340 ms, 4.2 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    if number < 1:
        return f"{number * 1000:.0f} ms"
    if number < 10:
        return f"{number:.1f} s"
    whole = round(number)
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def quantile(histogram: Histogram, share: float) -> str:
    """The upper bound of the bucket that holds the *share*-th measurement, as text; a dash when there is none."""
    wanted = histogram.count * share
    bounds = histogram.cumulative()
    reached = next((i for i, (_, count) in enumerate(bounds) if count >= wanted > 0), None)
    if reached is None:
        return "-"
    bound = bounds[reached][0]
    return f"> {seconds(float(bounds[-2][0]))}" if bound == "+Inf" else f"≤ {seconds(float(bound))}"
