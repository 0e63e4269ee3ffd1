#!/usr/bin/env python3
"""Looks whether every promise of the documents names a test that shows it, and that is there.

In a document a comment says what the sections below it are, up to the next such comment:

    <!-- promises -->             each row, item of a list and paragraph names a test
    <!-- no promise: WHY -->      what it says is of another kind

The documents of MARKED must say so of all that they hold. A test is named where it is promised, as
`FILE` "test case" (or `FILE` alone where all of it is one test), or by a footnote `[^name]` which
does so; in how-to pages the label of a law, `[P4]`, names the law of that label. Code blocks are
looked at by other tests: those of the README by tests/tidy.py, names in them by tests/documents.py.

Each fault is a line `FILE:LINE: what is wrong; what to do`.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys

from support.named_tests import REFERENCE, NamedTests

MARKED = ("README.md", "docs/reference/errors.md", "docs/reference/limits.md")
MARKED += ("docs/reference/sqlite.md", "docs/how-to/storage.md")
MARK = re.compile(r"^<!-- (promises|no promise: .+?) -->$")
FOOTNOTE = re.compile(r"\[\^([\w-]+)\](?!:)")
DEFINITION = re.compile(r"^\[\^([\w-]+)\]:(.*(?:\n {2,}.*)*)", re.MULTILINE)
LAW = re.compile(r"\[[A-Z]\d+(?:, [A-Z]\d+)*\]")
SEPARATOR = re.compile(r"^\|[\s:|-]+\|$")


class Unit:
    """A paragraph, an item of a list or a row of a table."""

    def __init__(self, line: int, text: str):
        self.line = line
        self.text = text


def units_of(lines: list[str], first: int) -> list[Unit]:
    """What a part of a document says, piece by piece; headings, code and footnotes left out."""
    units: list[Unit] = []
    fresh, in_code, is_row = True, False, False
    for number, line in enumerate(lines, first):
        if line.startswith("```"):
            in_code, fresh = not in_code, True
        elif in_code:
            continue
        elif not line.strip() or line.startswith(("#", "<!--")) or DEFINITION.match(line):
            fresh, is_row = True, False
        elif line.startswith("|"):
            if SEPARATOR.match(line):
                units.pop()  # the row above it is the head of the table
            else:
                units.append(Unit(number, line))
            fresh, is_row = True, True
        elif fresh or re.match(r"\s*(?:[-*]|\d+\.) ", line):
            units.append(Unit(number, line))
            fresh = False
        else:
            units[-1].text += " " + line.strip()
    return units


class Checker:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.tests = NamedTests(root)
        self.faults: list[str] = []
        self.promises = 0

    def report(self, path: str, line: int, fault: str, remedy: str) -> None:
        self.faults.append(f"{path}:{line}: {fault}; {remedy}")

    def check_references(self, path: str, line: int, text: str, *, only: bool) -> int:
        """@param only: nothing else is named there; else a file may be named for its own sake"""
        found = 0
        for named, case in REFERENCE.findall(text):
            if only or case or self.tests.is_run(named):
                found += 1
                if fault := self.tests.fault_of(named, case or None):
                    self.report(path, line, *fault)
        return found

    def footnotes_of(self, path: str, text: str) -> set[str]:
        """Those that are defined. Each names a test and is used."""
        defined = set()
        for note in DEFINITION.finditer(text):
            line = text.count("\n", 0, note.start()) + 1
            joined = re.sub(r"\s+", " ", note.group(2))
            if self.check_references(path, line, joined, only=True) == 0:
                self.report(path, line, f"[^{note.group(1)}] names no test", "name one")
            if note.group(1) in defined:
                self.report(path, line, f"[^{note.group(1)}] is there twice", "drop one")
            defined.add(note.group(1))
        for name in sorted(defined - set(FOOTNOTE.findall(text))):
            self.report(path, 1, f"[^{name}] is used nowhere", "drop it")
        return defined

    def check_unit(self, path: str, unit: Unit, notes: set[str], laws: bool) -> None:
        self.promises += 1
        used = FOOTNOTE.findall(unit.text)
        for name in used:
            if name not in notes:
                self.report(path, unit.line, f"[^{name}] is not defined", "add it at the end")
        named = self.check_references(path, unit.line, unit.text, only=False) + len(used)
        if named == 0 and not (laws and LAW.search(unit.text)):
            said = unit.text.strip("| ")[:60]
            self.report(path, unit.line, f"'{said}…' names no test", "name the one that shows it")

    def check(self, path: str) -> None:
        text = (self.root / path).read_text(encoding="utf-8")
        lines = text.split("\n")
        notes = self.footnotes_of(path, text)
        marks = [(n, m.group(1)) for n, line in enumerate(lines) if (m := MARK.match(line))]
        ends = [n for n, _ in marks[1:]] + [len(lines)]
        if path in MARKED:
            for unit in units_of(lines[: marks[0][0] if marks else len(lines)], 1):
                self.report(path, unit.line, "is neither", "say <!-- promises --> or what it is")
        for (begin, kind), end in zip(marks, ends):
            if kind == "promises":
                for unit in units_of(lines[begin + 1 : end], begin + 2):
                    self.check_unit(path, unit, notes, laws=path.startswith("docs/how-to/"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent)
    root = parser.parse_args().root.resolve()

    checker = Checker(root)
    others = (path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md"))
    documents = sorted({*MARKED, *others})
    for document in documents:
        checker.check(document)
    for fault in checker.faults:
        print(fault)
    named = checker.tests.checked
    print(f"{checker.promises} promises, {named} tests named, {len(checker.faults)} faults")
    return 1 if checker.faults else 0


if __name__ == "__main__":
    sys.exit(main())
