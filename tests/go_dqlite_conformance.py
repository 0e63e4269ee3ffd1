"""Checks docs/reference/go-dqlite-conformance.md: every row is there, every test it names exists.

Each fault is a line `FILE:LINE: what is wrong; what to do`.
"""

import argparse
import pathlib
import re
import sys

from support.named_tests import REFERENCE, NamedTests

DOCUMENT = "docs/reference/go-dqlite-conformance.md"
TESTS_OF_WEAKNESSES = "tests/unit/go_dqlite_weaknesses.cpp"

# How many tests go-dqlite had, by section of its description; and how many weaknesses.
ROWS = {"7.1": 14, "7.2": 5, "7.3": 47, "7.4": 28, "7.5": 16, "7.6": 38}
WEAKNESSES = 24

COLUMNS = 5  # id, name, there, ours, difference
NO_TEST = "no such thing here:"


def expected_ids() -> list[str]:
    ids = [f"{section}-{n:02}" for section, count in ROWS.items() for n in range(1, count + 1)]
    return ids + [f"W{n}" for n in range(1, WEAKNESSES + 1)]


def labels_of(name: str) -> list[str]:
    """What a test is of, in brackets at the end of its name: "… (W7, W10)"."""
    found = re.search(r"\(([A-Z]\d+(?:, [A-Z]\d+)*)\)$", name)
    return found.group(1).split(", ") if found else []


class Checker:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.faults: list[str] = []
        self.seen: dict[str, int] = {}
        self.tests = NamedTests(root)

    def report(self, line: int, fault: str, remedy: str) -> None:
        self.faults.append(f"{DOCUMENT}:{line}: {fault}; {remedy}")

    def check_scenario_of(self, line: int, name: str, ours: str) -> None:
        """A scenario file tells, in its first line, which test of go-dqlite it is."""
        path = re.match(r"`(tests/scenarios/[^`]+)`$", ours)
        if path is None or not (self.root / path.group(1)).is_file():
            self.report(line, f"{name} names no scenario", "name its file in tests/scenarios")
            return
        text = (self.root / path.group(1)).read_text(encoding="utf-8").split("\n")[0]
        if not re.search(rf"\bTestIntegration_{re.escape(name)}\b", text):
            self.report(line, f"{path.group(1)} is another scenario than {name}", "correct one")

    def check_row(self, line: int, cells: list[str]) -> None:
        row, name, _, ours, difference = cells
        if row in self.seen:
            self.report(line, f"{row} is there twice, also in line {self.seen[row]}", "drop one")
        self.seen[row] = line
        references = REFERENCE.findall(ours)
        for path, case in references:
            if fault := self.tests.fault_of(path, case or None):
                self.report(line, *fault)
        without = REFERENCE.sub("", ours).replace(";", "").strip()
        if references and without:
            self.report(line, f"cannot read '{without}'", 'write `file` "test case", by semicolons')
        if not references and not difference.startswith(NO_TEST):
            self.report(line, f"{row} names no test", f"name one, or say '{NO_TEST} …'")
        if not name or not difference:
            self.report(line, f"{row} has an empty cell", "fill it")
        if row.startswith("7.3-"):
            self.check_scenario_of(line, name, ours)
        if row.startswith("W") and not any(
            path == TESTS_OF_WEAKNESSES and row in labels_of(case) for path, case in references
        ):
            self.report(line, f"no test '… ({row})'", f"name the one in {TESTS_OF_WEAKNESSES}")

    def check(self) -> None:
        text = (self.root / DOCUMENT).read_text(encoding="utf-8")
        expected = expected_ids()
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not re.match(r"\| *(7\.\d-|W\d)", line):
                continue
            if cells[0] not in expected:
                self.report(number, f"{cells[0]} is no row of go-dqlite's", "see ROWS")
            elif len(cells) != COLUMNS:
                self.report(number, f"{len(cells)} cells", f"a row has {COLUMNS}")
            else:
                self.check_row(number, cells)
        for row in expected:
            if row not in self.seen:
                self.report(len(lines), f"{row} is missing", "add it to its table")
        self.check_weaknesses_are_listed()

    def check_weaknesses_are_listed(self) -> None:
        """Every test of a weakness is in the row of its weakness."""
        text = (self.root / DOCUMENT).read_text(encoding="utf-8")
        for case in sorted(self.tests.cases_of(TESTS_OF_WEAKNESSES)):
            if f'"{case}"' not in text:
                line = self.seen.get((labels_of(case) or [""])[0], 1)
                self.report(line, f'does not name "{case}"', f"it is in {TESTS_OF_WEAKNESSES}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root",
        type=pathlib.Path,
        default=pathlib.Path(__file__).resolve().parent.parent,
        help="the top of the source tree",
    )
    checker = Checker(parser.parse_args().root)
    checker.check()
    for fault in checker.faults:
        print(fault)
    rows, named = len(checker.seen), checker.tests.checked
    print(f"{rows} rows, {named} tests named, {len(checker.faults)} faults")
    return 1 if checker.faults else 0


if __name__ == "__main__":
    sys.exit(main())
