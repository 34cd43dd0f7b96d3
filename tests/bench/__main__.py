"""``make bench``: every benchmark, one line a result, as ratios against a peer in the same run."""

from . import deletion, fleet

for title, bench in (("The whole way of a file", fleet), ("Deleting alone", deletion)):
    print(f"\n{title}\n")
    for line in bench.run():
        print(line, flush=True)
