"""The repaired Redis transport."""

from __future__ import annotations

import pytest
from kombu import Connection

from tempfleet.embedded import EmbeddedServer, broker_url
from tempfleet_tasks.worker import transport


def test_a_channel_whose_connection_was_closed_raises_a_connection_error(
    real_server: EmbeddedServer,
) -> None:
    transport.use()
    with Connection(broker_url(real_server.unix_url)) as connection:
        channel = connection.default_channel
        assert isinstance(channel, transport.Channel)
        expected = connection.connection_errors
        # kombu does this to a broken connection.
        channel.connection.client = None
        with pytest.raises(expected, match="was closed"):
            channel._connparams()
        channel.connection.client = connection


def test_the_transport_is_used_for_every_redis_url(real_server: EmbeddedServer) -> None:
    transport.use()
    for url in ("redis://localhost/0", "rediss://localhost/0", broker_url(real_server.unix_url)):
        assert Connection(url).transport_cls in ("redis", "rediss")
        assert isinstance(Connection(url).transport, transport.Transport)
