"""The form of the scripts: headers match the code, names are bound, keys are declared, commands are bounded."""

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
FIRST_ADDS = {
    "amend",
    "expect_sweeps",
    "register",
    "observe",
    "record_rejected",
    "take_over",
    "upgrade",
}
"""Scripts whose first write adds data, so that Redis at maxmemory refuses the whole call."""
CHECKS = {"schema", "disk"}
"""Shared parts that only check their arguments: a script names them without using a name of theirs."""
ADDING = {"ZADD", "HSET", "HINCRBY"}
REMOVING = {"ZREM", "HDEL", "ZREMRANGEBYRANK"}

KEYWORDS = "and break do else elseif end false for function if in local nil not or repeat return then true until while"
LUA = {"redis", "string", "math", "ipairs", "pairs", "tonumber", "unpack"}
"""The names of Lua and of Redis that scripts use."""

every_script = pytest.mark.parametrize("name", scripts.names())
every_part = pytest.mark.parametrize("part", scripts.names("lib"))


def code(body: str) -> str:
    """Returns a body without its comments and strings: a string becomes ''."""
    return re.sub(r"--[^\n]*|'[^'\n]*'", lambda match: "" if match[0].startswith("--") else "''", body)


def functions(body: str) -> dict[str, str]:
    """Returns the functions of the top level: name -> text."""
    return {
        match[1]: match[0] for match in re.finditer(r"^local function (\w+)\(.*?^end$", body, re.M | re.S)
    }


def defined(body: str) -> set[str]:
    """Returns the names that are local to the top level of a body."""
    lists = re.findall(r"^local (?!function)(\w+(?:, \w+)*)", body, re.MULTILINE)
    return {name for names in lists for name in names.split(", ")} | set(functions(body))


def declared(body: str) -> set[str]:
    """Returns the names that a body declares at any level: locals, functions, parameters and loop variables."""
    text = code(body)
    lists = re.findall(r"\blocal (?!function)(\w+(?:, \w+)*)|\bfor (\w+(?:, \w+)*) (?:=|in)", text)
    declarations = {name for pair in lists for names in pair for name in names.split(", ")}
    for function, parameters in re.findall(r"\bfunction ?(\w*)\(([\w, ]*)\)", text):
        declarations |= {function, *parameters.split(", ")}
    return declarations


def needed(body: str) -> set[str]:
    """Returns the names that a body uses and does not declare. A function's names count inside that function only."""
    inner = functions(body).values()
    outer = body
    for function in inner:
        outer = outer.replace(function, "")
    return {name for text in (outer, *inner) for name in used(text) - declared(text)} - defined(body)


def used(body: str) -> set[str]:
    text = code(body)
    # The keys of a table are not variables.
    while re.search(r"\{[^{}]*\w = ", text):
        text = re.sub(r"(\{(?:[^{}]*[,\s])?)\w+ = ", r"\1", text)
    return set(re.findall(r"(?<!\w)(?<![^.]\.)[A-Za-z_]\w*", text)) - set(KEYWORDS.split()) - LUA


def line(header: str, word: str) -> set[str]:
    """Returns the names after *word* in a header."""
    match = re.search(rf"^  {word} +(.+)$", header, re.MULTILINE)
    return set(match[1].split(", ")) if match else set()


def sources(name: str) -> list[tuple[str, str]]:
    """Returns header and body of the shared parts of a script, in the order of its text, and of the script itself."""
    return [*(scripts.source(f"lib/{part}") for part in scripts.load(name).uses), scripts.source(name)]


def calls(body: str) -> list[tuple[str, str]]:
    """Returns (command, first argument) of every redis.call, in the order of the text."""
    return re.findall(r"redis\.call\('(\w+)'(?:,\s*([\w\[\]]+))?", body)


def writes(name: str) -> list[str]:
    """Returns the writing commands in the order of the text. The commands of a function count at its calls."""
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
    slots = {*script.keys, *script.args, *(["ARGV", "FIRST"] if script.takes_more else [])}
    bound, names = slots | ({"MORE"} if script.takes_more else set()), set()
    for header, body in sources(name):
        assert needed(body) <= bound, header
        assert not re.search(r"\bKEYS\b|\bARGV\[\d", code(body))
        names |= needed(body)
        bound |= defined(body)
    assert slots <= names


@every_part
def test_a_shared_part_declares_what_it_needs_and_what_it_defines(part: str) -> None:
    header, body = scripts.source(f"lib/{part}")
    assert re.match(rf"--\[\[\n  {part}: \w", header)
    assert line(header, "Needs") == needed(body)
    assert line(header, "Defines") == defined(body)


@every_script
def test_the_shared_parts_in_a_header_exist_and_are_used(name: str) -> None:
    texts = sources(name)
    uses = scripts.load(name).uses
    assert set(uses) <= set(scripts.names("lib"))
    assert len(set(uses)) == len(uses)
    for i, part in enumerate(uses):
        later = {word for _, body in texts[i + 1 :] for word in needed(body)}
        assert part in CHECKS or defined(texts[i][1]) & later, part


def test_every_shared_part_has_a_user() -> None:
    assert {part for name in scripts.names() for part in scripts.load(name).uses} == set(scripts.names("lib"))


@every_script
def test_the_slots_of_a_header_are_numbered_in_order(name: str) -> None:
    header, _ = scripts.source(name)
    for kind in ("KEYS", "ARGV"):
        numbers = [int(n) for n in re.findall(rf"^  {kind}\[(\d+)\+?\]", header, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))


@every_script
def test_a_header_documents_result_atomicity_and_cost(name: str) -> None:
    header, _ = scripts.source(name)
    assert re.match(rf"--\[\[\n  {name}: \w", header)
    for word in ("Returns", "Atomic", "Cost"):
        assert re.search(rf"^  {word}  +\S", header, re.MULTILINE), word


@every_script
def test_a_script_uses_only_the_keys_of_its_header(name: str) -> None:
    keys = set(scripts.load(name).keys)
    for _, body in sources(name):
        assert not keys & declared(body)
        assert not re.search(rf"\b({'|'.join(keys)})\b(, \w+)* = ", code(body))
        # take_over writes to several keys in a loop.
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
        for call in re.findall(r"redis\.call\('ZRE?V?RANGE\w*'[^)]*\)", body):
            assert "'LIMIT'" in call or ", 0, 0, " in call, call


@every_script
def test_a_script_that_cleans_removes_before_it_adds(name: str) -> None:
    first = writes(name)[:1]
    assert not first or (first[0] in ADDING) == (name in FIRST_ADDS)


@every_script
def test_a_script_reads_the_clock_of_redis_unless_it_gets_the_time(name: str) -> None:
    script = scripts.load(name)
    assert ("now_ms" in script.args) == ("clock" in script.uses)
    assert script.text.count("'TIME'") == ("clock" in script.uses)


def test_no_function_is_defined_twice() -> None:
    files = [*scripts.names(), *(f"lib/{part}" for part in scripts.names("lib"))]
    counts = Counter(function for file in files for function in functions(scripts.source(file)[1]))
    assert counts["count_tags"] == 1
    assert [function for function, n in counts.items() if n > 1] == []


def test_a_call_that_does_not_fit_the_header_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TypeError, match=r"extend.lua takes"):
        scripts.load("extend").arguments({"token": 1}, [])
    with pytest.raises(TypeError, match=r"more"):
        scripts.load("extend").arguments({"now_ms": "", "token": 1, "lease_ms": 1}, ["extra"])


def test_erasing_a_volume_unlinks_every_key_of_it() -> None:
    script = scripts.load("erase")
    _, body = scripts.source("erase")
    (arguments,) = re.findall(r"'UNLINK', ([\w,\s]+)\)", body)
    assert set(script.keys) == set(re.findall(r"\w+", arguments)) == set(VOLUME_KEYS)


def test_every_key_of_a_script_is_declared() -> None:
    declared = {*VOLUME_KEYS, *FLEET_KEYS}
    for name in scripts.names():
        assert set(scripts.load(name).keys) <= declared, name
