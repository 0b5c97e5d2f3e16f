"""Run the mutation tests: `python -m tests.mutate` counts which changes of the rule and the engine tests/domain finds.

mutmut makes the mutants and runs the tests. It works on a copy in var/mutation and skips methods with a decorator, so
the copy holds each property as a plain method and a descriptor made of it. Results: var/mutation/survivors.txt.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "var" / "mutation"
PACKAGES = ("app/domain/verdict", "app/domain/engine")
COPIED = ("app", "docs", "migrations", "tests", "pyproject.toml")
DESCRIPTORS = {"property", "lazy"}
LEAST_PERCENT = 95
# mutmut's exit codes of a mutant: a test failed (1, 3), or the tests ran into the time limit.
FAILED, TIMED_OUT = {1, 3}, {24, -24, 36, 152, 255}


def main() -> None:
    """Test all mutants, print the score and the survivors, and fail below the required score."""
    copy(FOLDER)
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "mutation", "PYTHONPATH": str(FOLDER), "PYTHONHASHSEED": "0"}
    mutmut = Path(sys.executable).with_name("mutmut")
    subprocess.run([mutmut, "run", *sys.argv[1:]], cwd=FOLDER, env=environment, check=True)
    results = {
        name: code
        for package in PACKAGES
        for name, code in outcomes(FOLDER / "mutants" / package)
        # Names of mutants can be given, to test those alone.
        if code is not None or not sys.argv[1:]
    }
    survivors = sorted(name for name, code in results.items() if code not in FAILED | TIMED_OUT)
    diffs = [
        subprocess.run([mutmut, "show", name], cwd=FOLDER, env=environment, check=True, capture_output=True).stdout
        for name in survivors
    ]
    (FOLDER / "survivors.txt").write_bytes(b"\n".join(diffs))
    sys.exit(report(results, survivors))


def copy(folder: Path) -> None:
    """Copy the code and the tests, with properties as mutmut mutates them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    for package in PACKAGES:
        for path in (folder / package).glob("*.py"):
            path.write_text(without_descriptors(path.read_text()))


def without_descriptors(code: str) -> str:
    """Return code in which each property is a plain method with a descriptor after it; other lines keep their place."""
    lines = code.splitlines()
    for owner in (node for node in ast.parse(code).body if isinstance(node, ast.ClassDef)):
        for method in reversed([node for node in owner.body if isinstance(node, ast.FunctionDef)]):
            names = [decorator.id for decorator in method.decorator_list if isinstance(decorator, ast.Name)]
            if len(method.decorator_list) == 1 and names and names[0] in DESCRIPTORS:
                lines[method.lineno - 2] = ""
                lines[method.lineno - 1] = lines[method.lineno - 1].replace(
                    f"def {method.name}(", f"def _of_{method.name}("
                )
                end = method.end_lineno or method.lineno
                # A blank line follows a method, except at the end of a file.
                lines[end : end + 1] = [f"    {method.name} = {names[0]}(_of_{method.name})"]
    return "\n".join([*lines, ""])


def outcomes(folder: Path) -> Iterator[tuple[str, int | None]]:
    """Iterate over the mutants of a package, each with its exit code."""
    for path in folder.glob("*.meta"):
        yield from json.loads(path.read_text())["exit_code_by_key"].items()


def report(results: Mapping[str, int | None], survivors: list[str]) -> int:
    """Print the score; return the exit status."""
    for package in PACKAGES:
        module = package.replace("/", ".")
        codes = Counter(
            "failed" if code in FAILED else "timed out" if code in TIMED_OUT else "survived"
            for name, code in results.items()
            if name.startswith(f"{module}.")
        )
        killed = codes["failed"] + codes["timed out"]
        write(f"{module}: {killed} of {codes.total()} mutants killed ({codes['timed out']} by the time limit)")
    for name in survivors:
        write(f"survived: {name} (exit code {results[name]})")
    percent = 100 * (len(results) - len(survivors)) / max(len(results), 1)
    write(f"Score: {percent:.1f}% of {len(results)} mutants; at least {LEAST_PERCENT}% are required.")
    write(f"The survivors as diffs: {FOLDER / 'survivors.txt'}")
    return 0 if percent >= LEAST_PERCENT else 1


def write(line: str) -> None:
    """Print a line."""
    sys.stdout.write(re.sub("\u01c1", ".", line) + "\n")


if __name__ == "__main__":
    main()
