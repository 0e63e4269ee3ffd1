#!/usr/bin/env python3
"""Measures what including and compiling the library costs: seconds and memory of the compiler.

  floor     the headers of the standard library and of tl::expected that we include, and no others
  parse     #include <quorlite/quorlite.hpp>
  libraft   a program with a replica over libraft and files, that opens a database
  own raft  the same over an engine of the user's own, in memory
  headers   each public header alone: all but those in include/quorlite/detail/

Floor, parse and headers are read only (-fsyntax-only), the two programs are compiled (-O2 -c).
Their sources are in benchmarks/compile_cost/. Everything but the floor is measured with the bodies
in the headers and once more without (-DQUORLITE_SEPARATE_COMPILATION, for those who link the
compiled part), in a tree that knows the difference.

Seconds are those of the processors, user and system, of the best round; the rounds of all that is
measured take turns. On a busy machine they grow: compare with the floor. MiB is the peak of the
compiler's largest process.

With --total nothing is compiled: the log of a build folder tells what its targets took, by kind.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

OWN_ROOT = pathlib.Path(__file__).resolve().parent.parent
UNITS = "benchmarks/compile_cost"
SEPARATE = "QUORLITE_SEPARATE_COMPILATION"

READ = ["-fsyntax-only"]
COMPILE = ["-O2", "-c", "-o", os.devnull]


class Failure(Exception):
    """What kept the program from measuring."""


# ---- one run of a compiler -----------------------------------------------------------


@dataclasses.dataclass
class Cost:
    seconds: float
    mib: float


def run(command: list[str]) -> Cost:
    """@throws Failure, with the first error that the compiler told"""
    with tempfile.TemporaryFile() as said:
        program = shutil.which(command[0])
        if program is None:
            raise Failure(f"{command[0]}: there is no such program")
        actions = [(os.POSIX_SPAWN_DUP2, said.fileno(), 2)]
        child = os.posix_spawn(program, command, os.environ, file_actions=actions)
        # Of the child and of those that it waited for, as g++ does for cc1plus: times are summed,
        # and of the peaks this is the highest.
        _, status, usage = os.wait4(child, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            said.seek(0)
            lines = said.read().decode(errors="replace").splitlines()
            first = next((line for line in lines if "error" in line), "no error was told")
            raise Failure(first)
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@dataclasses.dataclass
class Measured:
    """The best of several runs."""

    command: list[str]
    cost: Cost | None = None
    failed: str | None = None

    def run_once(self) -> None:
        if self.failed is not None:
            return
        try:
            now = run(self.command)
        except Failure as error:
            self.failed = str(error)
            return
        before = self.cost or now
        self.cost = Cost(min(before.seconds, now.seconds), max(before.mib, now.mib))

    def row(self) -> dict:
        if self.failed is not None:
            return {"failed": self.failed}
        return {"seconds": round(self.cost.seconds, 3), "mib": round(self.cost.mib, 1)}


# ---- what is compiled ----------------------------------------------------------------


@dataclasses.dataclass
class Probe:
    name: str
    source: pathlib.Path
    flags: list[str]
    both_ways: bool = True


class Tree:
    def __init__(self, root: pathlib.Path, units: pathlib.Path | None):
        self.include = root / "include"
        if not (self.include / "quorlite").is_dir():
            raise Failure(f"{root} has no include/quorlite")
        own = root / UNITS
        self.units = units or (own if own.is_dir() else OWN_ROOT / UNITS)

    def knows_separate_compilation(self) -> bool:
        files = (f for f in self.include.rglob("*") if f.suffix in {".hpp", ".ipp"})
        return any(SEPARATE in f.read_text(encoding="utf-8") for f in files)

    def public_headers(self) -> list[str]:
        """As they are included."""
        headers = (f.relative_to(self.include) for f in self.include.rglob("*.hpp"))
        return sorted(one.as_posix() for one in headers if one.parts[:2] != ("quorlite", "detail"))


def include_only(place: pathlib.Path, header: str) -> pathlib.Path:
    source = place / (re.sub(r"\W", "_", header) + ".cpp")
    source.write_text(f"#include <{header}>\n", encoding="utf-8")
    return source


def unit_probes(tree: Tree, place: pathlib.Path) -> list[Probe]:
    whole = include_only(place, "quorlite/quorlite.hpp")
    return [
        Probe("floor", tree.units / "floor.cpp", READ, both_ways=False),
        Probe("parse", whole, READ),
        Probe("libraft", tree.units / "over_libraft.cpp", COMPILE),
        Probe("own raft", tree.units / "over_own_raft.cpp", COMPILE),
    ]


def header_probes(tree: Tree, place: pathlib.Path) -> list[Probe]:
    return [Probe(h, include_only(place, h), READ) for h in tree.public_headers()]


def measure_probes(
    probes: list[Probe], rounds: int, compiler: str, tree: Tree, ways: dict[str, list[str]]
) -> list[dict]:
    """They take turns: a machine that is busy for a while slows all of them."""
    table: dict[str, dict[str, Measured]] = {}
    for one in probes:
        table[one.name] = {
            way: Measured(
                [compiler, "-std=c++20", *one.flags, *defined, f"-I{tree.include}", str(one.source)]
            )
            for way, defined in ways.items()
            if one.both_ways or way == "headers_only"
        }
    for _ in range(rounds):
        for cells in table.values():
            for cell in cells.values():
                cell.run_once()
    return [
        {"name": name} | {way: cell.row() for way, cell in cells.items()}
        for name, cells in table.items()
    ]


def measure(options: argparse.Namespace, place: pathlib.Path) -> dict:
    tree = Tree(options.source, options.units)
    known = tree.knows_separate_compilation()
    ways = {"headers_only": []} | ({"separate": [f"-D{SEPARATE}"]} if known else {})
    units = unit_probes(tree, place)
    headers = [] if options.no_headers else header_probes(tree, place)
    compilers = {}
    for compiler in options.compiler or ["g++"]:
        compilers[compiler] = {
            "units": measure_probes(units, options.rounds, compiler, tree, ways),
            "headers": measure_probes(headers, options.header_rounds, compiler, tree, ways),
        }
    return {
        "program": "compile_cost",
        "knows_separate_compilation": known,
        "rounds": options.rounds,
        "header_rounds": options.header_rounds,
        "compilers": compilers,
    }


# ---- where a build's time went -------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Job:
    milliseconds: int
    output: str


def jobs_of(log: pathlib.Path) -> list[Job]:
    """The last run of each job: those that have several outputs have several lines."""
    last: dict[str, tuple] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) == 5:  # start, end, time of the output, output, hash of the command
            start, end, _, output, command = fields
            last[output] = (int(start), int(end), command)
    first_outputs = {job: output for output, job in sorted(last.items(), reverse=True)}
    return [Job(job[1] - job[0], output) for job, output in first_outputs.items()]


def target_of(output: str) -> str:
    """Of an object file and of what is linked: the same name."""
    return re.sub(r"\.p/.*$", "", output)


def kinds_of(jobs: list[Job]) -> dict[str, str]:
    """By target. Meson names the object of tests/unit/x.cpp tests/x.p/unit_x.cpp.o."""
    kinds = {}
    for job in jobs:
        target = target_of(job.output)
        if re.search(r"(^|/)(lib)?headers?(_\w+)?(\.a)?$", target):
            kinds[target] = "header self tests"
        elif re.match(r"tests/[^/]+\.p/unit_", job.output):
            kinds[target] = "unit tests"
        elif re.search(r"(^|/)libquorlite[^/]*$", target):
            kinds[target] = "library"
        elif match := re.match(r"(tests|docs/examples|benchmarks|subprojects)/", target):
            names = {"tests": "other tests", "docs/examples": "examples"}
            kinds.setdefault(target, names.get(match.group(1), match.group(1)))
        else:
            kinds[target] = "others"
    return kinds


def total(build: pathlib.Path) -> dict:
    jobs = jobs_of(build / ".ninja_log")
    kinds = kinds_of(jobs)
    seconds: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    for job in jobs:
        kind = kinds[target_of(job.output)]
        seconds[kind] += job.milliseconds / 1000
        counts[kind] += 1
    slowest = sorted(jobs, key=lambda job: -job.milliseconds)[:10]
    return {
        "program": "compile_cost",
        "kinds": {
            kind: {"jobs": counts[kind], "seconds": round(spent, 1)}
            for kind, spent in seconds.most_common()
        },
        "seconds": round(sum(seconds.values()), 1),
        "slowest": [{"output": j.output, "seconds": j.milliseconds / 1000} for j in slowest],
    }


# ---- text ----------------------------------------------------------------------------


def print_rows(rows: list[dict], ways: list[str]) -> None:
    width = max(len(row["name"]) for row in rows)
    titles = "".join(f" {way.replace('_', ' '):>21}" for way in ways)
    print(f"  {'':{width}}{titles}")
    for row in rows:
        cells = ""
        for way in ways:
            cost = row.get(way)
            if cost is None:
                cells += f" {'':21}"
            elif "failed" in cost:
                cells += f" {'failed':>21}"
            else:
                cells += f" {cost['seconds']:9.2f} s {cost['mib']:5.0f} MiB"
        print(f"  {row['name']:{width}}{cells}".rstrip())
    for row in rows:
        for way in ways:
            if "failed" in row.get(way, {}):
                print(f"  {row['name']}: {row[way]['failed']}")


def print_measured(measured: dict) -> None:
    ways = ["headers_only"] + (["separate"] if measured["knows_separate_compilation"] else [])
    for compiler, tables in measured["compilers"].items():
        print(f"{compiler}, best of {measured['rounds']}")
        print_rows(tables["units"], ways)
        if headers := tables["headers"]:
            for way in ways:
                costs = [row[way] for row in headers if "failed" not in row[way]]
                spent = sum(cost["seconds"] for cost in costs)
                print(f"{len(costs)} public headers, each alone, {way}: {spent:.1f} s together")
            print_rows(headers, ways)
        print()
    if not measured["knows_separate_compilation"]:
        print(f"This tree does not know {SEPARATE}: with it the figures would be the same.")


def print_total(counted: dict) -> None:
    for kind, row in counted["kinds"].items():
        share = 100 * row["seconds"] / counted["seconds"] if counted["seconds"] else 0
        print(f"{kind:18} {row['jobs']:5} jobs {row['seconds']:9.1f} s {share:5.1f} %")
    print(f"{'together':18} {'':10} {counted['seconds']:9.1f} s")
    print("\nthe slowest:")
    for row in counted["slowest"]:
        print(f"{row['seconds']:8.1f} s  {row['output']}")


# ---- all of it -----------------------------------------------------------------------


def folder(text: str) -> pathlib.Path:
    return pathlib.Path(text).resolve()


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one object instead of text")
    parser.add_argument(
        "--compiler", action="append", help="may be given more than once (default: g++)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each unit (default: 3)")
    parser.add_argument(
        "--header-rounds", type=int, default=1, help="of each public header (default: 1)"
    )
    parser.add_argument("--no-headers", action="store_true", help="not each public header alone")
    parser.add_argument(
        "--source",
        type=folder,
        default=OWN_ROOT,
        metavar="ROOT",
        help=f"the tree to measure, with its own {UNITS} if it has that (default: this one)",
    )
    parser.add_argument(
        "--units", type=folder, metavar="FOLDER", help=f"in the place of ROOT/{UNITS}"
    )
    parser.add_argument(
        "--total",
        type=folder,
        metavar="BUILD",
        help="compile nothing: tell where the time of this build folder went",
    )
    return parser.parse_args(arguments)


def main() -> int:
    options = options_of(sys.argv[1:])
    try:
        if options.total is not None:
            found, show = total(options.total), print_total
        else:
            with tempfile.TemporaryDirectory(prefix="quorlite-compile-cost-") as place:
                found, show = measure(options, pathlib.Path(place)), print_measured
    except (Failure, OSError) as error:
        print(f"compile_cost.py: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
