"""A container's health check: exits with 0 if the worker in the container is ready, else with 1."""

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
