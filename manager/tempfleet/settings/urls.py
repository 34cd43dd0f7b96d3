"""
What may be said of a URL or an address.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_PASSWORD_IN_QUERY = re.compile(r"([?&;][^=&;]*pass[^=&;]*=)[^&]*", re.IGNORECASE)
"""Also ssl_password and what was mistyped; a # in it is not percent-encoded."""


def without_password(url: str) -> str:
    """*url* as it may be shown; what cannot be taken apart is not shown at all where it may hold a password."""
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None
        shown = f"{parts.username or ''}:***@" + parts.netloc.rpartition("@")[2]
        _ = has_password or parts.port  # "redis://:secret", the host forgotten, is no port
    except ValueError:
        return "***"
    # "redis//:secret@host", the scheme mistyped; "redis://:se#cret@host", the password not percent-encoded
    beyond = url.partition(parts.netloc)[2] if parts.netloc else url
    if "@" in beyond and not url.startswith(f"{parts.scheme}:///"):
        return "***"
    url = parts._replace(netloc=shown).geturl() if has_password else url
    return _PASSWORD_IN_QUERY.sub(r"\1***", url)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches *address*. A name counts only where nobody can point it elsewhere."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
