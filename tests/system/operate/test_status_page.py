"""The status page: its contents, how a real browser renders it, and which requests it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest

from browser import look, screenshot
from stack import Stack, fetch
from support import wait_until
from tempfleet import Settings, Volume
from tempfleet.monitoring.html import element
from tempfleet.monitoring.server import serve
from tempfleet.monitoring.site import Site
from tempfleet.monitoring.status_page import quantile_text, status_page
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.stats import Histogram
from tempfleet.registry.store import Store

from .fleet_story import example_fleet, snapshot_of


def ask(
    site: Site, path: str, method: str = "GET", host: str = "127.0.0.1:9090"
) -> tuple[str, str, dict[str, str]]:
    """Returns status, body and headers."""
    environ: dict[str, object] = {"PATH_INFO": path, "REQUEST_METHOD": method, "HTTP_HOST": host}
    setup_testing_defaults(environ)
    started: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        started.append((status, dict(headers)))

    body = b"".join(site(environ, start_response))  # type: ignore[arg-type]
    return started[0][0], body.decode(), started[0][1]


def test_a_fleet_without_a_file_has_a_page(store: Store) -> None:
    assert "No file was ever registered" in status_page(snapshot_of(Fleet(store)))


def test_the_page_shows_hosts_forecast_sweeps_and_dead_letters() -> None:
    page = status_page(snapshot_of(example_fleet()))
    for text in (
        "/mnt/shared/transcode", "EACCES", "symlink", "batch-7 is silent, and 80 of its files are due",
        "files fall due within the hour", "Last heard", "4 files could not be deleted", "4 of 5",
    ):  # fmt: skip
        assert text in page


def test_the_page_shows_a_plug_in_that_is_switched_off() -> None:
    fleet = example_fleet()
    registry = fleet.registry(Volume("web-1", "/srv/uploads"))
    registry.record_plugin("guard.before_delete", failures=3, reason="no <database>", hold_ms=60_000)
    page = status_page(snapshot_of(fleet))
    assert "web-1: Plug-in guard is switched off (before_delete: no &lt;database&gt;)" in page


def test_the_forecast_counts_every_file_of_the_hour_once() -> None:
    snapshot = snapshot_of(example_fleet())
    held = snapshot.total("held")
    later = snapshot.total("waiting") - snapshot.total("due") - sum(snapshot.forecast)
    assert sum(snapshot.forecast) > 1500
    assert 0 <= later < 0.05 * snapshot.total("waiting")
    assert held > 0


def test_a_hostile_file_name_is_text_in_a_real_browser(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(status_page(snapshot_of(example_fleet())), encoding="utf-8")
    rendered = look(page.as_uri(), profile=tmp_path / "profile")
    assert "&lt;img src=x onerror=" in rendered.dom
    assert "<img" not in rendered.dom
    assert "\x1b" not in rendered.dom
    assert rendered.console == []


MEASURE = """<script>
  const width = (selector) => [...document.querySelectorAll(selector)].map((e) => e.getBoundingClientRect());
  document.title = JSON.stringify({
    page: document.documentElement.scrollWidth - innerWidth,
    path: Math.min(...width(".path").map((box) => box.width)),
    mark: Math.min(...width(".mark").map((box) => box.height)),
  });
</script>"""


def test_on_a_telephone_the_page_stays_readable(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(status_page(snapshot_of(example_fleet())) + MEASURE, encoding="utf-8")
    rendered = look(page.as_uri(), profile=tmp_path / "profile", size="390,844")
    title = re.search(r"<title>(\{.*?\})</title>", rendered.dom)
    assert title is not None
    boxes = json.loads(title[1])
    assert boxes["page"] <= 0  # only a table may be scrolled sideways
    assert boxes["path"] >= 150
    assert boxes["mark"] >= 9


def test_a_real_worker_serves_the_page_to_a_real_browser(stack: Stack, tmp_path: Path) -> None:
    worker = stack.worker("web-1", TEMP_FILE_TIMER_INTERVAL="3600")
    with worker.manager() as manager:
        manager.create(ttl=120).close()
        rendered = look(worker.url + "/", profile=tmp_path / "profile")
        assert "1 file falls due within the hour" in rendered.dom
        assert str(worker.base_dir) in rendered.dom
        assert rendered.console == []
        screenshot(worker.url + "/", tmp_path / "page.png", profile=tmp_path / "profile")
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_the_page_refreshes_itself_and_loads_nothing() -> None:
    page = status_page(snapshot_of(example_fleet()))
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "<script" not in page
    assert "http://" not in page and "https://" not in page


def test_markup_comes_only_from_elements() -> None:
    assert element("a", '<b>"', title='"><b>') == '<a title="&quot;&gt;&lt;b&gt;">&lt;b&gt;&quot;</a>'


def test_no_script_may_run_and_no_frame_hold_the_page() -> None:
    _, _, headers = ask(Site(page=lambda: "<p>"), "/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9090", "127.0.0.1.evil.example", "", "[::2]:80"]
)
def test_a_page_on_loopback_is_not_served_under_a_foreign_host_name(host: str) -> None:
    site = Site(page=lambda: "secret")
    status, body, _ = ask(site, "/", host=host)
    assert status.startswith("421") and "secret" not in body


@pytest.mark.parametrize("host", ["localhost:9090", "127.0.0.1", "[::1]:9090", "LOCALHOST"])
def test_a_page_on_loopback_is_served_under_its_own_names(host: str) -> None:
    assert ask(Site(page=lambda: "page"), "/", host=host)[0] == "200 OK"


def test_nothing_can_be_changed_and_nothing_else_is_there() -> None:
    site = Site(page=lambda: "page")
    assert ask(site, "/", method="POST")[0].startswith("405")
    assert ask(site, "/../etc/passwd")[0].startswith("404")
    assert ask(site, "/metrics")[0].startswith("404")
    assert ask(site, "/", method="HEAD")[1] == ""


@pytest.mark.parametrize(
    ("address", "setting", "served"),
    [
        ("127.0.0.1", None, True), ("::1", None, True), ("localhost", None, True), ("0.0.0.0", None, False),
        ("10.0.0.7", None, False), ("web-1", None, False), ("0.0.0.0", True, True), ("127.0.0.1", False, False),
    ],
)  # fmt: skip
def test_beyond_loopback_the_page_must_be_turned_on(address: str, setting: bool | None, served: bool) -> None:
    assert Settings.load(metrics_address=address, status_page=setting).serves_status_page is served


def test_it_is_served_over_ipv6_too() -> None:
    server = serve(Site(page=lambda: "page"), address="::1", port=0)
    if server is None:
        pytest.skip("this machine has no IPv6 loopback")
    assert wait_until(lambda: fetch(server.url + "/")) == (200, "page")
    server.stop()


def test_a_quantile_text_is_the_bound_of_its_bucket() -> None:
    lags = Histogram({"1": 90, "60": 9, "+Inf": 1}, 100.0)
    assert [quantile_text(lags, share) for share in (0.5, 0.99, 1)] == ["≤ 1 s", "≤ 1 min", "> 1 min"]
    assert quantile_text(Histogram({"1": 0, "+Inf": 0}, 0.0), 0.5) == "-"
