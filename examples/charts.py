"""
Charts for a web page: each may be shown for a second, and all of a region are outdated when its figures change.

    python examples/charts.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from tempfleet import TempFileManager

FIGURES = {"north": [3, 7, 5, 9], "south": [8, 2, 6, 4]}


def draw(manager: TempFileManager, region: str, title: str, figures: Sequence[int]) -> str:
    """Draw a chart that is known by its region; its path."""
    bars = "".join(
        f'<rect x="{20 * place}" y="{100 - 10 * figure}" width="15" height="{10 * figure}"/>'
        for place, figure in enumerate(figures)
    )
    chart = manager.create(prefix=f"{region}-{title}-", suffix=".svg", mode="w+", tags=[region])
    chart.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">{bars}</svg>\n')
    chart.close()
    return chart.path


def main() -> None:
    with TemporaryDirectory(prefix="tempfleet-example-") as home:
        os.environ.setdefault("TEMP_FILE_REDIS_URL", f"embedded://{home}/redis")
        manager = TempFileManager(f"{home}/charts", max_age=1)
        for region, figures in FIGURES.items():
            for title, shown in {"year": figures, "half": figures[2:], "sorted": sorted(figures)}.items():
                draw(manager, region, title, shown)
        print(f"{len(manager.files)} charts are drawn.")

        result = manager.cleanup_batch(force=True, tags=["north"])
        print(f"The north has new figures: {result.deleted} charts deleted, {result.bytes} bytes freed.")
        for file in result.files:
            print(f"  {file.outcome}: {os.path.basename(file.path).rpartition('-')[0]}")

        while manager.files:  # in a fleet the workers do this
            time.sleep(0.1)
            if deleted := manager.cleanup():
                print(f"Their time is over: {deleted} charts of the south deleted.")
        manager.close()


if __name__ == "__main__":
    main()
