"""What users hold."""

from .manager import TempFileManager

__all__ = ["TempFileManager"]
