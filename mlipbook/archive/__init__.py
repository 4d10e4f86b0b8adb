"""What lies in files, and how one knows that it is what was written."""

from mlipbook.archive.files import load, replacing, save

__all__ = ["load", "replacing", "save"]
