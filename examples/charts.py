"""
Charts for a web page. Each chart lives for one second. New figures make all charts of a region outdated.

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
    """Draw a chart with its region as a tag; return its path."""
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
        print(f"{len(manager.files)} charts were drawn.")

        result = manager.cleanup_batch(force=True, tags=["north"])
        print(f"New figures for the north: {result.deleted} charts deleted, {result.bytes} bytes freed.")
        for file in result.files:
            print(f"  {file.outcome}: {os.path.basename(file.path).rpartition('-')[0]}")

        # In a fleet the workers do this.
        while manager.files:
            time.sleep(0.1)
            if deleted := manager.cleanup():
                print(f"Expired: {deleted} charts of the south deleted.")
        manager.close()


if __name__ == "__main__":
    main()
