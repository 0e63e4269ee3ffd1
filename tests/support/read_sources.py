"""Reads every source of a configured build folder with its compiler and its flags, and makes
nothing of it: what is warned of, or does not compile, fails. Sources that one of the folders has
compiled already are left out. The last line is `N passed, N failed`.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys


def object_of(entry: dict, folder: pathlib.Path) -> pathlib.Path:
    """Where a folder with the same targets has what is made of this source."""
    return folder / entry["output"]


def reads(entry: dict) -> tuple[bool, str]:
    """Whether this source is clean, and what the compiler says of it."""
    words = shlex.split(entry["command"])
    kept = []
    rest = iter(words)
    for word in rest:
        if word in ("-o", "-MF", "-MQ", "-MT"):
            next(rest)
        elif word not in ("-c", "-MD", "-MMD"):
            kept.append(word)
    done = subprocess.run(
        [*kept, "-fsyntax-only"],
        cwd=entry["directory"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode == 0, done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="one that `meson setup` has made")
    parser.add_argument(
        "--but-for",
        type=pathlib.Path,
        nargs="*",
        default=[],
        help="other build folders, whose objects stand for their sources",
    )
    options = parser.parse_args()
    every = json.loads((options.folder / "compile_commands.json").read_text(encoding="utf-8"))
    compiled = [options.folder, *options.but_for]
    chosen = [e for e in every if not any(object_of(e, folder).exists() for folder in compiled)]
    passed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for entry, (clean, said) in zip(chosen, pool.map(reads, chosen)):
            passed += clean
            if said or not clean:
                print(f"{'read' if clean else 'not clean'}: {entry['file']}\n{said}", end="")
    print(f"{len(every) - len(chosen)} sources were compiled elsewhere")
    print(f"{passed} passed, {len(chosen) - passed} failed")
    return 0 if chosen and passed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
