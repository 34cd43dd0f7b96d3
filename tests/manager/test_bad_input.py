"""Bad input raises a clear, typed error. Nothing is lost, and nothing is changed."""

from __future__ import annotations

import os
import re
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import fakeredis
import pytest
import redis

from support import entries, snapshot, tree
from tempfleet import (
    FileMissing,
    InvalidTag,
    InvalidTTL,
    RegistryUnavailable,
    SettingsError,
    TempFileManager,
    TempfleetError,
    UnknownHost,
    UnsafePath,
)
from tempfleet.settings.settings import LONGEST_TTL_SECONDS, Settings

MakeManager = Callable[..., TempFileManager]

INVALID_TTLS = [0, -1, float("nan"), LONGEST_TTL_SECONDS + 1, 10**400, "60"]
"""One of each kind. tests/test_validation.py has the others."""


@pytest.fixture
def path(manager: TempFileManager, base_dir: Path) -> Path:
    """Returns a registered file."""
    path = base_dir / "kept"
    path.write_text("content")
    manager.register(path)
    return path


@pytest.fixture
def unchanged(path: Path, base_dir: Path, redis_client: redis.Redis) -> Iterator[None]:
    """Checks at the end of the test that registry and disk did not change."""
    before = snapshot(redis_client), tree(base_dir)
    yield
    assert (snapshot(redis_client), tree(base_dir)) == before


def refused_path(base_dir: Path, tmp_path: Path, kind: str) -> str | bytes | Path:
    """Returns a path of that kind. Tempfleet cannot manage it."""
    odd = tmp_path / "odd"
    odd.mkdir(exist_ok=True)
    if kind == "symlink":
        (odd / kind).symlink_to(base_dir / "kept")
    elif kind == "dangling":
        (odd / kind).symlink_to("nothing")
    elif kind == "directory":
        (odd / kind).mkdir()
    elif kind == "fifo":
        os.mkfifo(odd / kind)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(odd / kind))
    else:
        return {
            "missing": odd / "missing",
            "missing-parent": odd / "no" / "file",
            "below-a-file": base_dir / "kept" / "file",
            "empty": "",
            "empty-bytes": b"",
            "nul": "a\0b",
            "nul-bytes": b"a\0b",
            "surrogate": "/tmp/\ud800",
            "slash": f"{odd}/",
            "dot": f"{odd}/.",
            "dots": f"{odd}/..",
            "root": "/",
            "base": base_dir,
            "outside": "/etc/passwd",
            "too-long": base_dir / ("x" * 256),
            "device": "/dev/null",
        }[kind]
    return odd / kind


KINDS = {
    **dict.fromkeys(["missing", "missing-parent", "below-a-file"], FileMissing),
    **dict.fromkeys(
        ["symlink", "dangling", "directory", "fifo", "socket", "empty", "empty-bytes", "nul", "nul-bytes",
         "surrogate", "slash", "dot", "dots", "root", "base", "outside", "too-long", "device"],
        UnsafePath,
    ),
}  # fmt: skip


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_cannot_be_managed_is_refused_with_a_reason(
    manager: TempFileManager, base_dir: Path, tmp_path: Path, kind: str
) -> None:
    path = refused_path(base_dir, tmp_path, kind)
    with pytest.raises((FileMissing, UnsafePath)) as error:
        manager.register(path)
    assert type(error.value) is KINDS[kind]
    assert error.value.reason
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).isprintable()


def test_a_path_outside_the_roots_is_refused_with_a_list_of_the_roots(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    manager = make_manager(allowed_roots=(str(tmp_path / "other"),))
    message = f"(TEMP_FILE_ALLOWED_ROOTS): {manager.roots.base.path}, {(tmp_path / 'other').resolve()}."
    for call in (manager.register, manager.open, manager.restore):
        with pytest.raises(UnsafePath, match=re.escape(message)) as error:
            call("/etc/passwd")
        assert error.value.reason == "outside-roots"


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("kind", KINDS)
def test_register_file_logs_one_warning_instead_of_raising(
    manager: TempFileManager, base_dir: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    manager.register_file(refused_path(base_dir, tmp_path, kind))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("Attempted to register")
    assert record.getMessage().isprintable()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("path", ["", b"", "a\0b", "/tmp/\ud800", "/tmp/.."])
def test_an_impossible_path_is_refused_by_every_other_call(manager: TempFileManager, path: str) -> None:
    calls: list[Callable[[str], object]] = [
        manager.renew, manager.hold, manager.unhold, manager.unregister, manager.get_record,
        manager.get_file_age, manager.is_temp_file, manager.files.__getitem__, manager.files.__delitem__,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(UnsafePath):
            call(path)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("ttl", INVALID_TTLS, ids=lambda ttl: repr(ttl)[:12])
def test_an_invalid_time_to_live_changes_nothing(
    manager: TempFileManager, path: Path, base_dir: Path, ttl: float
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: manager.register(path, ttl=ttl),
        lambda: manager.register_file(path, ttl=ttl),
        lambda: manager.register_many([path], ttl=ttl),
        lambda: manager.renew(path, ttl=ttl),
        lambda: manager.hold(path, seconds=ttl),
        lambda: manager.create(ttl=ttl),
        lambda: manager.create_dir(ttl=ttl),
    ]
    for call in calls:
        with pytest.raises(InvalidTTL) as error:
            call()
        assert error.value.value is ttl
        assert len(str(error.value)) < 700


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("tags", "error_type"),
    [
        ([""], InvalidTag), (["two\nlines"], InvalidTag), (["\x1b[2J"], InvalidTag), (["\u2028"], InvalidTag),
        (["good", "x" * 201], InvalidTag), ("report", TypeError), (b"report", TypeError), ([7], TypeError),
        ([None], TypeError),
    ],
    ids=lambda value: repr(value)[:12],
)  # fmt: skip
def test_an_invalid_tag_is_refused_and_changes_nothing(
    manager: TempFileManager, base_dir: Path, path: Path, tags: list[str], error_type: type[Exception]
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: manager.register(path, tags=tags),
        lambda: manager.register_many([path], tags=tags),
        lambda: manager.register_batch([path], tags=tags),
        lambda: manager.create(tags=tags),
        lambda: manager.create_dir(tags=tags),
        lambda: manager.cleanup_report(tags=tags),
        lambda: list(manager.preview(tags=tags)),
    ]
    for call in calls:
        with pytest.raises(error_type) as error:
            call()
        assert str(error.value).isprintable()


def test_a_tag_may_be_long_and_have_spaces_and_a_hold_needs_no_reason(
    manager: TempFileManager, path: Path
) -> None:
    tags = ("x" * 200, "größe in €", "a,b:c")
    assert manager.register(path, tags=tags).tags == tags
    manager.hold(path, reason=None)
    record = manager.get_record(path)
    assert record is not None and record.hold_reason == ""


@pytest.mark.usefixtures("unchanged")
def test_a_call_can_confine_paths_to_fewer_roots(
    manager: TempFileManager, tmp_path: Path, path: Path
) -> None:
    (tmp_path / "stranger").touch()
    with pytest.raises(UnsafePath, match="MESSAGE_ROOTS"):
        manager.inspect(tmp_path / "stranger", confined=manager.settings.confined_roots)
    assert manager.inspect(path, confined=manager.settings.confined_roots).path == str(path.resolve())


@pytest.mark.parametrize("host", ["a|b", "{a}", "a\nb", ""])
def test_an_invalid_host_name_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError) as error:
        TempFileManager(tmp_path / "base", host=host, client=fakeredis.FakeRedis())
    assert error.value.variable == "TEMP_FILE_HOST"
    assert not (tmp_path / "base").exists()


def test_an_unknown_host_has_its_own_error() -> None:
    assert issubclass(UnknownHost, TempfleetError)
    assert UnknownHost(host="web-9").host == "web-9"


def test_an_unreachable_redis_is_an_error_at_the_first_call_and_no_file_is_lost(tmp_path: Path) -> None:
    manager = TempFileManager(tmp_path / "base", redis_url=f"unix://{tmp_path}/nobody.sock")
    path = tmp_path / "base" / "file"
    path.touch()
    calls: list[Callable[[], object]] = [
        lambda: manager.register(path),
        lambda: manager.create(),  # noqa: PLW0108
        lambda: manager.cleanup(),  # noqa: PLW0108
        lambda: len(manager.files),
        lambda: manager.is_temp_file(path),
    ]
    for call in calls:
        with pytest.raises(RegistryUnavailable, match=r"nobody\.sock gave no answer"):
            call()
    manager.register_file(path)  # logs it
    assert entries(tmp_path / "base") == ["file"]
    manager.close()


def test_an_unknown_variable_is_warned_about_and_the_manager_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_BASEDIR", "/nowhere")
    with pytest.warns(UserWarning, match="did you mean TEMP_FILE_BASE_DIR?"):
        manager = TempFileManager(tmp_path / "base", client=fakeredis.FakeRedis())
    with warnings.catch_warnings(), manager.create() as file:
        assert file.path.startswith(str((tmp_path / "base").resolve()))


def test_a_variable_that_does_not_parse_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_LEASE", "two minutes")
    with pytest.raises(SettingsError, match="TEMP_FILE_LEASE='two minutes': must be a duration such as 90"):
        TempFileManager(tmp_path / "base", client=fakeredis.FakeRedis())
    assert not (tmp_path / "base").exists()
    assert Settings.model_fields["lease_seconds"].default == 120
