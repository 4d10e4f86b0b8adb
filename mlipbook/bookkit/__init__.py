"""What a notebook needs to be a chapter: profiles, recorded results, claims, sliders, stamps. No physics.

This module is what chapters import. The rest of the package serves the command line, the tests and
the site: ``notebooks`` (run, stamp, gate), ``frame`` (lint), ``expected`` (compare, bless), ``pages``.
"""

from .profiles import PROFILES, chapters, device, has, profile
from .records import check, claim, record, summary
from .results import full_file, full_result, paper_scale, provenance, save_result
from .sliders import slider

__all__ = ["PROFILES", "chapters", "check", "claim", "device", "full_file", "full_result", "has"]
__all__ += ["paper_scale", "profile", "provenance", "record", "save_result", "slider", "summary"]
