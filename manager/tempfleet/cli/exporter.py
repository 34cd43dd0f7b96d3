"""``exporter``."""

from __future__ import annotations

import signal

import click

from ..monitoring import make_site, serve
from .console import Console, pass_console

ENDS = {signal.SIGINT, signal.SIGTERM}


@click.command()
@click.option("--address", metavar="ADDRESS", help="Where to listen. [TEMP_FILE_METRICS_ADDRESS]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 for any free one. [PROMETHEUS_PORT]")
@click.option("--own", is_flag=True, help="Only the volumes of this host, as a worker shows them.")
@pass_console
def exporter(console: Console, address: str | None, port: int | None, own: bool) -> int:
    """
    Serve the metrics of every volume of every host, and the status page, without a worker.

    One is enough for a fleet whose workers are not scraped themselves. Ctrl-C ends it.

    \b
      tempfleet exporter
      tempfleet exporter --address 0.0.0.0 --port 9100
    """
    settings = console.settings
    site = make_site(console.manager, console.fleet, all_volumes=not own)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # before threads are started: they inherit it
    server = serve(
        site,
        address=address or settings.metrics_address,
        port=settings.metrics_port if port is None else port,
    )
    if server is None:
        return 1
    console.answer({"url": server.url}, f"Metrics are at {server.url}/metrics. Ctrl-C ends it.")
    signal.sigwait(ENDS)
    server.stop()
    return 0


COMMANDS = (exporter,)
