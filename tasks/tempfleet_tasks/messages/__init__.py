"""One message, one module."""
