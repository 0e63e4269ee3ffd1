#!/usr/bin/env python3
"""The tests of what touches SQLite, with other SQLites than the system's, and built otherwise.

A SQLite comes as source: from a release of Debian, through apt with folders of its own, so that the
system's lists stay as they are; or from a folder. It is compiled with a named set of options to a
shared library that stands in for the system's: the tests that a build folder has run with it as
they are, so nothing of the project is compiled again.

  run.py --build build                              here and sid, plain and hostile
  run.py --build build --short                      what .ci/run does
  run.py --build build --sqlite bookworm trixie sid --options plain bare hostile asserts
  run.py --build build --sources DIR --options hostile      a source tree, or an amalgamation
  run.py --list                                     the sets of options

A SQLite that cannot be had is skipped by name. Old ones need tclsh to make their amalgamation.
The last line is `N passed, N failed, N skipped`; with --json an object, and the rest on stderr.
Exit status: 0 nothing failed, 1 something did, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from debian_source import Unavailable, fetch, release_here  # noqa: E402

TEST_SECONDS = 300

# What Debian turns on, as far as it can be seen from outside.
FEATURES = """ENABLE_COLUMN_METADATA ENABLE_DBSTAT_VTAB ENABLE_FTS3 ENABLE_FTS3_PARENTHESIS
    ENABLE_FTS4 ENABLE_FTS5 ENABLE_LOAD_EXTENSION ENABLE_MATH_FUNCTIONS ENABLE_PREUPDATE_HOOK
    ENABLE_RTREE ENABLE_SESSION ENABLE_STMTVTAB ENABLE_UNLOCK_NOTIFY SOUNDEX
    MAX_VARIABLE_NUMBER=250000 LIKE_DOESNT_MATCH_BLOBS""".split()
OPTIONS = {
    "plain": [*FEATURES, "SECURE_DELETE", "USE_URI", "THREADSAFE=1"],
    "bare": [],
    # Every default that a build may turn round.
    "hostile": [
        *FEATURES,
        *"""DEFAULT_LOCKING_MODE=1 OMIT_AUTOINIT DEFAULT_SYNCHRONOUS=0 DEFAULT_WAL_SYNCHRONOUS=0
        THREADSAFE=2 DEFAULT_PAGE_SIZE=1024 DEFAULT_CACHE_SIZE=10 DEFAULT_AUTOVACUUM=1
        DEFAULT_FOREIGN_KEYS=1 DEFAULT_RECURSIVE_TRIGGERS=1 DEFAULT_MMAP_SIZE=268435456
        DEFAULT_MEMSTATUS=0 TEMP_STORE=2 DQS=0 ENABLE_API_ARMOR ENABLE_MEMORY_MANAGEMENT
        ENABLE_ATOMIC_WRITE ENABLE_BATCH_ATOMIC_WRITE ENABLE_STAT4 DIRECT_OVERFLOW_READ""".split(),
    ],
    # SQLite's own assertions.
    "asserts": [*FEATURES, "DEBUG", "ENABLE_API_ARMOR"],
    "large": [*FEATURES, "DEFAULT_PAGE_SIZE=65536", "DEFAULT_AUTOVACUUM=2"],
    "unthreaded": [*FEATURES, "THREADSAFE=0"],
}
# Names of tests in the build folder.
ROOM_VFS = ["group_writer", "replicas", "vfs", "vfs_hazards", "vfs_sqlite", "write_group"]
ROOM_FACE = ["memory_storage", "replica", "simulation", "thread_signal"]
BY_OPTIONS = {
    "large": ["statements"],  # the others count pages of a size that they do not name
    "unthreaded": [],
}
ALL_TESTS = [*ROOM_VFS, *ROOM_FACE, "statements", "vfs_fuzz"]

# With OMIT_AUTOINIT the application has to begin. The tests are none that do, but for one program.
BEGIN = """#include <stdlib.h>
int sqlite3_initialize(void);
__attribute__((constructor)) static void begin(void) {
  if (getenv("SQLITE_LEFT_ALONE") == NULL) sqlite3_initialize();
}
"""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(command: list[object], where: pathlib.Path, **more: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in command],
        cwd=where,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        **more,
    )


def end_of(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


# ---- sources ---------------------------------------------------------------------------------


def amalgamate(tree: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The folder that has sqlite3.c."""
    if (tree / "sqlite3.c").exists():
        return tree
    if not (tree / "autosetup").exists() and shutil.which("tclsh") is None:
        raise Unavailable("tclsh is missing (package tcl)")
    made = folder / "made"
    made.mkdir(exist_ok=True)
    for command in (
        [tree / "configure", "--disable-tcl", "--disable-readline"],
        ["make", f"-j{os.cpu_count()}", "sqlite3.c"],
    ):
        done = run(command, made)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {end_of(done.stdout)}")
    return made


def version_of(amalgamation: pathlib.Path) -> str:
    head = (amalgamation / "sqlite3.c").read_text(encoding="utf-8", errors="replace")[:400_000]
    return re.search(r'#define SQLITE_VERSION\s+"([\d.]+)"', head).group(1)


def compile_library(
    amalgamation: pathlib.Path, options: str, level: str, folder: pathlib.Path
) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    begin = folder / "begin.c"
    begin.write_text(BEGIN, encoding="utf-8")
    command = [*os.environ.get("CC", "cc").split(), level, "-fPIC", "-shared", "-w"]
    command += ["-Wl,-soname,libsqlite3.so.0", "-o", folder / "libsqlite3.so.0", "-DHAVE_USLEEP=1"]
    command += [f"-DSQLITE_{one}" for one in OPTIONS[options]]
    command += [amalgamation / "sqlite3.c", begin, "-lm", "-ldl", "-lpthread"]
    done = run(command, folder)
    if done.returncode != 0:
        raise RuntimeError(end_of(done.stdout))
    return folder


# ---- tests -----------------------------------------------------------------------------------


class Tests:
    """Those of a build folder, as Meson would run them, with another library."""

    def __init__(self, build: pathlib.Path):
        self.build = build
        told = json.loads((build / "meson-info/intro-tests.json").read_text(encoding="utf-8"))
        self.known = {one["name"]: one for one in told if "quorlite:unit" in one["suite"]}

    def environment(self, library: pathlib.Path, more: dict[str, str]) -> dict[str, str]:
        paths = [str(library), more.get("LD_LIBRARY_PATH", ""), str(self.build / "include")]
        paths.append(os.environ.get("LD_LIBRARY_PATH", ""))
        found = {**os.environ, **more}
        found["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
        found.setdefault("QUORLITE_TEST_PROFILE", "short")
        return found

    def run(self, name: str, library: pathlib.Path) -> str:
        """@returns why it failed, or nothing"""
        test = self.known[name]
        environment = self.environment(library, test["env"])
        loaded = run(["ldd", test["cmd"][0]], self.build, env=environment).stdout
        if f"libsqlite3.so.0 => {library}/" not in loaded:
            return f"it would run with another SQLite: {loaded}"
        try:
            done = run(test["cmd"], self.build, env=environment, timeout=TEST_SECONDS)
        except subprocess.TimeoutExpired:
            return f"no end after {TEST_SECONDS} s"
        for line in done.stdout.splitlines():
            if "skipped: " in line:
                say(f"  {name}: {line.strip()}")
        return "" if done.returncode == 0 else end_of(done.stdout, 40)

    def example(self, name: str, words: list[str], library: pathlib.Path, expected: str) -> str:
        """Nobody has begun SQLite before it does, and all symbols are looked for at the start."""
        program = self.build / "docs/examples" / name
        environment = self.environment(library, {"SQLITE_LEFT_ALONE": "1", "LD_BIND_NOW": "1"})
        done = run([program, *words], self.build, env=environment, timeout=TEST_SECONDS)
        return "" if expected in done.stdout else f"{expected!r} is not in: {end_of(done.stdout)}"


def jobs_of(tests: Tests, options: str, short: bool, folder: pathlib.Path) -> dict[str, object]:
    """@returns what is to be run: a function of the library's folder by each name"""
    if options == "unthreaded":
        word = "SQLITE_THREADSAFE=0"
        return {
            "custom_consensus is refused": lambda library: tests.example(
                "custom_consensus", [str(folder)], library, word
            )
        }
    chosen = ROOM_VFS if short else BY_OPTIONS.get(options, ALL_TESTS)
    jobs: dict[str, object] = {
        name: (lambda library, name=name: tests.run(name, library)) for name in chosen
    }
    jobs["hello begins SQLite"] = lambda library: tests.example(
        "hello", [], library, "hello\nhello\nhello\n"
    )
    return jobs


# ---- all of it -------------------------------------------------------------------------------


class Matrix:
    def __init__(self, arguments: argparse.Namespace, work: pathlib.Path):
        self.arguments = arguments
        self.work = work
        self.tests = Tests(arguments.build.resolve())
        self.rows: list[dict[str, object]] = []
        self.pool = concurrent.futures.ThreadPoolExecutor(arguments.jobs)

    def add(self, sqlite: str, options: str, test: str, result: str, why: str = "") -> None:
        row = {"sqlite": sqlite, "options": options, "test": test, "result": result}
        self.rows.append({**row, "why": why} if why else row)
        if result != "passed":
            say(f"{result}: SQLite {sqlite}, {options}: {test}: {why}")

    def source(self, name: str) -> pathlib.Path:
        if self.arguments.sources is not None:
            return amalgamate(self.arguments.sources.resolve(), self.work)
        release = release_here() if name == "here" else name
        folder = self.work / release
        folder.mkdir(exist_ok=True)
        return amalgamate(fetch("sqlite3", release, folder), folder)

    def one(self, name: str, source: concurrent.futures.Future, options: str) -> None:
        began = time.monotonic()
        try:
            amalgamation = source.result()
        except Unavailable as error:
            self.add(name, options, "all", "skipped", str(error))
            return
        except Exception as error:  # noqa: BLE001: whatever it was, it is told
            self.add(name, options, "all", "failed", f"its sources: {error}")
            return
        sqlite = f"{version_of(amalgamation)} ({name})"
        folder = self.work / f"library-{name}-{options}"
        level = "-O0" if self.arguments.short else "-O1"
        try:
            library = compile_library(amalgamation, options, level, folder)
        except RuntimeError as error:
            self.add(sqlite, options, "all", "failed", f"it does not compile: {error}")
            return
        say(f"SQLite {sqlite}, {options}: compiled behind {time.monotonic() - began:.0f} s")
        jobs = jobs_of(self.tests, options, self.arguments.short, folder)
        for test, job in jobs.items():
            try:
                why = job(library)
            except Exception as error:  # noqa: BLE001: whatever it was, it is told
                why = f"{type(error).__name__}: {error}"
            self.add(sqlite, options, test, "failed" if why else "passed", why)
        say(f"SQLite {sqlite}, {options}: done behind {time.monotonic() - began:.0f} s")

    def run(self) -> None:
        names = ["sources"] if self.arguments.sources is not None else self.arguments.sqlite
        with concurrent.futures.ThreadPoolExecutor(len(names)) as fetching:
            sources = {name: fetching.submit(self.source, name) for name in names}
            waited = [
                self.pool.submit(self.one, name, sources[name], options)
                for options in self.arguments.options
                for name in names
            ]
            for one in waited:
                one.result()
        self.pool.shutdown()


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--sqlite", nargs="+", metavar="RELEASE", help="`here`, or as Debian's are")
    parser.add_argument("--sources", type=pathlib.Path, help="in place of --sqlite: a folder")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, metavar="SET")
    parser.add_argument("--short", action="store_true", help="here and sid, hostile, the VFS alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=pathlib.Path, help="a folder for sources, which then stays")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="the sets of options")
    arguments = parser.parse_args()
    arguments.sqlite = arguments.sqlite or ["here", "sid"]
    default = ["hostile"] if arguments.short else ["plain", "hostile"]
    arguments.options = arguments.options or default
    return arguments


def main() -> int:
    arguments = read_arguments()
    if arguments.list:
        for name, options in OPTIONS.items():
            print(f"{name}: {' '.join(options) or 'none'}")
        return 0
    with tempfile.TemporaryDirectory(prefix="quorlite-sqlites-") as temporary:
        work = arguments.work.resolve() if arguments.work else pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        matrix = Matrix(arguments, work)
        matrix.run()
    count = {
        result: sum(row["result"] == result for row in matrix.rows)
        for result in ("passed", "failed", "skipped")
    }
    if arguments.json:
        print(json.dumps({**count, "rows": matrix.rows}, indent=2))
    else:
        text = ", ".join(f"{count[result]} {result}" for result in ("passed", "failed"))
        print(text + (f", {count['skipped']} skipped" if count["skipped"] else ""))
    return 1 if count["failed"] or not matrix.rows else 0


if __name__ == "__main__":
    sys.exit(main())
