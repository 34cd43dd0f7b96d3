"""Tempfleet: the temp-file lifecycle manager for fleets of Celery workers."""
