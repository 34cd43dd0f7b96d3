"""
The pages of a process and their paths: a WSGI application without a framework, because it has only five pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from ..errors import TempfleetError
from ..logs import Trouble

Checks = dict[str, str]
"""Name of a check -> the problem, "" if there is none."""

HTML = "text/html; charset=utf-8"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

OK = "200 OK"
NOT_FOUND = "404 Not Found"
NOT_ALLOWED = "405 Method Not Allowed"
MISDIRECTED = "421 Misdirected Request"
UNAVAILABLE = "503 Service Unavailable"

HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""No script can run and nothing can be loaded, even if foreign markup gets into the page."""

OUR_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    body: str
    content_type: str = TEXT


class Site:
    """
    The pages of one process.

    Args:
        metrics: the metrics; without them there is no ``/metrics``.
        alive: checks of the process itself, for ``/healthz``.
        ready: checks of the things that the process needs, for ``/readyz``.
        health: the dictionary for ``/health``.
        page: the status page; None for no page.
        loopback_only: serve the page only under this machine's own names. Otherwise a web site could read it through
            a browser on this machine (DNS rebinding).
    """

    def __init__(
        self,
        *,
        metrics: CollectorRegistry | None = None,
        alive: Callable[[], Checks] = dict,
        ready: Callable[[], Checks] = dict,
        health: Callable[[], dict[str, Any]] = dict,
        page: Callable[[], str] | None = None,
        loopback_only: bool = True,
    ) -> None:
        self._metrics: WSGIApplication | None = None if metrics is None else make_wsgi_app(metrics)
        self._page = page
        self._trouble = Trouble()
        self._loopback_only = loopback_only
        self._pages: dict[str, Callable[[], Answer]] = {
            "/healthz": lambda: _checked(alive()),
            "/readyz": lambda: _checked(ready()),
            "/health": lambda: _health(health()),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics" and self._metrics is not None and _is_reading(environ):
            return self._metrics(environ, start_response)
        answer = self._answer(path, environ)
        body = answer.body.encode("utf-8", "backslashreplace")
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(body))), *HEADERS]
        start_response(answer.status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, path: str, environ: WSGIEnvironment) -> Answer:
        if not _is_reading(environ):
            return Answer(NOT_ALLOWED, "Only GET and HEAD are allowed.\n")
        if path in self._pages:
            return self._pages[path]()
        if path == "/" and self._page is not None:
            return self._status_page(self._page, environ)
        return Answer(NOT_FOUND, "There is no such page. Pages: /metrics, /healthz, /readyz, /health.\n")

    def _status_page(self, page: Callable[[], str], environ: WSGIEnvironment) -> Answer:
        if self._loopback_only and _host_header(environ) not in OUR_NAMES:
            return Answer(MISDIRECTED, "This page is only for this machine; open it as localhost.\n")
        try:
            answer = Answer(OK, page(), HTML)
            self._trouble.works("Cannot build the status page")
            return answer
        except TempfleetError as exc:
            self._trouble.failed("Cannot build the status page", exc)
            return Answer(UNAVAILABLE, f"{exc}\n")


def _checked(checks: Checks) -> Answer:
    """The checks as JSON, and a status for probes: 503 if any check failed."""
    failed = any(checks.values())
    checked = {name: problem or "ok" for name, problem in checks.items()}
    body = {"status": "unavailable" if failed else "ok", "checks": checked}
    return Answer(UNAVAILABLE if failed else OK, json.dumps(body) + "\n", JSON)


def _health(report: dict[str, Any]) -> Answer:
    status = UNAVAILABLE if report.get("status") == "unhealthy" else OK
    return Answer(status, json.dumps(report) + "\n", JSON)


def _is_reading(environ: WSGIEnvironment) -> bool:
    return environ["REQUEST_METHOD"] in ("GET", "HEAD")


def _host_header(environ: WSGIEnvironment) -> str:
    """The Host header without its port."""
    host = str(environ.get("HTTP_HOST", "")).lower()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
