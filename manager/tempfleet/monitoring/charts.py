"""
Charts as inline SVG, drawn by the server. Each bar has a title, which browsers show under the pointer.
"""

from __future__ import annotations

from collections.abc import Sequence

from .html import Html, element, joined

HEIGHT, FLOOR = 150, 128


def bars(
    values: Sequence[int],
    *,
    titles: Sequence[str],
    marks: Sequence[tuple[int, str]],
    label: str,
    width: int = 720,
) -> Html:
    """
    Draw one bar per value; the highest one reaches the top.

    Args:
        marks: (index, text) pairs; each text is below the start of that bar.
        label: a description of the chart, for screen readers.
        width: in the units in which the text is 9 high; choose a smaller width for a narrow chart.
    """
    highest = max(values, default=0)
    slot = width / max(len(values), 1)
    drawn = [
        _bar(i * slot, slot, value / highest, title)
        for i, (value, title) in enumerate(zip(values, titles, strict=True))
        if value
    ]
    texts = [
        element("text", text, x=f"{at * slot + 1:.1f}", y=HEIGHT - 6, class_="mark") for at, text in marks
    ]
    floor = element("line", x1=0, x2=width, y1=FLOOR, y2=FLOOR, class_="floor")
    top = element("text", f"{highest:,}", x=width - 2, y=12, class_="mark end") if highest else None
    return element(
        "svg",
        element("title", label),
        joined(*drawn, floor, top, *texts),
        viewBox=f"0 0 {width} {HEIGHT}",
        role="img",
    )


def shares(parts: Sequence[tuple[str, int]]) -> Html:
    """One thin bar, divided into (class, number) parts."""
    total = sum(number for _, number in parts)
    cuts, at = [], 0.0
    for kind, number in parts:
        width = 100 * number / total if total else 0
        if width:
            cuts.append(
                element(
                    "rect",
                    element("title", f"{kind}: {number:,}"),
                    x=f"{at:.2f}",
                    y=0,
                    width=f"{width:.2f}",
                    height=8,
                    class_=kind,
                )
            )
        at += width
    return element("svg", *cuts, viewBox="0 0 100 8", preserveAspectRatio="none", class_="shares")


def _bar(x: float, slot: float, share: float, title: str) -> Html:
    height = max(share * (FLOOR - 18), 2)
    return element(
        "rect",
        element("title", title),
        x=f"{x + slot * 0.08:.2f}",
        y=f"{FLOOR - height:.2f}",
        width=f"{slot * 0.84:.2f}",
        height=f"{height:.2f}",
        rx=1.5,
        class_="bar",
    )
