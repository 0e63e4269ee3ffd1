"""Runs clang-tidy 14 with .clang-tidy over every header and body, in both modes: the units of the
compiled library; header-only one unit that includes every header, and some that give the templates
their arguments. Findings outside include/ are left alone. Takes two minutes on two processors.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

VERSION = "14"
COMPILED = "-DQUORLITE_SEPARATE_COMPILATION"
# They give the templates their arguments.
HEADER_ONLY = {
    "tests/support/every_model.cpp": "-DQUORLITE_TEST_LIBRAFT",
    "tests/unit/storage_conformance.cpp": "-Itests",
    "tests/unit/test_raft_conformance.cpp": "-Itests",
}
EVERY_HEADER = "every header"
FINDING = re.compile(r"^(\S+?):\d+:\d+: (?:warning|error): .*\[(.+)\]$")


def linter() -> str | None:
    for name in (f"clang-tidy-{VERSION}", "clang-tidy"):
        path = shutil.which(name)
        if path is None:
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        if re.search(rf"version {VERSION}\.", said):
            return path
    return None


def write_every_header(root: pathlib.Path, into: pathlib.Path) -> None:
    """A unit of them all, but for those that hold the bodies of the compiled library."""
    headers = sorted(p.relative_to(root / "include") for p in (root / "include").rglob("*.hpp"))
    lines = [f'#include "{p.as_posix()}"' for p in headers if not p.name.startswith("src")]
    into.write_text("\n".join(lines) + "\n", encoding="utf-8")


def findings(program: str, root: pathlib.Path, unit: str, mode: str) -> set[str]:
    """The lines that clang-tidy has to say about one unit."""
    if unit == EVERY_HEADER:
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "every_header.cpp"
            write_every_header(root, source)
            return findings(program, root, str(source), mode)
    command = [program, "--quiet", "--config-file=.clang-tidy", unit]
    command += ["--", "-std=c++20", "-Iinclude", mode]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    found = set()
    for line in done.stdout.splitlines():
        match = FINDING.match(line)
        if match is None:
            continue
        path = os.path.relpath(root / match.group(1), root)
        if path.startswith("include/") or match.group(2).startswith("clang-diagnostic-error"):
            found.add(path + line[len(match.group(1)) :].replace(",-warnings-as-errors]", "]"))
    if done.returncode < 0 or (done.returncode != 0 and not done.stdout.strip()):
        said = done.stderr.strip().split("\n")[0]
        found.add(f"{unit}: clang-tidy ended with {done.returncode}: {said}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent
    )
    parser.add_argument("units", nargs="*", help="only these of them; all if none is named")
    options = parser.parse_args()
    root = options.root.resolve()

    program = linter()
    if program is None:
        print(f"needs clang-tidy {VERSION} (package clang-tidy-{VERSION})")
        return 1
    compiled = sorted(p.relative_to(root).as_posix() for p in (root / "include").rglob("*.cpp"))
    # Those that take longest come first.
    modes = HEADER_ONLY | {EVERY_HEADER: "-Itests"} | {unit: COMPILED for unit in compiled}
    if not modes.keys() >= set(options.units):
        print("there are only these units: " + ", ".join(modes))
        return 1
    units = options.units or list(modes)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda unit: findings(program, root, unit, modes[unit]), units)
        every = sorted(set().union(*found))
    for line in every:
        print(line)
    print(f"{len(units)} units, {len(every)} findings, {time.monotonic() - began:.0f} s")
    return 1 if every else 0


if __name__ == "__main__":
    sys.exit(main())
