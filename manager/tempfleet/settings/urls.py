"""
Hide passwords in URLs, and recognise loopback addresses.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_PASSWORD_IN_QUERY = re.compile(r"([?&;][^=&;]*pass[^=&;]*=)[^&]*", re.IGNORECASE)
"""Also matches ssl_password and misspelt names. A # in the password may not be percent-encoded."""


def without_password(url: str) -> str:
    """Returns *url* with its password masked; only ``***`` if it cannot be parsed and may contain a password."""
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None
        shown = f"{parts.username or ''}:***@" + parts.netloc.rpartition("@")[2]
        _ = has_password or parts.port  # raises for "redis://:secret", whose host is missing
    except ValueError:
        return "***"
    # "redis//:secret@host" has a misspelt scheme, "redis://:se#cret@host" a password that is not percent-encoded.
    rest = url.partition(parts.netloc)[2] if parts.netloc else url
    if "@" in rest and not url.startswith(f"{parts.scheme}:///"):
        return "***"
    url = parts._replace(netloc=shown).geturl() if has_password else url
    return _PASSWORD_IN_QUERY.sub(r"\1***", url)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches *address*. Of names only localhost counts, because others can be redirected."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
