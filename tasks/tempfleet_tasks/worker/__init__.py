"""What a worker process gets."""
