"""A container's health check: whether the worker beside it says that it is ready. Exit status 0 or 1."""

import os
import sys
import urllib.error
import urllib.request

port = os.environ.get("PROMETHEUS_PORT", "9090")
try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=4) as answer:
        print(answer.read().decode().strip())
except urllib.error.HTTPError as exc:
    sys.exit(exc.read().decode().strip())
except OSError as exc:
    sys.exit(f"no answer: {exc}")
