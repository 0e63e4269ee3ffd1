"""Tests that a document names: are they there, and are they run?

A document names a test as `FILE` "test case" where the file is a Catch2 program, and as `FILE`
alone where the file is all of it: a scenario, or a program that a meson.build runs.
"""

from __future__ import annotations

import pathlib
import re

REFERENCE = re.compile(r'`((?:tests|docs/examples|benchmarks)/[^`\s]+)`(?:\s+"([^"]+)")?')
WITH_CASES = ("tests/unit/", "tests/stress/")
SCENARIOS = "tests/scenarios/"


def test_cases(source: str) -> set[str]:
    """The names of the test cases of a C++ file; a name may be several literals in a row."""
    names = set()
    for case in re.finditer(r'\bTEST_CASE\(\s*((?:"(?:\\.|[^"\\])*"\s*)+)', source):
        parts = re.findall(r'"((?:\\.|[^"\\])*)"', case.group(1))
        names.add("".join(parts).replace('\\"', '"'))
    return names


class NamedTests:
    """What there is in one tree."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.cases: dict[str, set[str]] = {}
        self.builds: list[tuple[str, str]] | None = None
        self.checked = 0

    def cases_of(self, path: str) -> set[str]:
        if path not in self.cases:
            self.cases[path] = test_cases((self.root / path).read_text(encoding="utf-8"))
        return self.cases[path]

    def is_run(self, path: str) -> bool:
        """Whether some meson.build names the file, or a folder that it takes all files of."""
        if self.builds is None:
            self.builds = [
                (build.parent.relative_to(self.root).as_posix(), build.read_text(encoding="utf-8"))
                for folder in ("tests", "docs/examples", "benchmarks")
                for build in sorted((self.root / folder).rglob("meson.build"))
            ]
        file = pathlib.PurePosixPath(path)
        for folder, text in self.builds:
            if folder == file.parts[0] or path.startswith(folder + "/"):
                inside = file.relative_to(folder).as_posix()
                if re.search(rf"'(?:{re.escape(inside)}|{re.escape(file.stem)})'", text):
                    return True
                if f"meson.current_source_dir() / '{inside.rpartition('/')[0]}'" in text:
                    return True
            if f"'{file.parent.as_posix()}'" in text and f"'{file.name}'" in text:
                return True
        return False

    def fault_of(self, path: str, name: str | None) -> tuple[str, str] | None:
        """What is wrong with a reference, and what to do; nothing: all is well."""
        self.checked += 1
        if not (self.root / path).is_file():
            return f"names {path}: missing", "name a file that exists"
        if path.startswith(SCENARIOS):
            if not path.endswith(".txt") or name is not None:
                return f"{path} is no scenario alone", "name the file and nothing else"
        elif path.startswith(WITH_CASES):
            if name is None:
                return f"{path} without a test case", 'add its name in "quotes"'
            if name not in self.cases_of(path):
                return f'{path} has no test case "{name}"', "give its present name"
        elif name is not None:
            return f"{path} has no test cases", "name the file alone"
        elif not self.is_run(path):
            return f"{path} is run by no meson.build", "name a test that is run"
        return None
