#!/usr/bin/env python3
"""Would it be noticed? Puts one-line bugs into a copy of the tree, and looks who catches them.

The patches beside this file are applied together to a copy, which is compiled once; the variable
QUORLITE_MUTANT of the environment switches one of them on. With it the simulator runs seed after
seed until one fails, and so do the unit tests that the patch names. First of all everything must
pass without a mutant. The stand-ins of cluster_stand_ins.py are bugs of the same kind, for the
cluster test.

A run that does not end is stopped, and counts as found: the checker is then "liveness (a hang)".

  run.py --check              do all patches apply, together, and has each its row in the table?
  run.py --list               the mutants
  run.py --sample 8           eight of them, chosen by the day
  run.py --mutant NAME NAME   these
  run.py --write-table        all; the results go into docs/design/mutants.md

Exit status: 0 all were caught, 1 some were not, 2 nothing can be said.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import time

import catalogue
import cluster_stand_ins

ROOT = catalogue.HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import tidy  # noqa: E402: it is beside this folder

TABLE = "docs/design/mutants.md"
BLOCK = 25  # seeds in one process
BLOCK_SECONDS = 30  # of its own time: it takes two
SEED_SECONDS = 15
TEST_SECONDS = 120
PATIENCE = 8  # so many times longer, on a machine that is busy
CONTROL_SEEDS = 100
STAND_IN = "stand_in_"
HANGS = "liveness (a hang)"

VERDICT = re.compile(r"^seed (\d+) FAILED\s+([^:]+): (.*)$")
CASE = re.compile(r'<TestCase name="([^"]*)"|<OverallResult success="(\w+)"')


# ---- the copy ------------------------------------------------------------------------


class Copy:
    """The tree with all mutants in it, and what is built of it."""

    def __init__(self, folder: pathlib.Path, jobs: int):
        self.tree = folder / "tree"
        self.out = folder / "out"
        self.jobs = jobs

    def make(self, mutants: list[catalogue.Mutant]) -> None:
        changed = catalogue.mutated(ROOT, mutants)
        for name in tidy.source_files(ROOT):
            content = (ROOT / name).read_bytes()
            if name in changed:
                content = changed[name].encode("utf-8")
            to = self.tree / name
            if not to.is_file() or to.read_bytes() != content:  # what stays is not built again
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(content)
        if not (self.out / "build.ninja").is_file():
            switch = self.tree / "tests" / "mutants" / "mutant.hpp"
            self.run(
                ["meson", "setup", str(self.out), str(self.tree), "-Doptimization=1"]
                + ["-Ddebug=false", "-Dtests=enabled", "-Dexamples=disabled"]
                + [f"-Dcpp_args=['-include','{switch}']"]
            )

    def build(self, programs: set[str]) -> None:
        targets = [f"tests/{name}" for name in sorted(programs)]
        self.run(["ninja", "-C", str(self.out), f"-j{self.jobs}", *targets])

    def program(self, name: str) -> str:
        return str(self.out / "tests" / name)

    def environment(self, mutant: str) -> dict[str, str]:
        return {
            **os.environ,
            "QUORLITE_MUTANT": mutant,
            "QUORLITE_TEST_PROFILE": "short",
            "QUORLITE_TEST_DATA": str(self.tree / "tests" / "data"),
        }

    @staticmethod
    def run(command: list[str]) -> None:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            print(done.stdout[-4000:], file=sys.stderr)
            sys.exit(2)


def run_limited(
    command: list[str], environment: dict[str, str], limit: int
) -> tuple[int | None, str]:
    """@param limit seconds of its own time; it may wait for the machine for some times longer
    @returns its status and output, or None for the status if it did not end in time"""

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))

    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        preexec_fn=bound,
    ) as process:
        try:
            output, _ = process.communicate(timeout=PATIENCE * limit)
            hangs = process.returncode == -signal.SIGXCPU
            return None if hangs else process.returncode, output.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            return None, output.decode("utf-8", "replace")


# ---- the simulator -------------------------------------------------------------------


def last_words(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "it said nothing"


def verdict_of(status: int | None, output: str) -> dict | None:
    """Who found something in some seeds, and in which; None if all is well."""
    for line in output.splitlines():
        if found := VERDICT.match(line):
            return {"seed": int(found[1]), "checker": found[2], "says": found[3][:200]}
    if status == 0:
        return None
    checker = HANGS if status is None else "assertion" if status == -6 else f"status {status}"
    return {"seed": None, "checker": checker, "says": last_words(output)}


def simulate(copy: Copy, mutant: str, most: int, options: list[str]) -> dict:
    """Seed after seed, until one fails. An end by itself or a hang is traced to its seed."""
    environment = copy.environment(mutant)
    program = copy.program("simulate")
    common = ["--profile", "lite", "--twice", "0", *options]
    for first in range(1, most + 1, BLOCK):
        last = min(first + BLOCK - 1, most)
        command = [program, "--seeds", f"{first}-{last}", *common]
        found = verdict_of(*run_limited(command, environment, BLOCK_SECONDS))
        if found is None:
            continue
        if found["seed"] is not None:
            return {"seeds": found["seed"], **found}
        for seed in range(first, last + 1):
            command = [program, "--seed", str(seed), *common]
            alone = verdict_of(*run_limited(command, environment, SEED_SECONDS))
            if alone is not None:
                return {"seeds": seed, **alone, "seed": seed}
        return {"seeds": last, **found}  # only in company of others
    return {"seeds": most, "seed": None, "checker": "", "says": ""}


# ---- tests ---------------------------------------------------------------------------


def run_test(copy: Copy, program: str, mutant: str) -> str:
    """@returns what failed, or nothing"""
    command = [copy.program("unit_" + program), "-r", "xml"]
    status, output = run_limited(command, copy.environment(mutant), TEST_SECONDS)
    if status == 0:
        return ""
    case = ""
    for found in CASE.finditer(output):
        if found[1] is not None:
            case = found[1].replace("&amp;", "&").replace("&quot;", '"').replace("&lt;", "<")
        elif found[2] == "false":
            return f"{program}: {case}"
    end = "does not end" if status is None else "ends by itself"
    return f"{program}: {case} ({end})"


def run_tests(copy: Copy, mutant: catalogue.Mutant) -> list[str]:
    return [found for each in mutant.tests if (found := run_test(copy, each, mutant.name))]


def run_stand_in(name: str) -> dict:
    bug = name.removeprefix(STAND_IN)
    command = [sys.executable, str(catalogue.HERE / "cluster_stand_ins.py"), bug]
    status, output = run_limited(command, dict(os.environ), TEST_SECONDS)
    says = last_words(output)
    return {"mutant": name, "tests": [f"cluster_test.py: {says}"] if status == 0 else []}


# ---- all of it -----------------------------------------------------------------------


def control(copy: Copy, programs: set[str], only: str) -> None:
    """Without a mutant nothing may be found."""
    faults = []
    if only != "tests":
        for options in ([], *catalogue.SIMULATE.values()):
            found = simulate(copy, "", CONTROL_SEEDS, options)
            if found["checker"]:
                how = " ".join(["simulate", *options])
                faults.append(f"{how}, seed {found['seed']}: {found['checker']}: {found['says']}")
    if only != "simulate":
        faults += [said for name in sorted(programs) if (said := run_test(copy, name, ""))]
    if faults:
        print("without any mutant this fails already:", *faults, sep="\n  ", file=sys.stderr)
        sys.exit(2)


def examine(copy: Copy, mutant: catalogue.Mutant, only: str, seeds: int) -> dict:
    result: dict = {"mutant": mutant.name}
    began = time.monotonic()
    if only != "simulate":
        result["tests"] = run_tests(copy, mutant)
    if only != "tests" and mutant.in_reach:
        result["simulate"] = simulate(copy, mutant.name, seeds, mutant.simulate)
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


def is_caught(result: dict) -> bool:
    return bool(result.get("tests")) or bool(result.get("simulate", {}).get("checker"))


def told(result: dict) -> str:
    parts = []
    if seen := result.get("simulate"):
        by = f"{seen['checker']}, seed {seen['seed']}" if seen["checker"] else "not"
        parts.append(f"simulate: {by if seen['checker'] else by + f' in {seen_seeds(seen)}'}")
    if "tests" in result:
        parts.append("tests: " + ("; ".join(result["tests"]) or "none"))
    return f"{'caught' if is_caught(result) else 'MISSED'}  {result['mutant']}  {' | '.join(parts)}"


def seen_seeds(seen: dict) -> str:
    return f"{seen['seeds']} seeds"


def choose(arguments: argparse.Namespace, mutants: list[catalogue.Mutant]) -> list[str]:
    names = [one.name for one in mutants]
    names += [STAND_IN + bug for bug in cluster_stand_ins.BUGS if bug != "none"]
    if arguments.mutant:
        unknown = set(arguments.mutant) - set(names)
        if unknown:
            sys.exit(f"no such mutant: {', '.join(sorted(unknown))}")
        return arguments.mutant
    if arguments.room:
        return [one.name for one in mutants if one.room in arguments.room]
    if arguments.sample:
        by = arguments.sample_seed
        by = datetime.date.today().toordinal() if by is None else by
        chosen = random.Random(by).sample([one.name for one in mutants], arguments.sample)
        print(f"chosen by {by}: {' '.join(chosen)}", flush=True)
        return chosen
    return names


def run_all(arguments: argparse.Namespace) -> list[dict]:
    mutants = catalogue.read_all()
    by_name = {one.name: one for one in mutants}
    names = choose(arguments, mutants)
    chosen = [by_name[name] for name in names if name in by_name]
    copy = Copy(arguments.build.resolve(), arguments.jobs)
    if chosen:
        tests = {test for one in chosen for test in one.tests}
        tests = tests if arguments.only != "simulate" else set()
        programs = {"unit_" + test for test in tests}
        programs |= {"simulate"} if arguments.only != "tests" else set()
        copy.make(mutants)
        copy.build(programs)
        control(copy, tests, arguments.only)
    results = []
    for name in names:
        stand_in = name not in by_name
        if stand_in and arguments.only == "simulate":
            continue
        result = (
            run_stand_in(name)
            if stand_in
            else examine(copy, by_name[name], arguments.only, arguments.seeds)
        )
        results.append(result)
        print(told(result), file=sys.stderr if arguments.json else sys.stdout, flush=True)
    return results


# ---- the table -----------------------------------------------------------------------

HEAD = "| mutant | room | what it breaks | simulator: checker | seeds | tests |"
RULE = "|---|---|---|---|---|---|"


def old_rows(page: str) -> dict[str, list[str]]:
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and (name := re.match(r"\[(\w+)\]", cells[0])):
            rows[name[1]] = cells
    return rows


def row_of(one: catalogue.Mutant, old: list[str] | None, result: dict | None) -> list[str]:
    checker, seeds, tests = (old or ["", "", "", "not run", "", "not run"])[3:]
    if not one.in_reach:
        checker, seeds = "out of reach", ""
    result = result or {}
    if seen := result.get("simulate"):
        checker, seeds = seen["checker"] or "**not caught**", str(seen["seeds"])
        seeds += f", `{' '.join(one.simulate)}`" if one.simulate else ""
    if "tests" in result:
        tests = "<br>".join(result["tests"]).replace("|", "/") or "**none**"
    link = f"[{one.name}](../../tests/mutants/{one.name}.patch)"
    return [link, one.room, one.breaks, checker, seeds, tests]


def check_table(page: str, mutants: list[catalogue.Mutant]) -> list[str]:
    """What the table lacks, or says that no patch does, a line each."""
    rows = old_rows(page)
    faults = []
    for one in mutants:
        cells = rows.pop(one.name, None)
        if cells is None:
            command = f"run.py --mutant {one.name} --write-table"
            faults.append(f"{one.name}: has no row in {TABLE}: {command}")
        elif cells[1:3] != [one.room, one.breaks]:
            faults.append(f"{one.name}: its row in {TABLE} says another room, or what it breaks")
        elif "not run" in cells[3:]:
            faults.append(f"{one.name}: {TABLE} does not say who catches it; run.py can")
    return faults + [f"{name}: a row in {TABLE} without a patch" for name in rows]


def write_table(results: list[dict]) -> None:
    path = ROOT / TABLE
    page = path.read_text(encoding="utf-8")
    old = old_rows(page)
    new = {result["mutant"]: result for result in results}
    rows = [row_of(one, old.get(one.name), new.get(one.name)) for one in catalogue.read_all()]
    rows.sort(key=lambda row: (list(catalogue.ROOMS).index(row[1]), row[0]))
    lines = [HEAD, RULE, *("| " + " | ".join(row) + " |" for row in rows)]
    start = page.index(HEAD)
    end = page.index("\n\n", start)
    path.write_text(page[:start] + "\n".join(lines) + page[end:], encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only look whether all fit")
    parser.add_argument("--list", action="store_true", help="only name them")
    parser.add_argument("--mutant", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--room", nargs="+", default=[], choices=list(catalogue.ROOMS))
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="so many, by the day")
    parser.add_argument("--sample-seed", type=int, metavar="N", help="by this, not by the day")
    parser.add_argument("--only", choices=["simulate", "tests"], default="")
    parser.add_argument("--seeds", type=int, default=5000, help="at most, of the profile lite")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build-mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="the results as one JSON array")
    parser.add_argument("--write-table", action="store_true", help=f"into {TABLE}")
    arguments = parser.parse_args()

    if arguments.check:
        faults = catalogue.check(ROOT)
        if not faults:  # else the catalogue may not be readable
            page = (ROOT / TABLE).read_text(encoding="utf-8")
            faults = check_table(page, catalogue.read_all())
        print(*faults, f"{len(catalogue.read_all())} mutants", sep="\n")
        return 1 if faults else 0
    if arguments.list:
        for one in catalogue.read_all():
            print(f"{one.name:30} {one.room:13} {one.breaks}")
        for bug, words in cluster_stand_ins.BUGS.items():
            if bug != "none":
                print(f"{STAND_IN + bug:30} {'cluster':13} {words}")
        return 0
    results = run_all(arguments)
    if arguments.json:
        print(json.dumps(results, indent=1))
    if arguments.write_table:
        write_table(results)
    caught = sum(is_caught(result) for result in results)
    print(f"{caught} of {len(results)} caught", file=sys.stderr if arguments.json else sys.stdout)
    return 0 if results and caught == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
