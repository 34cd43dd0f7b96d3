"""Idle files compressed in place."""
