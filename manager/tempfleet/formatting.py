"""Names, durations, sizes and counts as people read them."""

from __future__ import annotations


def printable(name: str) -> str:
    """
    *name* on one line, with nothing in it that a log or a terminal would obey.

    Control characters, line separators, surrogates and backslashes come out as Python escapes, so that two
    different names never print alike.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(c if c.isprintable() and c != "\\" else ascii(c)[1:-1] for c in name)


def size(amount: float) -> str:
    """Bytes in decimal units: ``0 B``, ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(seconds: float) -> str:
    """At most two units: ``0.4 s``, ``42 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _two(minutes // 60, "h", minutes % 60, "min")
    return _two(minutes // 1440, "d", minutes // 60 % 24, "h")


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large} {unit} {small} {smaller}" if small else f"{large} {unit}"


def counted(amount: int, one: str, many: str = "") -> str:
    """How many, in words that agree with it: ``1 file``, ``2,000 files``."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"
