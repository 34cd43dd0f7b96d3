"""Errors are caught by class, have their data as attributes, and stay the same in another process."""

from __future__ import annotations

import pickle

import pytest

import tempfleet
from tempfleet import errors
from tempfleet.errors import (
    AlreadyClaimed,
    BatchError,
    EvictingRedis,
    FileMissing,
    InvalidTTL,
    LeaseLost,
    NotRegistered,
    RegistryError,
    RegistryUnavailable,
    SettingsError,
    TempfleetError,
    UnknownHost,
    UnsafePath,
    VolumeUnavailable,
)

EVERY = [
    error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, TempfleetError)
]


@pytest.mark.parametrize("error", EVERY)
def test_without_a_message_the_docstring_is_the_message(error: type[TempfleetError]) -> None:
    if error is not BatchError:
        assert error.__doc__
        assert str(error()) == error.__doc__.strip()


@pytest.mark.parametrize("error", EVERY)
def test_every_error_is_one_line_for_people(error: type[TempfleetError]) -> None:
    assert "\n" not in str(error())


@pytest.mark.parametrize(
    "error",
    [
        FileMissing("gone", path="/tmp/\udcff", reason="missing"),
        UnsafePath("no", path="/tmp/x", reason="symlink"),
        NotRegistered("unknown", path="/tmp/x"),
        SettingsError("bad", variable="TEMP_FILE_MAX_AGE", value="x"),
        InvalidTTL("bad", value=-1),
        EvictingRedis("bad", variable="TEMP_FILE_REDIS_URL", value="allkeys-lru"),
        VolumeUnavailable("gone", base_dir="/base", reason="ENOENT"),
        UnknownHost("who", host="web-9"),
        AlreadyClaimed.of("/tmp/x"),
        NotRegistered.of("/tmp/x", "on host web in /tmp"),
        LeaseLost(),
        BatchError(records=[1], errors={"/tmp/x": FileMissing("gone", path="/tmp/x", reason="missing")}),
    ],
)
def test_an_error_can_be_pickled_with_its_data(error: TempfleetError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    data = {name: str(value) for name, value in vars(error).items()}
    assert {name: str(value) for name, value in vars(copy).items()} == data


def test_every_error_can_be_caught_by_its_builtin_or_base_class() -> None:
    for error, base in [
        (FileMissing, FileNotFoundError),
        (UnsafePath, ValueError),
        (InvalidTTL, ValueError),
        (SettingsError, ValueError),
        (EvictingRedis, SettingsError),
        (NotRegistered, KeyError),
        (AlreadyClaimed, RegistryError),
        (RegistryUnavailable, RegistryError),
    ]:
        assert issubclass(error, base)
    assert all(issubclass(error, TempfleetError) for error in EVERY)


def test_the_message_of_a_missing_file_is_the_plain_sentence() -> None:
    assert str(FileMissing("/tmp/x: there is none", path="/tmp/x")) == "/tmp/x: there is none"
    assert str(NotRegistered("/tmp/x is not registered")) == "/tmp/x is not registered"


def test_an_error_about_a_path_builds_its_sentence_and_keeps_the_path() -> None:
    path = "/tmp/a\nb"
    for error, sentence in [
        (AlreadyClaimed.of(path), r"/tmp/a\nb is being deleted at this moment."),
        (
            AlreadyClaimed.of(path, compressing=True),
            r"/tmp/a\nb is being compressed at this moment; try again.",
        ),
        (
            NotRegistered.of(path, "on host web in /tmp"),
            r"/tmp/a\nb is not registered on host web in /tmp.",
        ),
        (FileMissing.of(path), rf"/tmp/a\nb: {FileMissing.__doc__}"),
        (NotRegistered.as_dead_letter(path), r"/tmp/a\nb is not a dead letter."),
    ]:
        assert (str(error), error.path) == (sentence, path)


def test_a_batch_error_counts_the_failures_and_shows_the_first() -> None:
    error = BatchError(records=[1, 2], errors={"/a": FileMissing("no /a"), "/b": FileMissing("no /b")})
    assert str(error) == "2 files could not be registered, 2 could. The first: no /a"
    assert BatchError().errors == {}


def test_the_package_exports_every_public_name_in_order() -> None:
    for name in tempfleet.__all__:
        assert getattr(tempfleet, name)
    assert sorted(tempfleet.__all__) == tempfleet.__all__


def test_two_classes_can_still_be_imported_by_their_first_names() -> None:
    assert tempfleet.Aside is tempfleet.QuarantinedFile
    assert tempfleet.Found is tempfleet.UnregisteredFile
