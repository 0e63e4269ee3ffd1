"""SQLite's own test scripts over a replicated database: do they come to the same results?

The scripts and their shell, testfixture, are made of the source package of SQLite. What is known of
each script stands in scripts.txt: how many tests stock SQLite runs, and which of them differ here,
and why. A script that does anything else fails.

usage: run.py [--module FILE] [--sources DIR | --fetch] [--all | --script NAME...] [--compare]

  --module FILE   quorlite_testfixture.so, which Meson makes where Tcl is; default: that of build/
  --sources DIR   SQLite's sources, unpacked; default: QUORLITE_SQLITE_SOURCES
  --fetch         gets the sources of the installed SQLite as Debian has them, by apt-get
  --all           every script of scripts.txt; default: those that it names short
  --script NAME   this script, known or not; may be given more than once
  --compare       runs stock SQLite too, rather than believe what scripts.txt has of it
  --work DIR      for what is fetched, built and run (default: build-sqlite-tcl)
  --jobs N        scripts and compilers at a time (default: 1)
  --limit N       seconds that a script may take (default: 300)
  --optimization N  of testfixture (default: 0, which is made sooner; with --all 1)
  --keep          what the scripts print stays in the work folder, as NAME.ours and NAME.stock
  --json          the answer as JSON

It takes gcc, make, tclsh and the headers of Tcl (Debian: tcl-dev). Exit code 77: something of that
is not here, or the sources are of a version that scripts.txt does not know; a line that begins with
`skipped: ` says what.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import build_testfixture
import fetch_sources
from results import Known, Result, read_known, read_output

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77  # Meson's code for it


class Skip(Exception):
    """It cannot be done here."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage=argparse.SUPPRESS, description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    hidden = {"help": argparse.SUPPRESS}
    built = HERE.parents[1] / "build" / "tests" / "quorlite_testfixture.so"
    parser.add_argument("--module", type=pathlib.Path, default=built, **hidden)
    parser.add_argument("--sources", type=pathlib.Path, **hidden)
    parser.add_argument("--fetch", action="store_true", **hidden)
    parser.add_argument("--all", action="store_true", **hidden)
    parser.add_argument("--script", action="append", default=[], **hidden)
    parser.add_argument("--compare", action="store_true", **hidden)
    parser.add_argument("--work", type=pathlib.Path, default=None, **hidden)
    parser.add_argument("--jobs", type=int, default=1, **hidden)
    parser.add_argument("--limit", type=float, default=300, **hidden)
    parser.add_argument("--optimization", **hidden)
    parser.add_argument("--keep", action="store_true", **hidden)
    parser.add_argument("--json", action="store_true", **hidden)
    return parser.parse_args()


@dataclasses.dataclass
class Bench:
    """What the scripts run on."""

    sources: pathlib.Path
    testfixture: pathlib.Path
    module: pathlib.Path
    limit: float
    keep: pathlib.Path | None

    def run(self, script: str, is_ours: bool) -> Result:
        """In a process and a folder of its own."""
        command = [str(self.testfixture)]
        if is_ours:
            command += [str(HERE / "begin.tcl"), str(self.module)]
        command.append(str(self.sources / "test" / f"{script}.test"))
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="quorlite-sqlite-tcl-") as folder:
            child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                start_new_session=True,
            )
            try:
                output, _ = child.communicate(timeout=self.limit)
                ended = f"exit code {child.returncode}"
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)  # it may have children
                output, _ = child.communicate()
                ended = f"not within {self.limit:.0f} s"
        text = output.decode("utf-8", errors="replace")
        if self.keep is not None:
            (self.keep / f"{script}.{'ours' if is_ours else 'stock'}").write_text(text)
        result = read_output(text)
        result.seconds = time.monotonic() - began
        result.ended = ended
        if child.returncode != 0 and not result.is_whole:
            shown = [line for line in text.splitlines() if "testfixture: " in line]
            result.ended += f", {shown[-1].split('testfixture: ')[1]}" if shown else ""
        return result


@dataclasses.dataclass
class Verdict:
    script: str
    tests: int
    is_same: bool  # as stock
    faults: list[str]
    seconds: float
    result: Result
    stock: Result | None


def judge(bench: Bench, script: str, known: Known | None, compare: bool) -> Verdict:
    ours = bench.run(script, True)
    stock = bench.run(script, False) if compare or known is None else None
    faults = []
    if known is not None:
        faults += known.faults(ours)
        if stock is not None and not stock.refused and not known.is_of(stock):
            faults.append(f"stock SQLite runs {stock.tests} tests, of which fail: {stock.failed}")
        is_same = not known.kinds
    else:
        is_same = ours.of() == stock.of()
        if not is_same:
            faults.append(
                f"not known, and differs: {ours.tests} tests instead of {stock.tests}, of which "
                f"fail: {' '.join(sorted(set(ours.failed))) or 'none'}"
                + ("" if ours.is_whole else f"; it ended early: {ours.ended}")
            )
    if is_same and not faults and ours.tests > 0 and ours.transactions == 0:
        faults.append("it wrote to no replicated database, so it shows nothing")
    return Verdict(script, ours.tests, is_same, faults, ours.seconds, ours, stock)


def find_sources(given: argparse.Namespace, work: pathlib.Path) -> pathlib.Path:
    if given.sources is None and "QUORLITE_SQLITE_SOURCES" in os.environ:
        given.sources = pathlib.Path(os.environ["QUORLITE_SQLITE_SOURCES"])
    if given.sources is None and given.fetch:
        given.sources = fetch_sources.fetch(work)
    if given.sources is None:
        raise Skip("QUORLITE_SQLITE_SOURCES names no sources of SQLite, and --fetch gets them")
    if not (given.sources / "test" / "tester.tcl").exists():
        raise Skip(f"these are no sources of SQLite with its tests: {given.sources}")
    return given.sources.resolve()


def set_up(given: argparse.Namespace, versions: set[str]) -> Bench:
    for program in ("gcc", "make", "tclsh", "pkg-config"):
        if shutil.which(program) is None:
            raise Skip(f"{program} is not installed")
    if subprocess.run(["pkg-config", "--exists", "tcl"]).returncode != 0:
        raise Skip("the headers of Tcl are not installed (Debian: tcl-dev)")
    if not given.module.exists():
        raise Skip(f"there is no {given.module}: `tests/run.sh --suite sqlite_tcl` makes it")
    work = given.work or HERE.parents[1] / "build-sqlite-tcl"
    work.mkdir(parents=True, exist_ok=True)
    sources = find_sources(given, work)
    version = build_testfixture.version_of(sources)
    if version not in versions and not given.script:
        raise Skip(f"scripts.txt knows SQLite {' and '.join(versions)}, and these are {version}")
    began = time.monotonic()
    optimization = given.optimization or ("1" if given.all else "0")
    program = build_testfixture.build(sources, work, optimization, given.jobs)
    print(
        f"testfixture of SQLite {version}: {time.monotonic() - began:.0f} s", file=sys.stderr
    )
    keep = work if given.keep else None
    return Bench(sources, program, given.module.resolve(), given.limit, keep)


def report(verdicts: list[Verdict], seconds: float, given: argparse.Namespace) -> bool:
    same = [one for one in verdicts if one.is_same and not one.faults]
    wrong = [one for one in verdicts if one.faults]
    explained = [one for one in verdicts if not one.is_same and not one.faults]
    answer = {
        "same": len(same),
        "same_tests": sum(one.tests for one in same),
        "differ_as_known": len(explained),
        "unexplained": {one.script: one.faults for one in wrong},
        "seconds": round(seconds, 1),
    }
    if given.json:
        print(json.dumps(answer, indent=2))
        return not wrong
    for one in wrong:
        for fault in one.faults:
            print(f"failed: {one.script}: {fault}")
    print(
        f"{len(same)} scripts with {answer['same_tests']} tests: the same as stock SQLite; "
        f"{len(explained)} differ as is known; {len(wrong)} failed; {seconds:.0f} s"
    )
    return not wrong


def main() -> int:
    given = parse_arguments()
    table = read_known(HERE / "scripts.txt")
    try:
        bench = set_up(given, table.versions)
    except Skip as why:
        print(f"skipped: {why}")
        return SKIPPED
    names = given.script or (list(table.known) if given.all else table.short)
    began = time.monotonic()
    verdicts = []
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        running = {
            pool.submit(judge, bench, name, table.known.get(name), given.compare): name
            for name in names
        }
        for done in concurrent.futures.as_completed(running):
            verdict = done.result()
            verdicts.append(verdict)
            how = "FAILED" if verdict.faults else "same" if verdict.is_same else "differs as known"
            print(
                f"[{len(verdicts)}/{len(names)}] {verdict.script}: {how}, "
                f"{verdict.tests} tests, {verdict.seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )
    is_fine = report(verdicts, time.monotonic() - began, given)
    return 0 if is_fine and verdicts else 1


if __name__ == "__main__":
    sys.exit(main())
