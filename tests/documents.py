#!/usr/bin/env python3
"""Looks whether what documents name in code font exists.

Read are the Markdown files at the top and those of docs/, include/ and benchmarks/, but for the
changelog, which tells of the past. In what stands between backticks, and in code blocks:

  - a path is a file or a folder, seen from the top, from include/, include/quorlite/ or from the
    document's own folder; below a build folder it is what a meson.build makes
  - a flag `--x` stands in the source of some program of the tree, unless the command is another's
  - a name `A::b` is a member of a class, enumeration or namespace A of the library
  - any other word stands in some source, outside of comments, or in WELL_KNOWN, with a reason

So do links lead somewhere, the paths that comments in the sources name, and what stands between
backticks in comments of the headers. The table of locks in the architecture page has every mutex of
the headers, but for those of the testing room.

Each fault is a line `FILE:LINE: what is wrong; what to do`.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import re
import sys

NOT_READ = {"CHANGELOG.md"}
FOLDERS = ("docs", "include", "benchmarks")
SOURCES = ("include", "tests", "benchmarks", "docs/examples", "packaging")
SOURCES += ("subprojects/packagefiles",)
SOURCE_SUFFIXES = {".hpp", ".ipp", ".cpp", ".h", ".py", ".sh", ".build", ".in", ".sql", ".txt"}
SOURCE_SUFFIXES |= {".cmake"}
TOP_SOURCES = ("meson.build", "meson_options.txt", "meson.options", "CMakeLists.txt", ".ci/run")
TOP_SOURCES += (".clang-format", ".clang-tidy")
SKIPPED_FOLDERS = {".git", ".cache", "__pycache__", "corpus", "golden"}

# What documents name and no source of ours has, and why that is well.
WELL_KNOWN = {
    "commands of others: their flags are theirs, too": """
        meson ninja cmake ccache pkg-config g++ clang++ git pkill apt-get""",
    "C++ that this library does not use, and ways to write names": """
        source_location thread_local snake_case PascalCase timeout_ms""",
    "a file that is seldom there": "unclosed-3",
    "packages of Debian": "libraft-dev libuv1-dev",
    "clang-tidy's": "NOLINT",
    "headers of other packages": "sqlite3.h raft.h uv.h",
    "SQLite's and C's, which others call": "xLock SQLITE_OPEN_NOMUTEX strtok",
    "options of SQLite's build, which tests/sqlites/run.py has without SQLITE_": """
        SQLITE_OMIT_AUTOINIT SQLITE_DEFAULT_LOCKING_MODE SQLITE_DEFAULT_SYNCHRONOUS""",
    "how go-dqlite's tests say that a step fails": "NL LL",
    "places that a reader has, or that the commands of the document make": """
        data/1 subprojects/quorlite build/data/1/databases/app.db build-install""",
}
# Names that stand for any: what a reader writes, and X.hpp.
ANY = re.compile(r"my_\w+|[A-Z]\.[hi]pp")

LOCKS = "docs/design/architecture.md"

# The old names stand there on purpose: tests/words.py looks that they stand nowhere else.
OLD_WORDS = ("docs/design/words.md", 2)  # from this column on

FENCE = re.compile(r"^(```+)(\w*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SUFFIXES = r"(?:hpp|ipp|cpp|h|py|sh|md|txt|build|sql|in|wrap|json)"
PATH = re.compile(
    r"(?<![\w./<:-])((?:\.{0,2}[\w*+-][\w.*+-]*/)+[\w.*+-]*|"
    rf"[\w*-]+(?:\.[\w*-]+)*\.{SUFFIXES})(?![\w/])"
)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
DEFINE = re.compile(r"(?<!\w)-D(?=\w)")
MEMBER = re.compile(r"(?<![\w:])(?!std::|tl::|SQLite::)(?:quorlite::)?((?:\w+::)*\w+)::(~?\w+)")
WORD = re.compile(r"(?<!\w)[A-Za-z_]\w*(?:-\w+)*")
TEXT = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'')


# ---- what there is -------------------------------------------------------------------


def source_files(root: pathlib.Path) -> list[pathlib.Path]:
    found = [root / name for name in TOP_SOURCES if (root / name).is_file()]
    for folder in SOURCES:
        for around, folders, names in os.walk(root / folder):
            folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
            found += [
                pathlib.Path(around) / name
                for name in sorted(names)
                if pathlib.PurePath(name).suffix in SOURCE_SUFFIXES
            ]
    return found


def without_comments(path: pathlib.Path, text: str) -> str:
    def blank(match: re.Match) -> str:
        found = match.group(0)
        return found if found[0] in "\"'R" else re.sub(r"[^\n]", " ", found)

    if path.suffix in (".hpp", ".ipp", ".cpp", ".h") or path.name.endswith(".cpp.in"):
        pattern = r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/'
        return re.sub(pattern, blank, text, flags=re.DOTALL)
    return re.sub(r"(?m)^\s*#(?!\s*(?:include|define)).*$", "", text)


def end_of_block(code: str, opening: int) -> int:
    depth = 0
    for position in range(opening, len(code)):
        depth += {"{": 1, "}": -1}.get(code[position], 0)
        if depth == 0:
            return position
    return len(code)


class Tree:
    """The names and files of the project."""

    SCOPE = re.compile(
        r"\b(?:class|struct|enum(?:\s+class)?|namespace|union)\s+(?:QUORLITE_\w+\s+)?"
        r"(?P<name>[\w:]+)\s*(?:final\s*)?(?P<bases>:[^;{}()]*)?\{"
    )

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.words: set[str] = set()
        self.flags: set[str] = set()
        self.comments: list[tuple[pathlib.Path, str]] = []
        self.members: dict[str, set[str]] = collections.defaultdict(set)
        self.bases: dict[str, set[str]] = collections.defaultdict(set)
        self.aliases = {"quorlite", "detail", "testing"}  # what a namespace is called
        self.builds: list[str] = []
        self.locks: set[str] = set()
        for path in source_files(root):
            text = path.read_text(encoding="utf-8", errors="replace")
            code = without_comments(path, text)
            plain = DEFINE.sub(" ", code)
            self.words.update(re.findall(r"\w+(?:-\w+)*", plain), re.findall(r"\w+", plain))
            self.flags.update(FLAG.findall(code))
            if path.suffix in (".hpp", ".ipp", ".cpp", ".py", ".sh", ".build"):
                self.comments.append((path, text))
            self.aliases.update(re.findall(r"\bnamespace (\w+) = quorlite\b", code))
            if path.suffix in (".hpp", ".ipp"):
                self.add_members(code)
                inside = path.relative_to(root).as_posix()  # the clone may be called quorlite too
                if "/quorlite/" in inside and "/testing/" not in inside:
                    self.add_locks(code)
            if path.name == "meson.build":
                self.builds.append(text)
        self.words.update(path.name for path in root.iterdir())

    def add_members(self, code: str) -> None:
        for head in self.SCOPE.finditer(code):
            name = head.group("name").split("::")[-1]
            body = code[head.end() : end_of_block(code, head.end() - 1)]
            self.members[name].update(re.findall(r"\w+", body))
            self.bases[name].update(re.findall(r"\w+", head.group("bases") or ""))
        for alias, meant in re.findall(r"\busing (\w+) = (?:typename )?([\w:]+)", code):
            self.bases[alias].add(meant.split("::")[-1])

    def add_locks(self, code: str) -> None:
        scopes = [
            (head.start(), end_of_block(code, head.end() - 1), head.group("name").split("::")[-1])
            for head in self.SCOPE.finditer(code)
        ]
        for lock in re.finditer(r"\bstd::(?:\w+_)?mutex (\w+);", code):
            around = [name for begin, end, name in scopes if begin < lock.start() < end]
            self.locks.add(f"{around[-1]}::{lock.group(1)}")

    def has_member(self, name: str, member: str, seen: frozenset[str] = frozenset()) -> bool:
        return member in self.members.get(name, set()) or any(
            base not in seen and self.has_member(base, member, seen | {name})
            for base in self.bases.get(name, set())
        )

    def has_path(self, path: str, document: pathlib.Path) -> bool:
        places = ("", "include", "include/quorlite", document.parent.as_posix())
        wanted = path.rstrip("/")
        if "*" in wanted:
            return any(any((self.root / place).glob(wanted)) for place in places)
        if any((self.root / place / wanted).exists() for place in places):
            return True
        return "/" not in wanted and self.is_a_name(wanted)

    def is_a_name(self, name: str) -> bool:
        """A file that is named without its folder."""
        return any(path.name == name for path, _ in self.comments)

    def makes(self, path: str) -> bool:
        """Whether a meson.build makes what is named by its path in a build folder."""
        name = pathlib.PurePosixPath(path).name
        return any(re.search(rf"'{re.escape(name)}'", text) for text in self.builds)


# ---- reading documents ---------------------------------------------------------------


class Checker:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.tree = Tree(root)
        self.known = {word for text in WELL_KNOWN.values() for word in text.split()}
        self.others = next(iter(WELL_KNOWN.values())).split()
        self.faults: list[str] = []
        self.checked = 0

    def report(self, path: pathlib.Path, line: int, fault: str, remedy: str) -> None:
        self.faults.append(f"{path.as_posix()}:{line}: {fault}; {remedy}")

    def check_path(self, path: pathlib.Path, line: int, named: str) -> None:
        self.checked += 1
        if named in self.known or ANY.fullmatch(named):
            return
        build = re.match(r"build[\w-]*/(.*)", named)
        if build:
            if not self.tree.makes(build.group(1)):
                self.report(path, line, f"names {named}: nothing makes it", "see the meson.build")
        elif not self.tree.has_path(named, path):
            self.report(path, line, f"names {named}: missing", "name what exists")

    def check_code(
        self, path: pathlib.Path, line: int, code: str, paths_only: bool = False
    ) -> None:
        for match in PATH.finditer(code):
            self.check_path(path, line + code.count("\n", 0, match.start()), match.group(1))
        if paths_only:
            return
        code = PATH.sub(" ", code)
        for number, one in enumerate(code.split("\n")):
            ours = not one.split() or one.split()[0] not in self.others
            for flag in FLAG.findall(one) if ours else []:
                self.checked += 1
                if flag not in self.tree.flags:
                    self.report(path, line + number, f"names the flag {flag}", "no program has it")
        code = DEFINE.sub(" ", FLAG.sub(" ", code))
        for name, member in MEMBER.findall(code):
            self.checked += 1
            scope = name.split("::")[-1]
            if scope not in self.tree.aliases and not self.tree.has_member(scope, member):
                self.report(path, line, f"names {scope}::{member}: no such member", "name one")
        for word in WORD.findall(TEXT.sub(" ", code)):
            self.checked += 1
            if not (word in self.tree.words or word in self.known or ANY.fullmatch(word)):
                self.report(path, line, f"names {word}", "no source has it: see WELL_KNOWN")

    def check_block(self, path: pathlib.Path, line: int, language: str, code: str) -> None:
        if language == "cpp":
            code = without_comments(pathlib.Path("block.cpp"), code)
        # Without a language it is a drawing, or what a program says.
        self.check_code(path, line, code, paths_only=language == "")

    def check_document(self, path: pathlib.Path) -> None:
        text = (self.root / path).read_text(encoding="utf-8")
        line = lambda at: text.count("\n", 0, at) + 1  # noqa: E731
        rest = list(text)
        for fence in FENCE.finditer(text):
            self.check_block(path, line(fence.start(3)), fence.group(2), fence.group(3))
            for at in range(*fence.span()):
                rest[at] = rest[at] if rest[at] == "\n" else " "
        plain = "".join(rest)
        for span in INLINE.finditer(plain):
            before = plain.rfind("\n", 0, span.start())
            column = plain.count("|", before, span.start()) - 1
            if path.as_posix() == OLD_WORDS[0] and column >= OLD_WORDS[1]:
                continue
            self.check_code(path, line(span.start()), span.group(2))
        for link in LINK.finditer(plain):
            target = link.group(1).split("#")[0]
            if target and not target.startswith("http"):
                self.checked += 1
                if not (self.root / path.parent / target).exists():
                    self.report(path, line(link.start()), f"links to {target}: missing", "mend it")

    def check_locks(self) -> None:
        """The table of locks has every mutex of the library, and no other."""
        text = (self.root / LOCKS).read_text(encoding="utf-8")
        rows = {}
        for row in re.finditer(r"^\| `([\w:]+)` \|", text, re.MULTILINE):
            rows["::".join(row.group(1).split("::")[-2:])] = text.count("\n", 0, row.start()) + 1
        for name in sorted(self.tree.locks - set(rows)):
            self.report(pathlib.Path(LOCKS), 1, f"has no row for {name}", "add it to the locks")
        for name in sorted(set(rows) - self.tree.locks):
            if name.split("::")[-1].startswith(("mutex", "reading_")) or "mutex" in name:
                self.report(pathlib.Path(LOCKS), rows[name], f"{name} is no lock", "drop the row")

    def check_comments(self) -> None:
        comment = re.compile(r"(?m)(?://|^\s*#).*$")
        for path, text in self.tree.comments:
            where = path.relative_to(self.root)
            for one in comment.finditer(text):
                if "#include" in one.group(0).replace(" ", ""):
                    continue
                line = text.count("\n", 0, one.start()) + 1
                for match in PATH.finditer(one.group(0)):
                    named = match.group(1)
                    if re.fullmatch(rf".*\.{SUFFIXES}", named) and "*" not in named:
                        self.check_path(where, line, named)
                if where.parts[0] == "include" and path.suffix != ".build":
                    for span in INLINE.finditer(PATH.sub(" ", one.group(0))):
                        self.check_code(where, line, span.group(2))


def documents_of(root: pathlib.Path) -> list[pathlib.Path]:
    found = [path for path in root.glob("*.md") if path.name not in NOT_READ]
    for folder in FOLDERS:
        found += (root / folder).rglob("*.md")
    return sorted(path.relative_to(root) for path in found)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent)
    root = parser.parse_args().root.resolve()

    checker = Checker(root)
    documents = documents_of(root)
    for document in documents:
        checker.check_document(document)
    checker.check_comments()
    checker.check_locks()
    for fault in checker.faults:
        print(fault)
    print(f"{len(documents)} documents, {checker.checked} names, {len(checker.faults)} faults")
    return 1 if checker.faults else 0


if __name__ == "__main__":
    sys.exit(main())
