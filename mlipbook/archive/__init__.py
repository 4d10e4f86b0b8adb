"""What lies in files, and how one knows that it is what was written."""

from mlipbook.archive.files import load, replacing, save
from mlipbook.archive.identity import Unidentified, described, identity, refuse_other

__all__ = ["Unidentified", "described", "identity", "load", "refuse_other", "replacing", "save"]
