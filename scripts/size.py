"""Lines of the package by part, beside the budget in .ci/budget.toml; folders, modules, functions too large.

python scripts/size.py     exit status 1 if a part is over its budget, or something is too large
"""

import ast
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES, ROOT_MODULES, MODULE_LINES, FUNCTION_LINES = 15, 16, 260, 48


def main() -> int:
    package = ROOT / "mlipbook"
    budget = tomllib.loads((ROOT / ".ci" / "budget.toml").read_text())
    lines: Counter[str] = Counter()
    modules: Counter[Path] = Counter()
    found = []
    for path in sorted(package.rglob("*.py")):
        name, text = path.relative_to(package), path.read_text()
        count = text.count("\n")
        lines[name.parts[0] if name.parts[0] in budget else "physics"] += count
        modules[name.parent] += not name.stem.startswith("__")
        found += [f"{name}: {count} lines of {MODULE_LINES}"] if count > MODULE_LINES else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LINES:
                    found.append(f"{name}: {node.name} has {length} lines of {FUNCTION_LINES}")
    for folder, count in modules.items():
        allowed = MODULES if folder.parts else ROOT_MODULES
        found += [f"{folder}: {count} modules of {allowed}"] if count > allowed else []
    for part, allowed in budget.items():
        print(f"{part:8s} {lines[part]:6,d} lines of {allowed:6,d}")
        found += [f"{part} is over its budget: shorten, or say why in .ci/budget.toml"] * (
            lines[part] > allowed
        )
    print(f"{'all':8s} {lines.total():6,d} lines of {sum(budget.values()):6,d}")
    print("\n".join(found))
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main())
