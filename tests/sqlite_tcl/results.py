"""What a script of SQLite's printed, and what is known of the scripts: scripts.txt."""

import dataclasses
import fnmatch
import pathlib
import re


@dataclasses.dataclass
class Result:
    """Of one run of a script."""

    tests: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)
    is_whole: bool = False  # it came to its end
    ended: str = ""  # how, if not
    seconds: float = 0.0
    transactions: int = 0  # over a replica
    refused: bool = False  # stock SQLite's run, by root

    def of(self) -> tuple[bool, int, list[str]]:
        """What has to be the same."""
        return self.is_whole, self.tests, sorted(set(self.failed))


def read_output(text: str) -> Result:
    result = Result()
    started = []
    for line in text.splitlines():
        if begun := re.match(r"(\S+)\.\.\.(?: Ok)?\s*$", line):
            started.append(begun[1])
        elif wrong := re.match(r"! (\S+) expected: ", line):
            result.failed.append(wrong[1])
        elif line.startswith("Error: ") and started:
            result.failed.append(started[-1])
        elif told := re.match(r"quorlite: (\d+) transactions$", line):
            result.transactions = int(told[1])
    result.tests = len(started)
    result.refused = "Tests do not work when run as root" in text
    if summary := re.search(r"^(\d+) errors out of (\d+) tests", text, re.MULTILINE):
        result.is_whole = True
        result.tests = int(summary[2])
        failures = re.search(r"^!Failures on these tests:(.*)$", text, re.MULTILINE)
        result.failed = failures[1].split() if failures else []
    return result


@dataclasses.dataclass
class Known:
    """Of a script, as scripts.txt has it."""

    name: str
    tests: int  # that stock SQLite runs
    stock_fails: list[str] = dataclasses.field(default_factory=list)  # as root, for some
    kinds: list[str] = dataclasses.field(default_factory=list)  # of reasons; none: the same
    reason: str = ""
    fails: list[str] = dataclasses.field(default_factory=list)  # patterns of tests that differ
    ends_early: bool = False  # over a replica
    counts_differ: bool = False  # how many tests there are depends on what is below SQLite

    def faults(self, ours: Result) -> list[str]:
        """Sentences on what is not as known."""
        found = []
        if ours.is_whole == self.ends_early:
            found.append("it comes to its end" if ours.is_whole else f"it ends early: {ours.ended}")
        elif ours.is_whole and not self.counts_differ and ours.tests != self.tests:
            found.append(f"{ours.tests} tests instead of {self.tests}")
        known = [*self.stock_fails, *self.fails]
        for name in sorted(set(ours.failed)):
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in known):
                found.append(f"{name} fails")
        for pattern in self.fails:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in ours.failed):
                found.append(f"{pattern} does not fail")
        return found

    def is_of(self, stock: Result) -> bool:
        """Stock SQLite does what is written down of it."""
        is_known = set(stock.failed) <= set(self.stock_fails)
        return stock.is_whole and is_known and (self.counts_differ or stock.tests == self.tests)


@dataclasses.dataclass
class Table:
    """All of scripts.txt, whose first lines say what its lines mean."""

    versions: set[str] = dataclasses.field(default_factory=set)
    short: list[str] = dataclasses.field(default_factory=list)
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    known: dict[str, Known] = dataclasses.field(default_factory=dict)


def read_known(path: pathlib.Path) -> Table:
    table = Table()
    last = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        what, *rest = words
        if line.startswith("    "):  # on the script above
            if what == "fails:":
                last.fails += rest
            elif what == "stock-fails:":
                last.stock_fails += rest
            elif words == ["ends", "early"]:
                last.ends_early = True
            elif words == ["counts", "differ"]:
                last.counts_differ = True
            else:
                last.reason = " ".join([last.reason, *words]).strip()
        elif what == "version":
            table.versions.update(rest)
        elif what == "short":
            table.short += rest
        elif what == "kind":
            table.kinds[rest[0]] = " ".join(rest[1:])
        elif what in ("same", "differs") and rest[0] not in table.known:
            last = Known(rest[0], int(rest[1]), kinds=rest[2:])
            table.known[last.name] = last
        else:
            raise ValueError(f"{path.name}:{number}: {line}")
    for known in table.known.values():
        if known.kinds and not (known.reason and set(known.kinds) <= set(table.kinds)):
            raise ValueError(f"{path.name}: {known.name} needs a reason, and kinds that exist")
    return table
