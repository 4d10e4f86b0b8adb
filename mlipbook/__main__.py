"""``python -m mlipbook``: data sets, labels, fits; running, checking and blessing the chapters."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import mlipbook as mb

from .bookkit import PROFILES, editions, exercises, expected, frame, notebooks, perturbed


def main() -> int:
    """Parse the command line and run one command; the exit status is 1 where something was found wrong."""
    arguments = _parser().parse_args()
    try:
        return arguments.command(arguments) or 0
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m mlipbook", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable, *names: str, help: str, **options: Any) -> ArgumentParser:
        name = function.__name__.strip("_").replace("_", "-")
        sub = commands.add_parser(name, help=help, description=help, **options)
        sub.set_defaults(command=function)
        if "notebooks" in names:
            sub.add_argument("notebooks", nargs="*", help="chapters, all if none is named")
        if "profile" in names:
            sub.add_argument("--profile", choices=PROFILES, default="colab")
        if "workers" in names:
            sub.add_argument("--workers", type=int, default=2)
        return sub

    command(datasets, help="list the bundled data sets")
    sub = command(label, help="label the structures of an extxyz file with another calculator")
    sub.add_argument("structures", help="extxyz file")
    sub.add_argument("calculator", help="what makes it, as module:name (ase.calculators.emt:EMT)")
    sub.add_argument("output", help="labeled extxyz file")
    sub.add_argument("--store", help="folder that keeps finished labels, to go on from after a stop")
    sub.add_argument("--model", help="with --store: a word for what the calculator's name does not tell")
    sub = command(fit, help="fit a potential to a bundled data set")
    sub.add_argument("dataset", nargs="?", default="na-gamma")
    sub.add_argument("--cost", choices=("EF", "EFP"), default="EFP")
    sub.add_argument("--epochs", type=int, default=200)
    sub.add_argument("--members", type=int, default=5)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--output", default="potential.npz")
    sub.add_argument("--checkpoint", help="file written after every epoch, to go on from after a stop")
    sub = command(study, prefix_chars="\0", add_help=False, help="run a study of the paper, or list them")
    sub.add_argument("words", nargs="*", help="its name, its command, and the command's options")
    _chapters(command)
    return parser


def _chapters(command: Callable[..., ArgumentParser]) -> None:
    sub = command(new_chapter, help="start a chapter from the template, or from a text draft")
    sub.add_argument("notebook", help="chNN_name")
    sub.add_argument("--text", type=Path, help="draft, with cells that start with '%%%% md' or '%%%% code'")
    sub = command(run, "notebooks", "profile", help="execute chapters, in place at the stored profile")
    sub.add_argument("--live", action="store_true", help="show the chapters' own progress")
    sub = command(check, "notebooks", help="stamps, outputs, frame of the stored chapters")
    sub.add_argument("--release", action="store_true", help="refuse what is older than what it depends on")
    sub = command(bless, "notebooks", "profile", help="take recorded values as expected from now on")
    sub.add_argument("--reason", required=True)
    sub = command(
        test_notebooks, "notebooks", "profile", "workers", help="run copies of chapters and compare"
    )
    sub.add_argument("--package", type=Path, help="folder with an installed mlipbook, not this one")
    sub.add_argument("--perturbed", action="store_true", help="with another seed and sizes: it runs is all")
    sub.set_defaults(profile="smoke")
    what = "do hidden tests pass the solutions, and refuse empty and wrong answers?"
    sub = command(test_exercises, "notebooks", "profile", "workers", help=what)
    sub.set_defaults(profile="smoke")
    sub = command(edition, help="chapters as notebooks for readers, students, instructors, otter-grader")
    sub.add_argument("edition", choices=editions.EDITIONS)
    sub.add_argument("out", type=Path, help="folder")
    sub.add_argument("notebooks", nargs="*", help="chapters, all if none is named")


def datasets(arguments: Namespace) -> None:
    print("\n".join(f"{name}: {line}" for name, line in mb.datasets.available().items()))


def label(arguments: Namespace) -> int:
    import io

    import ase.io

    from mlipbook import archive, labels

    with archive.reading(arguments.structures, "a file of structures that ASE reads", "give an extxyz file"):
        structures = ase.io.read(arguments.structures, ":")
    calculator = _calculator(arguments.calculator)
    with archive.replacing(arguments.output) as file:  # a place that cannot be written costs no labels
        frames = labels.label(structures, calculator, arguments.store, model=arguments.model)
        if not frames:
            raise ValueError(f"none of {len(structures)} structures was labeled, nothing is written")
        text = io.StringIO()
        ase.io.write(text, frames, format="extxyz")
        file.write(text.getvalue().encode())
    print(f"{arguments.output}: {len(frames)} of {len(structures)} structures with labels")
    return len(frames) < len(structures)


def _calculator(given: str) -> Any:
    """What makes a calculator, from module:name; tried once."""
    from importlib import import_module

    module, _, name = given.partition(":")
    try:
        found = getattr(import_module(module), name)
        made = found if hasattr(found, "get_property") and not isinstance(found, type) else found()
    except Exception as error:  # their module may fail in any way
        raise ValueError(
            f"{given}: gives no calculator ({type(error).__name__}: {error}); name what makes one without "
            "arguments as module:name, such as ase.calculators.emt:EMT"
        ) from error
    if not hasattr(made, "get_property"):
        raise ValueError(f"{given}: makes a {type(made).__name__}, which is no calculator of ASE")
    return found


def fit(arguments: Namespace) -> None:
    from mlipbook import archive

    frames = {part: mb.datasets.load(arguments.dataset, part) for part in ("train", "valid", "test")}
    species = tuple(sorted({symbol for atoms in frames["train"] for symbol in atoms.symbols}))
    descriptor = mb.Chebyshev(species, 6.5, radial_order=16, angular_cutoff=6.5, angular_order=4)
    potential = mb.ANNPotential(descriptor, members=arguments.members, seed=arguments.seed)
    cost = mb.Cost(p_W=1.0 if arguments.cost == "EFP" else 0.0)
    options = {name: getattr(arguments, name) for name in ("epochs", "checkpoint", "seed")}
    with archive.replacing(arguments.output) as file:  # a place that cannot be written costs no training
        print(mb.fit(potential, frames["train"], frames["valid"], cost, **options).summary)
        print(mb.errors(potential, frames["test"]))
        potential.save(file.name)


def study(arguments: Namespace) -> int:
    from mlipbook.studies.command import main

    return main(arguments.words)


def new_chapter(arguments: Namespace) -> None:
    path = notebooks.path_of(arguments.notebook)
    if path.exists() and any(cell.get("outputs") for cell in notebooks.read(path)["cells"]):
        raise ValueError(f"{path} holds an executed chapter; remove it first, or take another name")
    draft = arguments.text or Path(frame.__file__).parent / "chapter.txt"
    notebooks.write(path, frame.from_text(draft.read_text()))
    print(f"wrote {path}")


def run(arguments: Namespace) -> None:
    for path in notebooks.paths(arguments.notebooks):
        executed, seconds = notebooks.run(path, arguments.profile, arguments.live)
        if arguments.profile == notebooks.own_profile(path):
            executed.replace(path)
            executed = path
        print(f"{executed}: {seconds:.1f} s")


def check(arguments: Namespace) -> int:
    paths = notebooks.paths(arguments.notebooks)
    found = [what for path in paths for what in notebooks.problems(path)]
    found += [what for path in paths if path not in notebooks.PAGES for what in frame.problems(path)]
    for path in paths if arguments.release else []:
        found += [f"{path.name}: {name} changed since it was run" for name in notebooks.changed_since(path)]
    print("\n".join(found) or f"{len(paths)} chapters are as they should be")
    return len(found) > 0


def bless(arguments: Namespace) -> None:
    for path in notebooks.paths(arguments.notebooks):
        print(f"wrote {expected.bless(path, arguments.profile, arguments.reason)}")


def test_notebooks(arguments: Namespace) -> int:
    paths = notebooks.paths(arguments.notebooks)
    jobs = [(path, arguments.profile, arguments.package) for path in paths]
    test, well = _test_notebook, f"ran at {arguments.profile}, all values as expected"
    if arguments.perturbed:
        test, well = perturbed.failures, "ran with another seed and other sizes"
    with ProcessPoolExecutor(arguments.workers) as pool:
        failures = [line for lines in pool.map(test, *zip(*jobs, strict=True)) for line in lines]
    print("\n".join(failures) or f"{len(paths)} chapters {well}")
    return len(failures) > 0


def _test_notebook(path: Path, profile: str, package: Path | None) -> list[str]:
    try:
        executed, seconds = notebooks.run(path, profile, package=package)
    except RuntimeError as error:
        return [f"{path.stem} ({profile}): {error}"]
    print(f"{path.stem}: {seconds:.1f} s", flush=True)
    return expected.compare(executed, profile)


def test_exercises(arguments: Namespace) -> int:
    paths = notebooks.paths(arguments.notebooks)
    with ProcessPoolExecutor(arguments.workers) as pool:
        judged = pool.map(exercises.problems, paths, repeat(arguments.profile))
        found = [what for chapter in judged for what in chapter]
    print("\n".join(found) or f"{len(paths)} chapters: hidden tests pass the solutions and nothing else")
    return len(found) > 0


def edition(arguments: Namespace) -> None:
    made = editions.write(arguments.edition, arguments.out, arguments.notebooks)
    print(f"{arguments.edition}: {len(made)} notebooks in {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
