"""
Idle files are replaced by their compressed form, in place.

Promises: at every instant there is one whole file under the name. A process that uses the file comes first.
``open_content`` reads either form.

Does not: compress what its registrant did not allow, or delete a file. The two forms change places in
deletion/exchange.py.
"""

from .compressor import CompressionReport, Compressor
from .reader import open_content

__all__ = ["CompressionReport", "Compressor", "open_content"]
