"""The page of benchmarks shows the stored results."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_benchmarks_is_that_of_the_stored_results():
    spec = importlib.util.spec_from_file_location("page", ROOT / "scripts" / "make_benchmark_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == (ROOT / "book" / "benchmarks.md").read_text(), (
        "run: python scripts/make_benchmark_page.py"
    )
