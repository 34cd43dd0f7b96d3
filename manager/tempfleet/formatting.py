"""
Names, sizes, durations and counts as people read them: one form on the console, on the status page and in messages.

``settings.units`` parses what people write.
"""

from __future__ import annotations

from shlex import quote


def printable(name: str) -> str:
    """
    *name* on one line, without characters that a log or a terminal interprets.

    Control characters, line separators, surrogates and backslashes become Python escapes, so that two different names
    never look the same.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(c if c.isprintable() and c != "\\" else ascii(c)[1:-1] for c in name)


def shell_word(name: str) -> str:
    """*name* as a shell reads it: for commands that people copy."""
    return quote(name if name.isprintable() else printable(name))


def size(amount: float) -> str:
    """Bytes in binary units, the units of settings: ``13 B``, ``1.5 KiB``, ``100 MiB``."""
    if abs(amount) < 1024:
        return f"{amount:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if abs(round(amount, 1)) < 1024:
            return f"{_short(amount)} {unit}"
    return f"{_short(amount / 1024)} TiB"


def duration(seconds: float) -> str:
    """At most two units, rounded to the smaller one: ``340 ms``, ``4.2 s``, ``3 min 5 s``, ``3 d 4 h``."""
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{_short(seconds)} s"
    if (whole := round(seconds)) < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two_units(whole, 60, "min", "s")
    if (minutes := round(seconds / 60)) < 24 * 60:
        return _two_units(minutes, 60, "h", "min")
    return _two_units(round(seconds / 3600), 24, "d", "h")


def count(number: float) -> str:
    """A number with separators: ``2,000``."""
    return f"{number:,.0f}"


def counted(number: int, singular: str, plural: str = "") -> str:
    """A number and a noun that agrees with it: ``1 file``, ``2,000 files``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _short(number: float) -> str:
    """One decimal place, unless it is 0."""
    return f"{number:.1f}".removesuffix(".0")


def _two_units(amount: int, factor: int, large: str, small: str) -> str:
    whole, rest = divmod(amount, factor)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
