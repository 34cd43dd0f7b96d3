"""
What a process shows over HTTP: metrics, probes and a page for people.

    /metrics   for Prometheus
    /healthz   whether the process works; on 503 an orchestrator should restart it
    /readyz    whether its host is served; 503 names what is missing
    /health    the dictionary of ``TempFileManager.health_check()``
    /          the status page, if it is switched on

    metrics, metric_names   the values of all metrics; their names and help texts
    snapshot                the numbers and warnings on the status page
    status_page             the page; charts and html are its parts
    server, site, assembly  the HTTP server, its paths, and how a process puts both together

Promises: nothing is cached: each answer is made when it is asked for. The server listens on loopback unless
TEMP_FILE_METRICS_ADDRESS is set. The page shows names of files, so beyond loopback it must be switched on:
TEMP_FILE_STATUS_PAGE=1.

Does not: change anything. It answers only GET and HEAD, sets no cookie, and the page has no script and loads nothing.
"""

from .assembly import host_checks, make_site
from .server import WebServer, serve
from .site import Checks, Site

__all__ = ["Checks", "Site", "WebServer", "host_checks", "make_site", "serve"]
