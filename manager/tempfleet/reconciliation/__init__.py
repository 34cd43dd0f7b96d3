"""Where the registry and the disk disagree."""
