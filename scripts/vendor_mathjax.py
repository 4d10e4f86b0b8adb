"""Re-create extra/vendor/ from npm: MathJax, so that equations are typeset without a network.

    python scripts/vendor_mathjax.py

Needs npm. Writes extra/vendor/manifest.json with version, license and sha256 of every file; the tests
compare the folder with it.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION, LICENSE = "mathjax", "3.2.2", "Apache-2.0"
VENDOR = Path(__file__).parents[1] / "extra" / "vendor"
FONTS = "package/es5/output/chtml/fonts/woff-v2/"
KEPT = {"package/LICENSE": "LICENSE", "package/es5/tex-chtml-full.js": "tex-chtml-full.js"}


def main() -> None:
    target = VENDOR / "mathjax"
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True, capture_output=True)
        with tarfile.open(Path(folder) / f"{PACKAGE}-{VERSION}.tgz") as archive:
            for member in archive.getmembers():
                name = KEPT.get(member.name)
                if member.name.startswith(FONTS):
                    name = member.name.removeprefix("package/es5/")
                if name:
                    path = target / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(archive.extractfile(member).read())
    files = sorted(path for path in VENDOR.rglob("*") if path.is_file() and path.name != "manifest.json")
    sums = {str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    package = {"version": VERSION, "licence": LICENSE, "source": f"npm {PACKAGE}@{VERSION}", "files": sums}
    (VENDOR / "manifest.json").write_text(json.dumps({PACKAGE: package}, indent=1) + "\n")


if __name__ == "__main__":
    main()
