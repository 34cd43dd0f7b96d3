"""
What is at which path: a WSGI application without a framework, because it has five pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from ..errors import TempfleetError
from ..logs import logger

Checks = dict[str, str]
"""What was checked -> what is wrong with it, "" for nothing."""

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
"""No script can run and nothing can be loaded, whatever slipped into the page."""

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
        metrics: None serves no ``/metrics``.
        alive: checks of the process itself, for ``/healthz``.
        ready: checks of what it needs, for ``/readyz``.
        health: the dictionary for ``/health``.
        page: the status page; None serves none.
        loopback_only: refuse the page to a browser that was led here under another host's name (DNS rebinding):
            what listens on loopback is this machine's alone.
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
            return Answer(NOT_ALLOWED, "Only GET and HEAD: nothing can be changed here.\n")
        if path in self._pages:
            return self._pages[path]()
        if path == "/" and self._page is not None:
            return self._status_page(self._page, environ)
        return Answer(NOT_FOUND, "Not here. There are /metrics, /healthz, /readyz and /health.\n")

    def _status_page(self, page: Callable[[], str], environ: WSGIEnvironment) -> Answer:
        if self._loopback_only and _host_named(environ) not in OUR_NAMES:
            return Answer(MISDIRECTED, "This page is for this machine alone: ask for localhost.\n")
        try:
            return Answer(OK, page(), HTML)
        except TempfleetError as exc:
            logger.warning("The status page could not be made: %s", exc)
            return Answer(UNAVAILABLE, f"{exc}\n")


def _checked(checks: Checks) -> Answer:
    """One line a check, and a status that a probe understands."""
    failed = any(checks.values())
    said = {name: problem or "ok" for name, problem in checks.items()}
    body = {"status": "unavailable" if failed else "ok", "checks": said}
    return Answer(UNAVAILABLE if failed else OK, json.dumps(body) + "\n", JSON)


def _health(report: dict[str, Any]) -> Answer:
    status = UNAVAILABLE if report.get("status") == "unhealthy" else OK
    return Answer(status, json.dumps(report) + "\n", JSON)


def _is_reading(environ: WSGIEnvironment) -> bool:
    return environ["REQUEST_METHOD"] in ("GET", "HEAD")


def _host_named(environ: WSGIEnvironment) -> str:
    """The Host header without its port."""
    named = str(environ.get("HTTP_HOST", "")).lower()
    return named.partition("]")[0] + "]" if named.startswith("[") else named.partition(":")[0]
