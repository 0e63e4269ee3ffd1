#!/usr/bin/env python3
"""Counts the files of the library that a stranger opens to follow one thing from end to end.

Nobody guesses: a cluster of three servers (benchmarks/journeys/node.cpp, one process each, over
libraft and files) makes each journey, and gcov tells which functions ran meanwhile.

  commit       the leader, from sqlite3_exec("INSERT …") until SQLITE_OK, with all its threads.
               Connection, table and pages were in use before.
  apply        a follower: the same entry, and the time until it is applied there
  lost leadership  a leader that is cut off (the others are paused) with the same INSERT in flight:
               from a moment when it waits for the quorum, until it is answered with an error
  restart      a server that was stopped cleanly, from the constructor of the storage until the
               replica is constructed, hence loaded and joined to the log
  replay       a server that was killed, likewise and until it has applied the log again

The rule. A file counts if a function that is defined in it ran in that process between the two
points, on whatever thread: what the engine does by the clock meanwhile (ticks, heartbeats) is part
of it. X.hpp and X.ipp are one file. Left out as vocabulary that one reads once: bytes, ids, limits,
error, config, version, consensus, storage and thread_signal in the root folder; detail/core/ (in
older trees wire, xxh3, memory_gauge and codec/crc32c). The journey is made --rounds times and the
files are put together; one that was not needed each time is marked `*`.

`no helpers` leaves pure helpers out as well: files from which a journey can only come back. What
one does is a function of what it is given, so its opening comment stands for its code: nothing in
it locks, waits, is shared between threads, calls the system or calls an interface, and neither does
anything that it includes. That is read from its text and that of its bodies: none of the words
mutex, shared_mutex, condition_variable, atomic, thread, virtual, override and std::function, no
header of C or of another package but xxhash.h and tl/expected.hpp, and of the library's headers
only vocabulary (no port) and other helpers. Helpers are marked `-` in the list.

Three smaller counts leave files out by a rule: `doors` those under detail/ that no file of another
folder includes (what a room keeps to itself: whoever only follows the journey stops at its door),
`not trivial` those of which nothing ran but one-line functions (accessors, and what the compiler
writes itself: a function that begins and ends on the same line), `in depth` those of which fewer
than ten lines ran. Lines are counted as gcov does; a function counts once, however many types it is
instantiated for.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

OWN_ROOT = pathlib.Path(__file__).resolve().parent.parent
UNIT = "benchmarks/journeys/node.cpp"
JOURNEYS = ["commit", "apply", "lost leadership", "restart", "replay"]

VOCABULARY = "bytes ids limits error config version consensus storage thread_signal".split()
OLDER_CORE = "wire xxh3 memory_gauge codec/crc32c".split()

LINES_IN_DEPTH = 10

NOT_IN_A_HELPER = re.compile(
    r"\b(?:mutex|shared_mutex|condition_variable|atomic\w*|thread|virtual|override|std::function)\b"
    r"|#\s*include\s*<(?!xxhash\.h>|tl/)[\w/]+(?:\.h|\.hpp)>"
)

# A follower hears of a commit with the next heartbeat, 100 ms apart, on a machine that is busy.
SETTLE_SECONDS = 1.0
TIMEOUT_SECONDS = 60.0


class Failure(Exception):
    """What kept the program from measuring."""


# ---- the program that is measured ----------------------------------------------------


def run(command: list[str], **settings) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, **settings)
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip()
        raise Failure(f"{command[0]} failed: {said[-2000:]}")
    return result.stdout


def unit_of(options: argparse.Namespace) -> pathlib.Path:
    if options.unit is not None:
        return options.unit
    own = options.source / UNIT
    return own if own.is_file() else OWN_ROOT / UNIT


def is_current(node: pathlib.Path, unit: pathlib.Path, source: pathlib.Path) -> bool:
    headers = (f for f in (source / "include").rglob("*") if f.is_file())
    newest = max(f.stat().st_mtime for f in [unit, *headers])
    return node.is_file() and node.stat().st_mtime > newest


def compile_node(options: argparse.Namespace, folder: pathlib.Path) -> None:
    """Leaves `node` and what gcov needs, node.gcno, in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    unit = unit_of(options)
    flags = ["-std=c++20", "-O0", "--coverage", "-fprofile-update=atomic"]
    include = f"-I{options.source / 'include'}"
    run([options.compiler, *flags, include, "-c", str(unit), "-o", str(folder / "node.o")])
    libraries = ["-lraft", "-luv", "-lsqlite3", "-pthread"]
    node = [str(folder / "node.o"), "-o", str(folder / "node"), *libraries]
    run([options.compiler, "--coverage", *node])


@dataclasses.dataclass
class Ran:
    """What ran of one file."""

    functions: dict[tuple[int, int], bool]  # by where it begins: whether it has more than a line
    lines: set[int]


class Gcov:
    """Reads what a process wrote down."""

    def __init__(self, program: str, build: pathlib.Path, source: pathlib.Path):
        self.program = program
        self.build = build
        self.headers = (source / "include" / "quorlite").resolve()

    def read(self, collected: pathlib.Path) -> dict[str, Ran]:
        """By the name of the file in include/quorlite."""
        counters = collected / self.build.relative_to("/") / "node.gcda"
        if not counters.is_file():
            raise Failure(f"no counters were written to {counters}")
        shutil.move(counters, self.build / "node.gcda")
        said = run([self.program, "--json-format", "--stdout", "node.gcda"], cwd=self.build)
        ran = {}
        for file in json.loads(said)["files"]:
            path = (self.build / file["file"]).resolve()
            functions = {
                (one["start_line"], one["start_column"]): one["end_line"] > one["start_line"]
                for one in file["functions"]
                if one["execution_count"] > 0
            }
            if functions and path.is_relative_to(self.headers):
                lines = {one["line_number"] for one in file["lines"] if one["count"] > 0}
                ran[path.relative_to(self.headers).as_posix()] = Ran(functions, lines)
        if not ran:
            raise Failure(f"nothing ran of {self.headers}; was {self.build} built of another tree?")
        return ran


# ---- the cluster ---------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Server:
    """One process at a time; the folder and the address stay."""

    def __init__(self, program: pathlib.Path, number: int, folder: pathlib.Path, ports: list[int]):
        self.command = [str(program), str(number), str(folder), *map(str, ports)]
        self.number = number
        self.folder = folder
        self.counters = folder / "counters"
        self.process: subprocess.Popen | None = None
        for name in ("raft", "databases"):
            (folder / name).mkdir(parents=True)

    def start(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [*self.command, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "GCOV_PREFIX": str(self.counters)},
        )
        self.expect("ready", self.answer())

    def answer(self) -> str:
        # One line is one answer, so nothing waits in the buffer of the pipe.
        if not select.select([self.process.stdout], [], [], TIMEOUT_SECONDS)[0]:
            raise Failure(f"server {self.number} does not answer")
        line = self.process.stdout.readline()
        if not line:
            raise Failure(f"server {self.number} ended")
        return line.strip()

    def ask(self, command: str) -> str:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def order(self, command: str, expected: str) -> None:
        self.expect(expected, self.ask(command))

    def expect(self, expected: str, said: str) -> None:
        if said != expected:
            raise Failure(f"server {self.number} says '{said}', not '{expected}'")

    def forget(self) -> None:
        """What was collected before: the program adds to it."""
        shutil.rmtree(self.counters, ignore_errors=True)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        self.order("stop", "Success")
        self.process.wait(TIMEOUT_SECONDS)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def until(condition, what: str):
    end = time.monotonic() + TIMEOUT_SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            raise Failure(f"not within {TIMEOUT_SECONDS:.0f} s: {what}")
        time.sleep(0.05)
    return found


def leader_of(servers: list[Server]) -> Server:
    def leading() -> Server | None:
        return next((one for one in servers if one.ask("leading") == "yes"), None)

    return until(leading, "a leader")


def same_position(servers: list[Server]) -> None:
    until(lambda: len({one.ask("position") for one in servers}) == 1, "the same position")


# ---- the journeys --------------------------------------------------------------------


class Round:
    """Makes every journey once."""

    def __init__(self, servers: list[Server], gcov: Gcov):
        self.servers = servers
        self.gcov = gcov
        self.ran: dict[str, dict[str, Ran]] = {}  # by journey and file

    def note(self, journey: str, server: Server) -> None:
        self.ran[journey] = self.gcov.read(server.counters)

    def make(self) -> None:
        founder, *others = self.servers
        founder.start("--found")
        leader_of([founder])
        for one in others:
            one.start()
            founder.order(f"take in {one.ask('member')}", "Success")
        leader = leader_of(self.servers)
        leader.order("prepare", "0")
        leader.order("insert", "0")  # and once more than needed: nothing happens for the first time
        same_position(self.servers)
        self.commit_and_apply(leader)
        self.restart(leader)
        self.replay(leader)
        self.lose_leadership(leader)

    def follower(self, leader: Server) -> Server:
        return next(one for one in self.servers if one is not leader)

    def commit_and_apply(self, leader: Server) -> None:
        follower = self.follower(leader)
        before = follower.ask("position")
        leader.forget()
        follower.forget()
        follower.order("mark", "done")
        leader.order("insert", "0")
        time.sleep(SETTLE_SECONDS)  # nobody asks the follower anything: that would count
        follower.order("collect", "done")
        if follower.ask("position") == before:
            raise Failure("the follower has not applied the entry in time; try again")
        self.note("commit", leader)
        self.note("apply", follower)

    def restart(self, leader: Server) -> None:
        follower = self.follower(leader)
        follower.stop()
        follower.forget()
        follower.start("--measure-start")
        self.note("restart", follower)
        same_position(self.servers)

    def replay(self, leader: Server) -> None:
        follower = self.follower(leader)
        leader.order("insert", "0")
        same_position(self.servers)
        follower.kill()
        follower.start()  # not at the very first entry: a flush made the base
        same_position(self.servers)
        follower.order("flush", "Success")
        leader.order("insert", "0")
        same_position(self.servers)
        follower.kill()
        follower.forget()
        follower.start("--mark-start")
        time.sleep(SETTLE_SECONDS)
        follower.order("collect", "done")
        self.note("replay", follower)
        same_position(self.servers)

    def lose_leadership(self, leader: Server) -> None:
        others = [one for one in self.servers if one is not leader]
        leader.forget()
        for one in others:
            one.send(signal.SIGSTOP)
        code = leader.ask("insert in flight")
        for one in others:
            one.send(signal.SIGCONT)
        if code == "0":
            raise Failure("a leader that was cut off committed")
        self.note("lost leadership", leader)


def make_round(build: pathlib.Path, gcov: Gcov) -> Round:
    with tempfile.TemporaryDirectory(prefix="quorlite-journeys-") as folder:
        ports = free_ports(3)
        place = pathlib.Path(folder)
        servers = [Server(build / "node", n, place / str(n), ports) for n in (1, 2, 3)]
        try:
            one = Round(servers, gcov)
            one.make()
            return one
        finally:
            for server in servers:
                server.kill()


# ---- counting ------------------------------------------------------------------------


class Tree:
    """Knows which files are one noun, and which are vocabulary."""

    def __init__(self, source: pathlib.Path):
        self.headers = source / "include" / "quorlite"
        self.including: dict[str, list[str]] = collections.defaultdict(list)
        self.doors: set[str] = set()
        self.code: dict[str, str] = collections.defaultdict(str)  # of a noun, without comments
        self.known_helpers: dict[str, bool] = {}
        for path in sorted(self.headers.rglob("*.[hi]pp")):
            folder = path.relative_to(self.headers).parent.as_posix()
            for included in re.findall(
                r'#\s*include\s*["<]quorlite/([^">]+)\.[hi]pp[">]', path.read_text(encoding="utf-8")
            ):
                if pathlib.PurePosixPath(included).parent.as_posix() != folder:
                    self.doors.add(included + ".hpp")
        for path in sorted(self.headers.rglob("*.hpp")):
            text = path.read_text(encoding="utf-8")
            for included in re.findall(r'#\s*include\s*["<]quorlite/([^">]+\.ipp)[">]', text):
                self.including[included].append(path.relative_to(self.headers).as_posix())

        for path in sorted(self.headers.rglob("*.[hi]pp")):
            code = re.sub(r"//[^\n]*", "", path.read_text(encoding="utf-8"))
            self.code[self.noun(path.relative_to(self.headers).as_posix())] += code

    def is_helper(self, noun: str) -> bool:
        """By the rule above. Headers that include each other are helpers together, or none is."""
        if noun not in self.known_helpers:
            self.known_helpers[noun] = True  # while its own includes are looked at
            included = re.findall(r'#\s*include\s*"quorlite/([^"]+)"', self.code[noun])
            self.known_helpers[noun] = NOT_IN_A_HELPER.search(self.code[noun]) is None and all(
                self.is_helper(self.noun(one))
                for one in included
                if not self.is_vocabulary(one) or one.endswith("_port.hpp")
            )
        return self.known_helpers[noun]

    def noun(self, name: str) -> str:
        """Of X.ipp the X.hpp beside it, or the one elsewhere that includes it."""
        path = pathlib.PurePosixPath(name)
        if path.suffix != ".ipp":
            return name
        beside = path.with_suffix(".hpp").as_posix()
        if (self.headers / beside).is_file():
            return beside
        including = map(pathlib.PurePosixPath, self.including[name])
        return next((one.as_posix() for one in including if one.stem == path.stem), name)

    @staticmethod
    def is_vocabulary(name: str) -> bool:
        stem = name.rsplit(".", 1)[0]
        return stem in VOCABULARY or stem in OLDER_CORE or name.startswith("detail/core/")


def count(journey: str, rounds: list[Round], tree: Tree) -> dict:
    functions: dict[str, dict] = collections.defaultdict(dict)  # of a noun, by file and place
    lines: dict[str, set] = collections.defaultdict(set)
    seen: collections.Counter[str] = collections.Counter()  # in how many rounds
    for one in rounds:
        nouns = set()
        for name, ran in one.ran[journey].items():
            noun = tree.noun(name)
            nouns.add(noun)
            functions[noun].update({(name, *at): more for at, more in ran.functions.items()})
            lines[noun].update((name, line) for line in ran.lines)
        seen.update(nouns)
    files, left_out = [], []
    for noun in sorted(functions):
        row = {
            "file": noun,
            "functions": len(functions[noun]),
            "longer_functions": sum(functions[noun].values()),
            "lines": len(lines[noun]),
            "rounds": seen[noun],
            "door": noun in tree.doors or "detail/" not in noun,
            "helper": tree.is_helper(noun),
        }
        (left_out if tree.is_vocabulary(noun) else files).append(row)
    return {
        "count": len(files),
        "without_helpers": sum(1 for row in files if not row["helper"]),
        "doors": sum(1 for row in files if row["door"]),
        "not_trivial": sum(1 for row in files if row["longer_functions"] > 0),
        "in_depth": sum(1 for row in files if row["lines"] >= LINES_IN_DEPTH),
        "lines": sum(row["lines"] for row in files),
        "files": files,
        "left_out": left_out,
    }


def print_text(counted: dict) -> None:
    rounds = counted["rounds"]
    for journey, one in counted["journeys"].items():
        print(f"{journey}: {one['count']} files")
        print(f"  {'functions':>9} {'longer':>6} {'lines':>5}  file")
        for row in one["files"]:
            numbers = f"{row['functions']:9} {row['longer_functions']:6} {row['lines']:5}"
            marks = " -" * row["helper"] + " *" * (row["rounds"] < rounds)
            print(f"  {numbers}  {row['file']}{marks}")
        print(f"  left out: {' '.join(row['file'] for row in one['left_out'])}")
        print()
    smallest = f"{'not trivial':>11} {'in depth':>8} {'lines':>5}"
    print(f"{'journey':15} {'files':>5} {'no helpers':>10} {'doors':>5} {smallest}")
    for journey, one in counted["journeys"].items():
        larger = f"{one['count']:5} {one['without_helpers']:10}"
        smaller = f"{one['doors']:5} {one['not_trivial']:11} {one['in_depth']:8}"
        print(f"{journey:15} {larger} {smaller} {one['lines']:5}")


# ---- what a document says ------------------------------------------------------------


def named_in(document: str) -> dict[str, list[str]]:
    """The headers that a document names in code font, by the journeys that a comment above them
    tells, `<!-- journeys: restart, replay -->`, up to the next heading."""
    named = {}
    section = r"<!-- journeys: ([\w, ]+) -->\n(.*?)(?=^#|\Z)"
    for part in re.finditer(section, document, re.MULTILINE | re.DOTALL):
        files = re.findall(r"`([\w/]+\.[hi]pp)`", part.group(2))
        named[part.group(1)] = sorted(set(files))
    return named


def not_run(document: pathlib.Path, counted: dict) -> list[str]:
    """What the document names and did not run."""
    found = []
    for journeys, files in named_in(document.read_text(encoding="utf-8")).items():
        ran = set()
        for journey in journeys.split(", "):
            one = counted["journeys"][journey]
            ran.update(row["file"] for row in one["files"] + one["left_out"])
        missing = [file for file in files if file not in ran]
        found += [f"{document}: {journeys}: {file} did not run" for file in missing]
        print(f"{journeys}: {len(files)} of {len(ran)} files are named", file=sys.stderr)
    return found


# ---- all of it -----------------------------------------------------------------------


def resolved(text: str) -> pathlib.Path:
    return pathlib.Path(text).resolve()


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one object instead of text")
    parser.add_argument(
        "--source",
        type=resolved,
        default=OWN_ROOT,
        metavar="ROOT",
        help=f"the tree to measure, with its own {UNIT} if it has one (default: this one)",
    )
    parser.add_argument(
        "--unit", type=resolved, metavar="FILE", help=f"this file in the place of {UNIT}"
    )
    parser.add_argument("--compiler", default="g++", help="a g++ (default: g++)")
    parser.add_argument("--gcov", default="gcov", help="of the same version (default: gcov)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument(
        "--build",
        type=resolved,
        metavar="FOLDER",
        help="keep the program there, and use it while no header is newer (default: build it anew)",
    )
    parser.add_argument(
        "--against",
        type=resolved,
        metavar="DOCUMENT",
        help="fail if it names a header for a journey that did not run there",
    )
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace, build: pathlib.Path) -> dict:
    if not is_current(build / "node", unit_of(options), options.source):
        compile_node(options, build)
    gcov = Gcov(options.gcov, build, options.source)
    rounds = [make_round(build, gcov) for _ in range(options.rounds)]
    tree = Tree(options.source)
    return {
        "program": "journeys",
        "rounds": options.rounds,
        "journeys": {journey: count(journey, rounds, tree) for journey in JOURNEYS},
    }


def main() -> int:
    options = options_of(sys.argv[1:])
    try:
        with tempfile.TemporaryDirectory(prefix="quorlite-journeys-build-") as folder:
            counted = measure(options, options.build or pathlib.Path(folder).resolve())
    except (Failure, OSError, subprocess.TimeoutExpired) as error:
        print(f"journeys.py: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(counted, indent=2))
    else:
        print_text(counted)
    wrong = not_run(options.against, counted) if options.against else []
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
