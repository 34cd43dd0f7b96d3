"""
Idle files are replaced by their compressed form, in place.

    compressor   a pass over a volume
    candidates   the records that a pass tries to compress
    transform    compresses or decompresses one file, unless a process uses it
    agreement    what the registry accepts meanwhile
    format       the format of a compressed file
    reader       opens a file in either form

Promises: at every instant there is one whole file under the name. A process that uses a file has priority: the file
stays as it is. ``open_content`` reads both forms.

Does not: delete a file, or compress a file whose registration did not allow it, unless TEMP_FILE_COMPRESSION=all.
``deletion/exchange.py`` puts the new form under the old name in one step.
"""

from .compressor import CompressionReport, Compressor
from .reader import open_content

__all__ = ["CompressionReport", "Compressor", "open_content"]
