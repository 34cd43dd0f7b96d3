"""Give a file its name back from the quarantine, and end its registration."""

from __future__ import annotations

from ..errors import AlreadyClaimed, FileMissing, RegistryUnavailable
from ..logs import logger, printable
from .local_volume import LocalVolume


def restore(local: LocalVolume, path: str) -> None:
    """
    Restore a file from quarantine, and unregister it if Redis answers.

    Raises:
        FileMissing, UnsafePath, AlreadyClaimed: nothing changed.
    """
    _unregister_former(local, path)
    file = local.unchecked_cleaner.deleter.restore(path)
    logger.info("Restored temporary file: %s", printable(file.path))
    try:
        local.registry.unregister([file.aside_path])
        local.registry.observe({"restored": 1})
        decompress_if_there(local, file.path)
    except AlreadyClaimed as exc:
        # Its path was registered again in this instant. It is restored all the same.
        logger.warning("%s is restored, but was not decompressed: %s", printable(file.path), exc)
    except RegistryUnavailable as exc:
        # The record is dropped when it expires, because the file is missing.
        logger.warning("%s is restored, but its record could not be removed: %s", printable(file.path), exc)


def _unregister_former(local: LocalVolume, path: str) -> None:
    """
    Unregister *path* if its record is still that of the quarantined file: the process that moved the file died, or
    has not moved the record yet. Otherwise the restored file would be deleted again.

    Raises:
        AlreadyClaimed: it is claimed; nothing changed.
    """
    registry, deleter = local.unchecked_registry, local.unchecked_cleaner.deleter
    try:
        _, (record,) = registry.read([path])
        if record is None:
            return
        quarantined = [file for file in deleter.quarantined_files() if file.path == path]
        if not any(deleter.is_of(record, file) for file in quarantined):
            return
        if registry.unregister([path])[path] == "claimed":
            raise AlreadyClaimed.of(path)
    except RegistryUnavailable as exc:
        logger.warning("Whether %s is still registered is not known: %s", printable(path), exc)


def decompress_if_there(local: LocalVolume, path: str) -> bool:
    try:
        local.compressor.decompress(path)
    except FileMissing:
        return False
    return True
