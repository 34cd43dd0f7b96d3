"""Quotas, and room on a full disk."""
