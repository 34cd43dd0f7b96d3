"""
What a process shows over HTTP: metrics, probes and a page for people.

    /metrics   for Prometheus
    /healthz   whether the process works; 503 tells an orchestrator to start it anew
    /readyz    whether its host is served; 503 says what is missing
    /health    the dictionary of ``TempFileManager.health_check()``
    /          the status page, if it is switched on

Promises: every answer is made anew from the registry. It listens on loopback unless told otherwise. The page names
files, so it must be switched on: TEMP_FILE_STATUS_PAGE=1.

Does not: change anything. Only GET and HEAD, no cookie, no script, nothing loaded from elsewhere.
"""

from .assembly import host_checks, make_site
from .server import WebServer, serve
from .site import Checks, Site

__all__ = ["Checks", "Site", "WebServer", "host_checks", "make_site", "serve"]
