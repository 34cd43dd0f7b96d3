"""The selection of files to free enough: those with the lowest scores, in whatever order they come."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from tempfleet import FileRecord
from tempfleet.capacity.selection import Shortfall, choose
from tempfleet.plugins.specification import Candidate


def candidate(path: str, *, size: int = 1, files: int = 1, used_ms: int = 0) -> Candidate:
    return Candidate(FileRecord(path, 0, 0), size_bytes=size, files=files, used_ms=used_ms, now_ms=0)


def by_use(candidates: Sequence[Candidate]) -> list[tuple[float, ...]]:
    return [(candidate.used_ms,) for candidate in candidates]


def names(chosen: list[Candidate]) -> list[str]:
    return [candidate.record.path for candidate in chosen]


candidates = st.lists(
    st.builds(
        candidate,
        st.sampled_from([f"/f{n}" for n in range(12)]),
        size=st.integers(0, 5),
        files=st.integers(0, 2),
        used_ms=st.integers(0, 4),
    ),
    unique_by=lambda candidate: candidate.record.path,
)


@given(candidates, st.integers(-1, 20), st.integers(-1, 8), st.integers(1, 5))
def test_the_selection_is_the_shortest_prefix_that_frees_enough_whatever_the_pages(
    everything: list[Candidate], size: int, files: int, page: int
) -> None:
    helpful = [c for c in everything if (size > 0 and c.size_bytes) or (files > 0 and c.files)]
    expected: list[Candidate] = []
    for item in sorted(helpful, key=lambda c: (c.used_ms, c.record.path)):
        if sum(c.size_bytes for c in expected) >= size and sum(c.files for c in expected) >= files:
            break
        expected.append(item)
    pages = [everything[at : at + page] for at in range(0, len(everything), page)]
    assert choose(pages, by_use, Shortfall(size, files)) == expected


def test_a_duplicate_path_counts_once() -> None:
    twice = [candidate("/a"), candidate("/a"), candidate("/b")]
    assert names(choose([twice, twice], by_use, Shortfall(bytes=2))) == ["/a", "/b"]


def test_a_candidate_that_frees_nothing_is_not_chosen() -> None:
    page = [candidate("/linked", size=0, files=0), candidate("/empty", size=0), candidate("/full", size=9)]
    assert names(choose([page], by_use, Shortfall(bytes=5))) == ["/full"]
    assert names(choose([page], by_use, Shortfall(files=5))) == ["/empty", "/full"]


def test_more_than_the_maximum_is_chosen_in_several_selections() -> None:
    page = [candidate(f"/{n}", used_ms=n) for n in range(9, 0, -1)]
    assert names(choose([page], by_use, Shortfall(bytes=9), most=3)) == ["/1", "/2", "/3"]


def test_memory_grows_with_the_amount_to_free_and_not_with_the_candidates() -> None:
    def many() -> Iterator[list[Candidate]]:
        return ([candidate(f"/{n}", used_ms=-n)] for n in range(100_000))

    tracemalloc.start()
    assert len(choose(many(), by_use, Shortfall(bytes=10))) == 10
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
