"""What a UPF file says (version 2, of Quantum ESPRESSO), and whether it can be what was written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from xml.etree import ElementTree

import torch
from torch import Tensor


@dataclass(frozen=True)
class UPF:
    """A norm-conserving, scalar relativistic pseudopotential as in its file, in Rydberg units; what is not
    there, or not sound, is a ValueError with the file's name.
    """

    path: Path
    root: ElementTree.Element
    header: Mapping[str, str]
    sha256: str

    @classmethod
    def read(cls, path: Path) -> UPF:
        if not path.exists():
            raise FileNotFoundError(f"no pseudopotential file {path}")
        content = path.read_bytes()
        root = _parse(path, content.decode(errors="replace"))
        element = root.find("PP_HEADER")
        if element is None:
            raise ValueError(f"{path} is damaged: it has no PP_HEADER")
        file = cls(path, root, header := element.attrib, hashlib.sha256(content).hexdigest())
        needed = ("pseudo_type", "z_valence", "functional", "element")
        if missing := [name for name in needed if name not in header]:
            raise ValueError(f"{path} is damaged: its PP_HEADER has no {', '.join(missing)}")
        refused = [flag for flag in ("is_ultrasoft", "is_paw", "is_coulomb", "has_so") if file.tells(flag)]
        if header["pseudo_type"].strip() != "NC" or refused:
            raise ValueError(
                f"{path} is of type {', '.join([header['pseudo_type'], *refused])}: "
                "take a norm-conserving, scalar relativistic pseudopotential (type NC)"
            )
        return file

    def tells(self, flag: str) -> bool:
        return self.header.get(flag, "").strip(" .").upper().startswith("T")

    def valence(self) -> float:
        """Number of electrons."""
        Z = self.number(self.header["z_valence"], "z_valence")
        if not Z > 0:
            raise ValueError(f"{self.path} is damaged: z_valence {Z:g}, which is positive in sound ones")
        return Z

    def projectors(self, ell_max: int) -> list[tuple[str, int]]:
        """Tag and l of each."""
        path = self.path
        betas = [x for x in self.root.findall("PP_NONLOCAL/*") if x.tag.startswith("PP_BETA")]
        angular = [int(self.number(x.get("angular_momentum", ""), f"{x.tag}'s l")) for x in betas]
        if not angular:
            raise ValueError(f"{path} has no projectors: purely local pseudopotentials are not implemented")
        if min(angular) < 0 or max(angular) > ell_max:
            raise ValueError(f"{path} has a projector of l = {max(angular)}; there is only l <= {ell_max}")
        told = self.header.get("number_of_proj", len(betas))
        if len(betas) != self.number(told, "number_of_proj"):
            raise ValueError(f"{path} is damaged: {len(betas)} projectors, {told} told")
        return [(f"PP_NONLOCAL/{beta.tag}", ell) for beta, ell in zip(betas, angular, strict=True)]

    def mesh(self) -> Tensor:
        """Radii, bohr."""
        radii = self.numbers("PP_MESH/PP_R", self.header.get("mesh_size"))
        if len(radii) < 3 or float(radii[0]) < 0 or not bool((radii.diff() > 0).all()):
            raise ValueError(f"{self.path} is damaged: the radii of PP_R do not grow from 0 on")
        return radii

    def number(self, word: str | int, what: str) -> float:
        try:
            number = float(re.sub("[dD]", "e", str(word)))  # Fortran writes 1.5d0
        except ValueError:
            number = nan
        if not isfinite(number):
            raise ValueError(f"{self.path} is damaged: {str(word)[:40]!r} in {what}, where a number belongs")
        return number

    def numbers(self, tag: str, count: int | str | None) -> Tensor:
        """The numbers of an element, as many as it tells, and as are expected (None: any)."""
        element = self.root.find(tag)
        if element is None:
            raise ValueError(f"{self.path} is damaged: it has no {tag}")
        words = (element.text or "").split()
        for told in (count, element.get("size")):
            if told is not None and len(words) != self.number(told, f"the size of {tag}"):
                raise ValueError(f"{self.path} is damaged: {tag} has {len(words)} numbers instead of {told}")
        return torch.tensor([self.number(word, tag) for word in words], dtype=torch.float64)


def _parse(path: Path, text: str) -> ElementTree.Element:
    if not re.search(r'<UPF\s+version\s*=\s*"2', text):
        raise ValueError(f"{path} is no UPF file of version 2: convert it with Quantum ESPRESSO's upfconv.x")
    text = re.sub(r"<PP_INFO>.*?</PP_INFO>", "", text, flags=re.DOTALL)  # for people, and often no XML
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
