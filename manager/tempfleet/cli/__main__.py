"""``python -m tempfleet.cli``: the same as ``tempfleet``."""

from . import main

if __name__ == "__main__":
    main(prog_name="tempfleet")
