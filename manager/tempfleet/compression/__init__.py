"""
Idle files are replaced by their compressed form, in place.

Promises: at every instant there is one whole file under the name. A process that uses a file has priority: the file
stays as it is. ``open_content`` reads both forms.

Does not: compress a file whose registration did not allow it, or delete a file. deletion/exchange.py lets the two forms
exchange their names.
"""

from .compressor import CompressionReport, Compressor
from .reader import open_content

__all__ = ["CompressionReport", "Compressor", "open_content"]
