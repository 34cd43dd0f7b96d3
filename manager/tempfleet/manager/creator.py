"""
Creating files and directories in the base directory: each is registered first and created second; see temp_file.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypedDict

from ..cleanup import Cause
from ..deletion import undo_creation
from ..errors import RegistryError, VolumeUnavailable
from ..filesystem import create_identified_directory, create_identified_file, new_name, refuse_long
from ..logs import logger, printable
from ..records import NO_IDENTITY, FileRecord, Flag, NewFile
from ..validation import ttl_ms, validate_tags
from .local_volume import LocalVolume
from .registration import Registrar
from .temp_file import TempDirectory, TempFile

DIRECTORY_MODE = 0o700

BinaryMode = Literal["wb", "w+b", "wb+", "xb", "x+b", "xb+", "ab", "a+b", "ab+", "r+b", "rb+"]
TextMode = Literal["w", "w+", "wt", "w+t", "x", "x+", "xt", "x+t", "a", "a+", "at", "a+t", "r+", "r+t"]


class CreateOptions(TypedDict, total=False):
    """The keywords that every form of ``create`` takes."""

    prefix: str
    suffix: str
    ttl: float | None
    tags: Sequence[str]
    compress: bool


class Creator:
    """Creates files and directories in the base directory of one volume."""

    def __init__(self, local: LocalVolume, registrar: Registrar) -> None:
        self.local = local
        self.registrar = registrar

    def create(
        self,
        mode: str,
        encoding: str | None,
        default_ttl: float,
        *,
        prefix: str = "",
        suffix: str = "",
        ttl: float | None = None,
        tags: Sequence[str] = (),
        compress: bool = False,
    ) -> TempFile[Any]:
        if not set(mode) & set("wxa+"):
            raise ValueError(f"mode {mode!r} only reads; a new file needs a mode that writes")
        flags = Flag.CREATED + (Flag.MAY_COMPRESS if compress else "")
        new = self.new_file(prefix, suffix, default_ttl if ttl is None else ttl, tags, flags=flags)

        made = _Made(self.local)
        return TempFile(
            register=partial(self.registrar.register_created, new),
            make=lambda name: open(new.path, mode, encoding=encoding, opener=made.open),
            identify=made.identify,
            unmake=self.unmake,
            delete=self.delete,
            measured=self._count_size,
        )

    def create_dir(self, prefix: str, suffix: str, ttl: float, tags: Sequence[str]) -> TempDirectory:
        flags = Flag.CREATED.value + Flag.DIRECTORY.value
        new = self.new_file(prefix, suffix, ttl, tags, flags=flags)
        made = _Made(self.local)
        return TempDirectory(
            register=partial(self.registrar.register_created, new),
            make=made.make_directory,
            identify=made.identify,
            unmake=self.unmake,
            delete=self.delete,
        )

    def new_file(self, prefix: str, suffix: str, ttl: float, tags: Sequence[str], *, flags: str) -> NewFile:
        """Returns what creating registers, under an unguessable name."""
        self.local.check()
        path = os.path.join(self.local.roots.base.path, new_name(prefix, suffix))
        refuse_long(path)
        return NewFile(
            path=path,
            ttl_ms=ttl_ms(ttl),
            flags=flags,
            uid=os.geteuid(),
            tags=validate_tags(tags),
        )

    def unmake(self, record: FileRecord) -> None:
        if self.local.roots.base.is_foreign:
            return  # the name may lead to another file by now; the next clean-up of the record decides
        roots = self.local.roots
        try:
            roots.base.calls.ask(partial(undo_creation, roots, os.path.basename(record.path)))
        except VolumeUnavailable:
            return  # the file may still come into being; its record deletes it then
        self.local.registry.unregister([record.path], total="missing")

    def delete(self, record: FileRecord) -> None:
        self.local.cleaner.clean_own({record.path: record.registered_ms}, Cause.DISCARDED)

    def _count_size(self, record: FileRecord, size_bytes: int) -> None:
        """Record the size of a closed file. The file stays registered if that fails."""
        try:
            self.local.registry.amend(
                record.path,
                expected=record.identity,
                identity=record.identity,
                marks="",
                size_bytes=size_bytes,
            )
        except RegistryError as exc:
            logger.warning("The size of %s could not be recorded: %s", printable(record.path), exc)


class _Made:
    """One file or directory while it is created, and its identity if its name does not prove which one it is."""

    def __init__(self, local: LocalVolume) -> None:
        self._local = local
        self._identity = NO_IDENTITY

    def open(self, path: str, flags: int) -> int:
        mode = self._local.settings.permission_mask
        name = os.path.basename(path)
        roots = self._local.roots
        fd, self._identity = roots.base.calls.ask(
            partial(create_identified_file, roots, name, mode=mode), discard=lambda made: os.close(made[0])
        )
        return fd

    def make_directory(self, name: str) -> None:
        roots = self._local.roots
        self._identity = roots.base.calls.ask(
            partial(create_identified_directory, roots, name, mode=DIRECTORY_MODE)
        )

    def identify(self, record: FileRecord) -> FileRecord:
        """Store the identity in *record*; returns the record as the registry has it."""
        changed = self._identity != NO_IDENTITY and self._local.registry.amend(
            record.path, expected=record.identity, identity=self._identity, marks=""
        )
        return replace(record, identity=self._identity) if changed else record
