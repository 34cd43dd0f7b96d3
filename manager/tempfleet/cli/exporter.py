"""``exporter``."""

from __future__ import annotations

import signal

import click

from ..monitoring import make_site, serve
from .console import Console, pass_console

ENDING_SIGNALS = {signal.SIGINT, signal.SIGTERM}


@click.command()
@click.option("--address", metavar="ADDRESS", help="Address to listen on. [TEMP_FILE_METRICS_ADDRESS]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 is any free port. [PROMETHEUS_PORT]"
)
@click.option("--own", is_flag=True, help="Show only the volumes of this host, as a worker does.")
@pass_console
def exporter(console: Console, address: str | None, port: int | None, own: bool) -> int:
    """
    Serve the metrics of all hosts, and the status page.

    It needs no worker. One exporter is enough for a fleet whose workers are not scraped. Ctrl-C ends it.

    Exits with 1 if it cannot listen on any port.

    \b
      tempfleet exporter
      tempfleet exporter --address 0.0.0.0 --port 9100
    """
    settings = console.settings
    site = make_site(console.manager, console.fleet, all_volumes=not own)
    signal.pthread_sigmask(
        signal.SIG_BLOCK, ENDING_SIGNALS
    )  # threads inherit this mask, so it comes before they start
    server = serve(
        site,
        address=address or settings.metrics_address,
        port=settings.metrics_port if port is None else port,
    )
    if server is None:
        return 1
    console.answer({"url": server.url}, f"Metrics are at {server.url}/metrics. Ctrl-C ends it.")
    signal.sigwait(ENDING_SIGNALS)
    server.stop()
    return 0


COMMANDS = (exporter,)
