"""Claim, delete, settle."""
