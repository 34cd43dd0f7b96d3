"""The scripts' form: a header that is true, keys that are declared, commands that are bounded."""

from __future__ import annotations

import re

import pytest

from tempfleet.registry import scripts
from tempfleet.registry.keys import FLEET_KEYS, VOLUME_KEYS

NEVER = {
    "KEYS",
    "SCAN",
    "HSCAN",
    "ZSCAN",
    "SSCAN",
    "DEL",
    "FLUSHALL",
    "FLUSHDB",
    "HKEYS",
    "HVALS",
    "SMEMBERS",
}
FIRST_ADDS = {"amend", "register", "renew", "observe", "take_over"}
"""Scripts whose first write adds: under maxmemory they are refused whole."""
ADDING = {"ZADD", "HSET", "HINCRBY"}
REMOVING = {"ZREM", "HDEL", "ZREMRANGEBYRANK"}

every_script = pytest.mark.parametrize("name", scripts.names())


def header_and_body(name: str) -> tuple[str, str]:
    text = scripts.load(name).text
    end = text.index("]]")
    return text[:end], text[end:]


def calls(body: str) -> list[tuple[str, str]]:
    """(command, first argument) of each redis.call, in the order of the text."""
    return re.findall(r"redis\.call\('(\w+)'(?:,\s*([\w\[\]]+))?", body)


@every_script
def test_every_slot_of_the_header_is_used_and_every_used_slot_is_in_the_header(name: str) -> None:
    script = scripts.load(name)
    _, body = header_and_body(name)
    used = {int(slot) for slot in re.findall(r"KEYS\[(\d+)\]", body)}
    if "KEYS[set]" in body:  # look.lua goes through its first four
        used |= {1, 2, 3, 4}
    assert used == set(range(1, len(script.keys) + 1))
    arguments = {int(slot) for slot in re.findall(r"ARGV\[(\d+)\]", body)}
    assert arguments == set(range(1, len(script.args) + 1))
    assert script.takes_more == ("#ARGV" in body)


@every_script
def test_the_slots_of_a_header_are_numbered_in_order(name: str) -> None:
    header, _ = header_and_body(name)
    for kind in ("KEYS", "ARGV"):
        numbers = [int(n) for n in re.findall(rf"^  {kind}\[(\d+)\+?\]", header, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))


@every_script
def test_a_header_says_what_it_returns_keeps_atomic_and_costs(name: str) -> None:
    header, _ = header_and_body(name)
    assert re.match(rf"--\[\[\n  {name}: \w", header)
    for word in ("Returns", "Atomic", "Cost"):
        assert re.search(rf"^  {word}  +\S", header, re.MULTILINE), word


@every_script
def test_a_script_touches_only_keys_that_it_was_given(name: str) -> None:
    _, body = header_and_body(name)
    given = set(re.findall(r"KEYS\[\w+\]", body))
    for names, values in re.findall(r"^local ([\w, ]+) = ((?:KEYS\[\d+\](?:, )?)+)$", body, re.MULTILINE):
        assert names.count(",") == values.count(",")
        given |= set(names.split(", "))
    for command, key in calls(body):
        assert command == "TIME" or key in given, (command, key)


@every_script
def test_a_script_uses_no_unbounded_command(name: str) -> None:
    _, body = header_and_body(name)
    commands = {command for command, _ in calls(body)}
    assert not commands & NEVER
    for ranged in re.findall(r"redis\.call\('ZRE?V?RANGE\w*'[^)]*\)", body):
        assert "'LIMIT'" in ranged or ", 0, 0, " in ranged, ranged


@every_script
def test_a_script_that_cleans_removes_before_it_adds(name: str) -> None:
    _, body = header_and_body(name)
    writes = [command for command, _ in calls(body) if command in ADDING | REMOVING]
    if name in FIRST_ADDS or not writes:
        return
    # The functions of reap.lua add; they are called later.
    main = body[body.rindex("\nend\n\nlocal ") :] if name == "reap" else body
    first = next(command for command, _ in calls(main) if command in ADDING | REMOVING)
    if name == "ack":  # the histogram's functions are defined above their use
        first = next(c for c, _ in calls(body[body.index("local any_failed") :]) if c in ADDING | REMOVING)
    assert first in REMOVING


@every_script
def test_a_script_reads_the_servers_clock_unless_it_is_given_one(name: str) -> None:
    script = scripts.load(name)
    assert ("now_ms" in script.args) == ("'TIME'" in script.text)


def test_a_function_that_several_scripts_have_is_the_same_in_all_of_them() -> None:
    texts: dict[str, list[str]] = {}
    for name in scripts.names():
        for function in re.finditer(r"^local function (\w+)\(.*?^end$", scripts.load(name).text, re.M | re.S):
            texts.setdefault(function[1], []).append(function[0])
    assert len(texts["count_tags"]) > 1
    assert {name: len(set(found)) for name, found in texts.items()} == dict.fromkeys(texts, 1)


def test_a_call_that_does_not_fit_the_header_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TypeError, match=r"extend.lua takes"):
        scripts.load("extend").arguments({"token": 1}, [])
    with pytest.raises(TypeError, match=r"more"):
        scripts.load("extend").arguments({"now_ms": "", "token": 1, "lease_ms": 1}, ["extra"])


def test_every_key_of_a_script_is_a_declared_one() -> None:
    declared = {*VOLUME_KEYS, *FLEET_KEYS}
    for name in scripts.names():
        assert set(scripts.load(name).keys) <= declared, name
