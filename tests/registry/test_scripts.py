"""The scripts' form: headers that match the code, names that are bound, declared keys, bounded commands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

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
"""Scripts whose first write adds: at maxmemory Redis refuses the whole call."""
ADDING = {"ZADD", "HSET", "HINCRBY"}
REMOVING = {"ZREM", "HDEL", "ZREMRANGEBYRANK"}

KEYWORDS = "and break do else elseif end false for function if in local nil not or repeat return then true until while"
LUA = {"redis", "string", "math", "ipairs", "pairs", "tonumber", "unpack"}
"""The names of the language, and of Redis, that scripts use."""

every_script = pytest.mark.parametrize("name", scripts.names())
every_part = pytest.mark.parametrize("part", scripts.names("lib"))


def code(body: str) -> str:
    """A body without its comments and texts; a text in quotes becomes ''."""
    return re.sub(r"--[^\n]*|'[^'\n]*'", lambda found: "" if found[0].startswith("--") else "''", body)


def functions(body: str) -> dict[str, str]:
    """Name -> text of each function of the top level."""
    return {
        found[1]: found[0] for found in re.finditer(r"^local function (\w+)\(.*?^end$", body, re.M | re.S)
    }


def defined(body: str) -> set[str]:
    """The names that are local to the top level of a body."""
    lists = re.findall(r"^local (?!function)(\w+(?:, \w+)*)", body, re.MULTILINE)
    return {name for names in lists for name in names.split(", ")} | set(functions(body))


def declared(body: str) -> set[str]:
    """The names that a body gives itself, at any level: locals, functions, parameters and the variables of loops."""
    text = code(body)
    lists = re.findall(r"\blocal (?!function)(\w+(?:, \w+)*)|\bfor (\w+(?:, \w+)*) (?:=|in)", text)
    found = {name for pair in lists for names in pair for name in names.split(", ")}
    for function, parameters in re.findall(r"\bfunction ?(\w*)\(([\w, ]*)\)", text):
        found |= {function, *parameters.split(", ")}
    return found


def needed(body: str) -> set[str]:
    """The names that a body uses and does not declare. A function's own names count inside that function only."""
    inner = functions(body).values()
    outer = body
    for function in inner:
        outer = outer.replace(function, "")
    return {name for text in (outer, *inner) for name in used(text) - declared(text)} - defined(body)


def used(body: str) -> set[str]:
    text = code(body)
    # the keys of a table are not variables
    while re.search(r"\{[^{}]*\w = ", text):
        text = re.sub(r"(\{(?:[^{}]*[,\s])?)\w+ = ", r"\1", text)
    return set(re.findall(r"(?<!\w)(?<![^.]\.)[A-Za-z_]\w*", text)) - set(KEYWORDS.split()) - LUA


def line(header: str, word: str) -> set[str]:
    """The names behind *word* in a header."""
    found = re.search(rf"^  {word} +(.+)$", header, re.MULTILINE)
    return set(found[1].split(", ")) if found else set()


def sources(name: str) -> list[tuple[str, str]]:
    """Header and body of each shared part of a script, in the order of its text, and of the script itself."""
    return [*(scripts.source(f"lib/{part}") for part in scripts.load(name).uses), scripts.source(name)]


def calls(body: str) -> list[tuple[str, str]]:
    """(command, first argument) of each redis.call, in the order of the text."""
    return re.findall(r"redis\.call\('(\w+)'(?:,\s*([\w\[\]]+))?", body)


def writes(name: str) -> list[str]:
    """The commands that write, in the order of the text; a function's commands count where it is called."""
    text = "\n".join(body for _, body in sources(name))
    called = functions(text)

    def commands(text: str) -> Iterator[str]:
        for command, function in re.findall(r"redis\.call\('(\w+)'|\b(\w+)\(", text):
            if command in ADDING | REMOVING:
                yield command
            elif function in called:
                yield from commands(called[function].partition("\n")[2])

    for function in called.values():
        text = text.replace(function, "")
    return list(commands(text))


@every_script
def test_every_slot_of_the_header_is_used_and_every_used_name_is_bound(name: str) -> None:
    script = scripts.load(name)
    slots = {*script.keys, *script.args, *(["MORE"] if script.takes_more else [])}
    bound, found = set(slots), set()
    for header, body in sources(name):
        assert needed(body) <= bound, header
        assert not re.search(r"\b(KEYS|ARGV)\b", code(body))
        found |= needed(body)
        bound |= defined(body)
    assert slots <= found


@every_part
def test_a_shared_part_declares_what_it_needs_and_what_it_defines(part: str) -> None:
    header, body = scripts.source(f"lib/{part}")
    assert re.match(rf"--\[\[\n  {part}: \w", header)
    assert line(header, "Needs") == needed(body)
    assert line(header, "Defines") == defined(body)


@every_script
def test_the_shared_parts_that_a_header_names_exist_and_are_used(name: str) -> None:
    texts = sources(name)
    uses = scripts.load(name).uses
    assert set(uses) <= set(scripts.names("lib"))
    assert len(set(uses)) == len(uses)
    for i, part in enumerate(uses):
        later = {word for _, body in texts[i + 1 :] for word in needed(body)}
        assert defined(texts[i][1]) & later, part


def test_every_shared_part_has_a_user() -> None:
    assert {part for name in scripts.names() for part in scripts.load(name).uses} == set(scripts.names("lib"))


@every_script
def test_the_slots_of_a_header_are_numbered_in_order(name: str) -> None:
    header, _ = scripts.source(name)
    for kind in ("KEYS", "ARGV"):
        numbers = [int(n) for n in re.findall(rf"^  {kind}\[(\d+)\+?\]", header, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))


@every_script
def test_a_header_says_what_it_returns_keeps_atomic_and_costs(name: str) -> None:
    header, _ = scripts.source(name)
    assert re.match(rf"--\[\[\n  {name}: \w", header)
    for word in ("Returns", "Atomic", "Cost"):
        assert re.search(rf"^  {word}  +\S", header, re.MULTILINE), word


@every_script
def test_a_script_touches_only_keys_that_it_was_given(name: str) -> None:
    keys = set(scripts.load(name).keys)
    for _, body in sources(name):
        assert not keys & declared(body)
        assert not re.search(rf"\b({'|'.join(keys)})\b(, \w+)* = ", code(body))
        # take_over writes to several keys in a loop
        loops = re.findall(r"\bfor \w+, key in ipairs\(\{([\w, ]+)\}\) do", body)
        assert body.count(", key in ") == len(loops)
        assert {key for loop in loops for key in loop.split(", ")} <= keys
        for command, key in calls(body):
            assert command == "TIME" or key in keys or (loops and key == "key"), (command, key)


@every_script
def test_a_script_uses_no_unbounded_command(name: str) -> None:
    for _, body in sources(name):
        assert len(calls(body)) == body.count("redis.call")
        assert not {command for command, _ in calls(body)} & NEVER
        for ranged in re.findall(r"redis\.call\('ZRE?V?RANGE\w*'[^)]*\)", body):
            assert "'LIMIT'" in ranged or ", 0, 0, " in ranged, ranged


@every_script
def test_a_script_that_cleans_removes_before_it_adds(name: str) -> None:
    first = writes(name)[:1]
    assert not first or (first[0] in ADDING) == (name in FIRST_ADDS)


@every_script
def test_a_script_reads_the_servers_clock_unless_it_is_given_one(name: str) -> None:
    script = scripts.load(name)
    assert ("now_ms" in script.args) == ("clock" in script.uses)
    assert script.text.count("'TIME'") == ("clock" in script.uses)


def test_no_function_is_written_twice() -> None:
    files = [*scripts.names(), *(f"lib/{part}" for part in scripts.names("lib"))]
    found = Counter(function for file in files for function in functions(scripts.source(file)[1]))
    assert found["count_tags"] == 1
    assert [function for function, n in found.items() if n > 1] == []


def test_a_call_that_does_not_fit_the_header_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TypeError, match=r"extend.lua takes"):
        scripts.load("extend").arguments({"token": 1}, [])
    with pytest.raises(TypeError, match=r"more"):
        scripts.load("extend").arguments({"now_ms": "", "token": 1, "lease_ms": 1}, ["extra"])


def test_every_key_of_a_script_is_a_declared_one() -> None:
    declared = {*VOLUME_KEYS, *FLEET_KEYS}
    for name in scripts.names():
        assert set(scripts.load(name).keys) <= declared, name
