#!/usr/bin/env python3
"""Looks whether every label that the code, the tests and the documents use is explained.

A label is a letter with a number, such as I1 or D11, or the number of a row of go-dqlite's tests,
such as 7.3-15. It is explained where a row of a table in docs/ begins with it. In C++ files labels
are looked for in comments and strings. Also looked for: explanations that nothing refers to, test
cases that name a section of go-dqlite's description which is in no table, and laws whose sentence
is not the one that the conformance suites print.

Each fault is a line `FILE:LINE: what is wrong; what to do`.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import re
import sys

TABLE = "docs/design/labels.md"
FOLDERS = ("include", "tests", "docs", "benchmarks")
SUFFIXES = {".hpp", ".ipp", ".cpp", ".md", ".py", ".sh", ".build", ".txt"}
SKIPPED = {"data", "corpus", "__pycache__"}

LABEL = re.compile(r"(?<![\w.#'\\/-])(?:[A-Z]\d{1,2}|\d\.\d-\d\d)(?![\w'])")
RANGE = re.compile(r"\b([A-Z])(\d{1,2})(?: to |–| … )([A-Z])?(\d{1,2})\b")
HEX = re.compile(r"\b[0-9A-F]{2}(?: [0-9A-F]{2})+\b")
ROW = re.compile(r"^\| *((?:[A-Z]\d{1,2})|(?:\d(?:\.\d)?(?:-\d\d)?)) *\|(.*)\|$", re.MULTILINE)
LAW = re.compile(
    r'(?:law_check \w+\(report, |laws\.add\(|^    \{)"([A-Z]\d+)",\s*("[^"]*"(?:\s*"[^"]*")*)',
    re.MULTILINE,
)
SECTION = re.compile(r'TEST_CASE\(\s*"(\d(?:\.\d)?)[: ]')
LAWS = "PALSWBTND"

# What looks like one and is none.
NO_LABELS = {
    "tests/unit/storage_conformance.cpp": {"A9"},  # asks for a law that there is not
    "tests/labels.py": {"A9"},
}


def text_of(path: pathlib.Path) -> str:
    """What may hold labels; lines stay where they were."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix in (".hpp", ".ipp", ".cpp"):
        kept = re.compile(r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|//[^\n]*', re.DOTALL)
        out, at = [], 0
        for match in kept.finditer(text):
            out.append(re.sub(r"[^\n]", " ", text[at : match.start()]))
            out.append(match.group(0))
            at = match.end()
        text = "".join(out)
    elif path.suffix == ".txt":  # a scenario: the line that tells the old test has words of its own
        text = re.sub(r"(?m)^# Seed:(?:.*\n#(?= ))*.*$", lambda m: "\n" * m[0].count("\n"), text)
        text = re.sub(r"(?m)^(?!#).*$", "", text)
    return HEX.sub(lambda m: " " * len(m[0]), text)


class Labels:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.explained: dict[str, list[tuple[str, int, str]]] = collections.defaultdict(list)
        self.used: set[str] = set()
        self.sentences: dict[str, set[str]] = collections.defaultdict(set)
        self.faults: list[str] = []
        self.files = self.find_files()

    def report(self, path: str, line: int, fault: str, remedy: str) -> None:
        self.faults.append(f"{path}:{line}: {fault}; {remedy}")

    def find_files(self) -> list[pathlib.Path]:
        found = sorted(self.root.glob("*.md"))
        for folder in FOLDERS:
            for around, folders, names in os.walk(self.root / folder):
                folders[:] = sorted(set(folders) - SKIPPED)
                found += [
                    pathlib.Path(around) / name
                    for name in sorted(names)
                    if pathlib.PurePath(name).suffix in SUFFIXES
                ]
        return found

    def read_tables(self) -> None:
        for path in sorted((self.root / "docs").rglob("*.md")):
            text = path.read_text(encoding="utf-8")
            for row in ROW.finditer(text):
                where = path.relative_to(self.root).as_posix()
                line = text.count("\n", 0, row.start()) + 1
                if row.group(2).strip(" |"):
                    self.explained[row.group(1)].append((where, line, row.group(2).strip()))
        for path in (self.root / "include/quorlite/testing").rglob("*.[hi]pp"):
            for law, literals in LAW.findall(path.read_text(encoding="utf-8")):
                self.sentences[law].add("".join(re.findall(r'"([^"]*)"', literals)))

    def look_at(self, path: pathlib.Path) -> None:
        where = path.relative_to(self.root).as_posix()
        text = text_of(path)
        rows = {line for found in self.explained.values() for at, line, _ in found if at == where}
        for first in RANGE.finditer(text):
            if first.group(3) in (None, first.group(1)):
                self.used.update(
                    f"{first.group(1)}{number:0{len(first.group(2))}}"
                    for number in range(int(first.group(2)), int(first.group(4)) + 1)
                )
        for match in LABEL.finditer(text):
            label, line = match.group(0), text.count("\n", 0, match.start()) + 1
            if label in NO_LABELS.get(where, ()):
                continue
            if label not in self.explained:
                self.report(where, line, f"{label} is not explained", f"add a row to {TABLE}")
            begins_row = line in rows and not text[: match.start()].rsplit("\n", 1)[-1].strip("| ")
            if not begins_row:
                self.used.add(label)
        for match in SECTION.finditer(path.read_text(encoding="utf-8", errors="replace")):
            section = match.group(1)
            if section not in self.explained:
                self.report(where, 1, f"section {section} is not explained", f"see {TABLE}")

    def check_laws(self) -> None:
        for law, sentences in self.sentences.items():
            rows = [row for row in self.explained.get(law, []) if row[0] == TABLE]
            told = {row[2].strip(" |") for row in rows}
            if not told & sentences:
                line = rows[0][1] if rows else 1
                self.report(TABLE, line, f"{law} is not '{min(sentences)}'", "copy its sentence")
        for label, rows in self.explained.items():
            if label[0] in LAWS and label not in self.sentences:
                for where, line, _ in rows:
                    if where == TABLE:
                        self.report(where, line, f"no suite has a law {label}", "drop the row")

    def check_use(self) -> None:
        for label, rows in sorted(self.explained.items()):
            where, line, _ = rows[0]
            if re.match(r"[A-Z]", label) and label not in self.used:
                self.report(where, line, f"nothing refers to {label}", "drop the row")

    def check(self) -> None:
        self.read_tables()
        for path in self.files:
            self.look_at(path)
        self.check_laws()
        self.check_use()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent)
    labels = Labels(parser.parse_args().root.resolve())
    labels.check()
    for fault in labels.faults:
        print(fault)
    counted = f"{len(labels.explained)} explained, {len(labels.used)} in use"
    print(f"{len(labels.files)} files, {counted}, {len(labels.faults)} faults")
    return 1 if labels.faults else 0


if __name__ == "__main__":
    sys.exit(main())
