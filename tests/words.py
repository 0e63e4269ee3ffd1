#!/usr/bin/env python3
"""Looks for words that docs/design/words.md calls old.

Headers, documents, examples and the texts at the top are read. A word counts alone, in any case,
as `git grep -wi` has it. Each find is a line `FILE:LINE: the old word; the new one`.
"""

import argparse
import pathlib
import re
import sys

TABLE = "docs/design/words.md"
# The legacy room speaks of the formats of 2018, and the table of the words themselves.
LEFT_OUT = ("include/quorlite/detail/legacy/", TABLE)
FOLDERS = ("include", "docs")
ENDINGS = {".hpp", ".ipp", ".cpp", ".md", ".py", ".sh"}


def old_words(table: str) -> dict[str, str]:
    """Each pattern of the third column, and what the second column says instead."""
    words = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and line.startswith("| ") and cells[0] != "old":
            for pattern in re.findall(r"`([^`]+)`", cells[2]):
                words[pattern.lower()] = cells[1]
    return words


def files_of(root: pathlib.Path) -> list[pathlib.Path]:
    found = [path for folder in FOLDERS for path in (root / folder).rglob("*")]
    found += root.glob("*.md")
    return sorted(
        path
        for path in found
        if path.suffix in ENDINGS
        and path.is_file()
        and path.name != "CHANGELOG.md"  # tells of the past
        and not path.relative_to(root).as_posix().startswith(LEFT_OUT)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path())
    root = parser.parse_args().root.resolve()

    words = old_words((root / TABLE).read_text(encoding="utf-8"))
    files = files_of(root)
    if len(words) < 30 or len(files) < 100:
        print(f"{TABLE}: {len(words)} words and {len(files)} files were read; is the table whole?")
        return 1
    any_word = re.compile(
        r"(?<!\w)(" + "|".join(re.escape(word) for word in words) + r")(?!\w)", re.IGNORECASE
    )
    finds = 0
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in any_word.finditer(line):
                old = match.group(1)
                print(f"{path.relative_to(root)}:{number}: {old}; say {words[old.lower()]}")
                finds += 1
    print(f"{len(files)} files, {len(words)} old words, {finds} finds")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
