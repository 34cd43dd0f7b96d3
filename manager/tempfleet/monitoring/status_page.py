"""
The status page: the whole fleet on one page. It has no script and loads nothing; the browser reloads it by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from importlib import resources
from math import isinf

from ..diagnostics import Problem
from ..formatting import count, counted, duration, size
from ..logs import printable
from ..registry import Histogram
from .charts import bars, shares
from .html import Child, Html, element, joined
from .metrics import installed_version
from .snapshot import DEAD_LISTED, STEP_SECONDS, VOLUMES_LISTED, Snapshot

REFRESH_SECONDS = 5

LEGEND = ("waiting", "leased", "held", "dead")


def status_page(snapshot: Snapshot) -> str:
    """The whole document."""
    return "<!doctype html>" + element(
        "html", _head(), element("body", _header(snapshot), _main(snapshot), _footer(snapshot)), lang="en"
    )


def _head() -> Html:
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return element(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}"><link rel="icon" href="data:,">'),
        element("title", "Tempfleet"),
        element("style", Html(style)),
    )


def _header(snapshot: Snapshot) -> Html:
    problems = snapshot.problems
    pill = counted(len(problems), "problem") if problems else "No problems"
    return element(
        "header",
        element("h1", "Tempfleet"),
        element("span", pill, class_="pill warn" if problems else "pill good"),
        element(
            "span", f"from {printable(snapshot.host)} at {_clock(snapshot.now_ms)}", class_="quiet right"
        ),
    )


def _main(snapshot: Snapshot) -> Html:
    return element(
        "main",
        _problems(snapshot.problems),
        _tiles(snapshot),
        element(
            "div",
            _card("Falling due in the next hour", _forecast(snapshot), class_="wide"),
            _card("Lag behind the deadline", _lag(snapshot)),
            class_="row",
        ),
        _card("Files by host and volume", _volumes(snapshot)),
        _card("Silent hosts", _silent(snapshot)) if snapshot.silent else None,
        element(
            "div",
            _card("Last sweeps", _sweeps(snapshot)),
            _card("Dead letters", _dead(snapshot), class_="wide"),
            class_="row",
        ),
    )


def _footer(snapshot: Snapshot) -> Html:
    used = f"Redis uses {size(snapshot.memory.used_bytes)}. " if snapshot.memory else ""
    links = [element("a", path, href=path) for path in ("/metrics", "/health", "/readyz")]
    text = f"{used}Read-only; reloaded every {REFRESH_SECONDS} s. Tempfleet {installed_version()}. "
    return element("footer", text, *[joined(link, " ") for link in links])


def _problems(problems: Sequence[Problem]) -> Html | None:
    if not problems:
        return None
    items = [element("li", printable(str(problem))) for problem in problems]
    return element("ul", *items, class_="warnings", role="status")


def _tiles(snapshot: Snapshot) -> Html:
    live = len(snapshot.hosts) - len(snapshot.silent)
    tiles = [
        ("Active files", count(snapshot.total("active")), ""),
        ("On disk", size(snapshot.total("bytes")), ""),
        ("Due now", count(snapshot.total("due")), ""),
        ("Longest overdue", duration(snapshot.overdue_seconds), ""),
        ("Dead letters", count(snapshot.total("dead")), "bad" if snapshot.total("dead") else ""),
        ("Hosts live", f"{live} of {len(snapshot.hosts)}", "bad" if snapshot.silent else ""),
    ]
    return element(
        "div",
        *[
            element("div", element("b", value), element("span", name), class_=f"tile {kind}".strip())
            for name, value, kind in tiles
        ],
        class_="tiles",
    )


def _forecast(snapshot: Snapshot) -> Html:
    titles = [f"{counted(n, 'file')} in {i} to {i + 1} min" for i, n in enumerate(snapshot.forecast)]
    marks = [(at, f"{at * STEP_SECONDS // 60} min" if at else "now") for at in range(0, 60, 10)]
    total = sum(snapshot.forecast)
    return joined(
        bars(snapshot.forecast, titles=titles, marks=marks, label="Files that fall due, by minute"),
        element(
            "p",
            f"{counted(total, 'file falls', 'files fall')} due within the hour, "
            f"{counted(snapshot.total('due'), 'is', 'are')} due now.",
            class_="quiet",
        ),
    )


def _lag(snapshot: Snapshot) -> Html:
    lag = snapshot.lag
    if not lag.count:
        return _nothing("No file was deleted yet.")
    quantiles = [
        (name, quantile_text(lag, share)) for name, share in (("half", 0.5), ("95 %", 0.95), ("99 %", 0.99))
    ]
    texts = ["> 1 d" if bound == "+Inf" else f"≤ {duration(float(bound))}" for bound in lag.buckets]
    titles = [f"{text}: {counted(n, 'file')}" for text, n in zip(texts, lag.buckets.values(), strict=True)]
    marks = [(i, text) for i, text in enumerate(texts) if i % 3 == 0]
    return joined(
        bars(
            list(lag.buckets.values()),
            titles=titles,
            marks=marks,
            label="Files by lag behind the deadline",
            width=420,
        ),
        element("p", " · ".join(f"{name} {bound}" for name, bound in quantiles), class_="quiet"),
    )


def quantile_text(histogram: Histogram, share: float) -> str:
    """The upper bound of the bucket that holds the *share*-th measurement; a dash if there is no measurement."""
    if (bounds := histogram.quantile(share)) is None:
        return "-"
    lower, upper = bounds
    return f"> {duration(lower)}" if isinf(upper) else f"≤ {duration(upper)}"


def _volumes(snapshot: Snapshot) -> Html:
    if not snapshot.volumes:
        return _nothing("No file was ever registered.")
    live = {host.name for host in snapshot.hosts if host.live}
    rows = []
    for volume, stats in list(snapshot.volumes.items())[:VOLUMES_LISTED]:
        state = "live" if volume.host in live else "silent"
        rows.append(
            [
                joined(element("i", class_=state, title=state), " ", printable(volume.host)),
                element("code", printable(volume.base_dir)),
                count(stats.active),
                shares([(name, getattr(stats, name)) for name in LEGEND]),
                size(stats.bytes),
                count(stats.due),
                duration(stats.overdue_seconds) if stats.due else "-",
                quantile_text(stats.histogram("lag"), 0.95),
                count(stats.total("deleted")),
                count(stats.dead),
            ]
        )
    more = len(snapshot.volumes) - VOLUMES_LISTED
    return joined(
        _table(
            ["Host", "Volume", "Files", "By state", "Size", "Due", "Overdue", "Lag 95 %", "Deleted", "Dead"],
            rows,
            numbers={2, 4, 5, 6, 7, 8, 9},
        ),
        element(
            "p", *[joined(element("i", class_=name), f" {name} ") for name in LEGEND], class_="quiet legend"
        ),
        _nothing(f"And {more:,} more volumes.") if more > 0 else None,
    )


def _silent(snapshot: Snapshot) -> Html:
    rows = [
        [
            printable(host.name),
            f"{duration(host.silent_seconds)} ago",
            count(snapshot.of_host(host.name, "active")),
            count(snapshot.of_host(host.name, "due")),
        ]
        for host in snapshot.silent
    ]
    return joined(
        _table(["Host", "Last heard", "Files", "Due"], rows, numbers={2, 3}),
        element("p", "Their files stay registered, and are deleted when the hosts return.", class_="quiet"),
    )


def _sweeps(snapshot: Snapshot) -> Html:
    if not snapshot.sweeps:
        return _nothing("No sweep yet: does beat run?")
    rows = [
        [
            f"{duration(max(snapshot.now_ms - at_ms, 0) / 1000)} ago",
            printable(sweep.host),
            count(sweep.due),
            count(sweep.sent),
            count(sweep.recovered),
            duration(sweep.seconds),
        ]
        for at_ms, sweep in snapshot.sweeps[:10]
    ]
    return _table(["When", "By", "Due", "Messages", "Recovered", "Duration"], rows, numbers={2, 3, 4, 5})


def _dead(snapshot: Snapshot) -> Html:
    if not snapshot.dead:
        return _nothing("None: every deletion has succeeded so far.")
    rows = [
        [
            element("code", printable(letter.record.path), class_="path"),
            element("span", printable(letter.record.last_error) or "-", class_="reason"),
            count(letter.record.attempts),
            f"{duration(max(snapshot.now_ms - letter.buried_ms, 0) / 1000)} ago",
            printable(letter.volume.host),
        ]
        for letter in snapshot.dead
    ]
    more = snapshot.total("dead") - len(rows)
    return joined(
        _table(["File", "Reason", "Attempts", "Since", "Host"], rows, numbers={2}),
        _nothing(f"And {more:,} more; the newest {DEAD_LISTED} are shown.") if more > 0 else None,
    )


def _card(title: str, *content: Child, class_: str = "") -> Html:
    return element("section", element("h2", title), *content, class_=f"card {class_}".strip())


def _table(headings: Sequence[str], rows: Iterable[Sequence[Child]], *, numbers: set[int]) -> Html:
    def cells(tag: str, row: Sequence[Child]) -> Html:
        return element(
            "tr", *[element(tag, cell, class_="n" if i in numbers else None) for i, cell in enumerate(row)]
        )

    body = [cells("td", row) for row in rows]
    return element(
        "div",
        element("table", element("thead", cells("th", headings)), element("tbody", *body)),
        class_="scroll",
    )


def _nothing(text: str) -> Html:
    return element("p", text, class_="quiet")


def _clock(now_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_ms / 1000))
