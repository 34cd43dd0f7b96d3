"""
HTML from values, escaped by construction: only ``element`` makes markup.
"""

from __future__ import annotations

from html import escape


class Html(str):
    """Markup; any other string is text."""

    __slots__ = ()


Child = str | int | float | None


def element(tag: str, *children: Child, **attributes: Child) -> Html:
    """
    ``<tag attributes>children</tag>``. Children that are not Html are escaped; None is omitted. In names of attributes
    a trailing underscore is removed (``class_``), and other underscores become hyphens.
    """
    text = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{text}>{joined(*children)}</{tag}>")


def joined(*children: Child) -> Html:
    return Html("".join(_markup(child) for child in children if child is not None))


def _markup(child: str | int | float) -> str:
    return child if isinstance(child, Html) else escape(str(child))
