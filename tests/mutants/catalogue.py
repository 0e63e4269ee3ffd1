"""The mutants: one patch each, with what is told of it in front, and how all are applied at once.

A patch changes one place of one file. What it changes is found by its text, which must be there
exactly once, so it applies wherever that place has moved, and not at all once the text is another.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
SWITCH = re.compile(r'QUORLITE_MUTANT\("([^"]*)"\)')
EACH_ROOM = 5  # so many mutants, at least

# Where the code of a room is.
ROOMS = {
    "codec": ("detail/codec/",),
    "pages": ("detail/pages/",),
    "machine": ("detail/machine/", "fsm.hpp"),
    "commit": ("detail/commit/",),
    "sqlite": ("detail/sqlite/", "connection."),
    "file_storage": ("detail/file_storage/", "detail/storage_rules/"),
    "libraft": ("detail/libraft/", "raft/"),
    "test_raft": ("testing/detail/raft/",),
    "replica": ("detail/replica/",),
}
SMALL_ROOMS = {"codec", "replica"}

# What a patch may ask of the simulator, and how that is said to it.
SIMULATE = {"--damage": ["--damage"], "--twice": ["--twice", "1"]}

# Kinds of bugs that once came through all tests: each has a mutant, hence a test.
ONCE_MISSED = {
    "bytes in flight never given back",
    "the writer's slot kept after ENOSPC while making room",
    "no flush ever again after one that failed",
    "ENOSPC in the middle of a restore swallowed",
    "a restart that replays from applied() in place of durable() while a transaction of several "
    "entries is open",
    "a halt that keeps the uncommitted pages",
    "a read barrier that timed out and says success",
    "a barrier between election and announcement",
    "files of databases that a restored snapshot does not have",
    "torn sectors of 4096 bytes under double write",
    "fdatasync that does nothing",
    "a sync that began before a log truncation counted after it",
    "a reader that began on the uncommitted head and reads pending pages",
    "the hash check at the end of a redo that never fires",
}


class Fault(Exception):
    """A patch is not what it should be."""


@dataclasses.dataclass
class Mutant:
    name: str
    room: str
    breaks: str
    tests: list[str]  # programs of tests/unit that may notice it
    once_missed: str  # the kind, or nothing
    in_reach: bool  # of the simulator
    simulate: list[str]  # what it takes to show there: folders that are damaged, a second run
    file: str
    before: str
    after: str


def read_fields(name: str, lines: list[str]) -> dict[str, str]:
    fields = {}
    for line in lines:
        key, colon, value = line.partition(": ")
        if not colon or key in fields:
            raise Fault(f"{name}: what is `{line}`?")
        fields[key] = value
    unknown = set(fields) - {"mutant", "room", "breaks", "found", "tests", "simulate"}
    missing = {"mutant", "room", "breaks", "tests"} - set(fields)
    if unknown or missing or fields["mutant"] != name:
        raise Fault(f"{name}: its fields are wrong: {', '.join(sorted(unknown | missing))}")
    return fields


def read_hunk(name: str, lines: list[str]) -> tuple[str, str]:
    if sum(line.startswith("@@") for line in lines) != 1 or not lines[0].startswith("@@"):
        raise Fault(f"{name}: changes more than one place")
    before, after = [], []
    for line in lines[1:]:
        if line[:1] in (" ", "-", ""):
            before.append(line[1:])
        if line[:1] in (" ", "+", ""):
            after.append(line[1:])
    return "\n".join(before) + "\n", "\n".join(after) + "\n"


def read_mutant(path: pathlib.Path) -> Mutant:
    name = path.stem
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith("--- a/")), None)
    if start is None or not lines[start + 1].startswith("+++ b/"):
        raise Fault(f"{name}: is no patch")
    fields = read_fields(name, lines[:start])
    before, after = read_hunk(name, lines[start + 2 :])
    mutant = Mutant(
        name=name,
        room=fields["room"],
        breaks=fields["breaks"],
        tests=fields["tests"].split(", "),
        once_missed=fields.get("found", ""),
        in_reach=fields.get("simulate") != "out of reach",
        simulate=SIMULATE.get(fields.get("simulate", ""), []),
        file=lines[start + 1].removeprefix("+++ b/"),
        before=before,
        after=after,
    )
    if fields.get("simulate", "out of reach") not in ("out of reach", *SIMULATE):
        raise Fault(f"{name}: simulate is `out of reach` or one of {', '.join(SIMULATE)}")
    if SWITCH.findall(after) != [name] or SWITCH.search(before):
        raise Fault(f"{name}: must have the switch of its own name, once")
    places = ROOMS.get(mutant.room, ())
    if not any(mutant.file.startswith("include/quorlite/" + place) for place in places):
        raise Fault(f"{name}: {mutant.file} is not in the room {mutant.room}")
    if mutant.once_missed and mutant.once_missed not in ONCE_MISSED:
        raise Fault(f"{name}: no such kind: {mutant.once_missed}")
    return mutant


def read_all() -> list[Mutant]:
    return [read_mutant(path) for path in sorted(HERE.glob("*.patch"))]


def mutated(root: pathlib.Path, mutants: list[Mutant]) -> dict[str, str]:
    """The files that the patches change, with all of them applied."""
    texts: dict[str, str] = {}
    for one in mutants:
        path = root / one.file
        if one.file not in texts:
            if not path.is_file():
                raise Fault(f"{one.name}: there is no {one.file}")
            texts[one.file] = path.read_text(encoding="utf-8")
        text = "\n" + texts[one.file]
        count = text.count("\n" + one.before)
        if count != 1:
            raise Fault(f"{one.name}: its place is {count} times in {one.file}, not once")
        texts[one.file] = text.replace("\n" + one.before, "\n" + one.after)[1:]
    return texts


def check(root: pathlib.Path) -> list[str]:
    """What is wrong with the catalogue, a line each."""
    faults = []
    try:
        mutants = read_all()
        mutated(root, mutants)
    except Fault as fault:
        return [str(fault)]
    for room in ROOMS:
        count = sum(one.room == room for one in mutants)
        if count < (1 if room in SMALL_ROOMS else EACH_ROOM):
            faults.append(f"{room}: has {count} mutants only")
    for kind in sorted(ONCE_MISSED - {one.once_missed for one in mutants}):
        faults.append(f"no mutant stands for: {kind}")
    for one in mutants:
        for program in one.tests:
            if not (root / "tests" / "unit" / f"{program}.cpp").is_file():
                faults.append(f"{one.name}: there is no tests/unit/{program}.cpp")
    return faults
