"""Is every C++ source laid out as .clang-format says? Needs clang-format 14, as Debian 12 has it:
other versions differ in small things. `--fix` lays out what is not.
"""

import argparse
import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys

import tidy

VERSION = "14"
SKIPPED = 77  # what Meson takes as "skipped"
PROCESSES = 2


def formatter() -> str | None:
    """The program, if it is there in the version that settles the layout."""
    for name in (f"clang-format-{VERSION}", "clang-format"):
        path = shutil.which(name)
        if path is None:
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        if re.search(rf"version {VERSION}\.", said):
            return path
    return None


def run(command: list[str], root: pathlib.Path, files: list[str]) -> tuple[int, str]:
    done = subprocess.run([*command, *files], cwd=root, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent
    )
    parser.add_argument("--fix", action="store_true", help="write the files that differ")
    parser.add_argument(
        "--required", action="store_true", help="fail where clang-format 14 is missing"
    )
    options = parser.parse_args()

    program = formatter()
    if program is None:
        print(f"skipped: needs clang-format {VERSION} (package clang-format-{VERSION})")
        return 1 if options.required else SKIPPED
    files = [f for f in tidy.source_files(options.root) if f.endswith(tuple(tidy.CPP_SUFFIXES))]
    if len(files) < 100:
        print(f"only {len(files)} sources below {options.root}: is it the top of the tree?")
        return 1
    command = [program, "-i"] if options.fix else [program, "--dry-run", "-Werror"]
    shares = [files[n::PROCESSES] for n in range(PROCESSES)]
    with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
        results = list(pool.map(lambda share: run(command, options.root, share), shares))
    for _, output in results:
        sys.stdout.write(output)
    failed = any(status != 0 for status, _ in results)
    remedy = "; python3 tests/formatted.py --fix lays them out"
    print(f"{len(files)} files{remedy if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
