"""Counts what a test run did, from Meson's testlog.json, and prints `N passed, N failed`.

Tests that were skipped are named, with the reason that they gave.

A Catch2 program counts as its test cases, any other program as one. A program that crashed, timed
out or ended badly counts as at least one failure; so does a Catch2 program that ran no case.
Under the name of each stands the end of what it printed.
Exits with 1 when anything failed or nothing ran.
"""

import argparse
import json
import pathlib
import re
import sys

ALL_PASSED = re.compile(r"^All tests passed \(.*\bin (\d+) test cases?\)", re.MULTILINE)
SOME_FAILED = re.compile(r"^test cases:\s*(\d+)\s*\|(.*)$", re.MULTILINE)
NONE_RAN = re.compile(r"^No tests ran", re.MULTILINE)


def catch2_counts(output: str) -> dict[str, int] | None:
    """The last Catch2 summary in a program's output, whichever of its two forms it has."""
    output = re.sub(r"\x1b\[[0-9;]*m", "", output)
    summaries = sorted(
        [*ALL_PASSED.finditer(output), *SOME_FAILED.finditer(output), *NONE_RAN.finditer(output)],
        key=lambda match: match.start(),
    )
    if not summaries:
        return None
    last = summaries[-1]
    if last.re is ALL_PASSED:
        return {"passed": int(last.group(1))}
    if last.re is NONE_RAN:
        return {}
    counts: dict[str, int] = {}
    words = r"(\d+) (passed|failed as expected|failed|skipped)"
    for number, word in re.findall(words, last.group(2)):
        name = "passed" if word == "failed as expected" else word
        counts[name] = counts.get(name, 0) + int(number)
    return counts


def counts_of(test: dict) -> dict[str, int]:
    """What one program adds to the sum."""
    outcome = test["result"]
    if outcome in {"SKIP", "IGNORED"}:
        return {"skipped": 1}
    counts = catch2_counts(test.get("stdout") or "")
    if counts is None:
        counts = {"passed": 1} if outcome in {"OK", "EXPECTEDFAIL"} else {}
    elif not counts:
        counts = {"failed": 1}
    if outcome not in {"OK", "EXPECTEDFAIL"} and counts.get("failed", 0) == 0:
        counts["failed"] = 1
    return counts


def reason_of(test: dict) -> str:
    """Why a test says that it was skipped."""
    reasons = re.findall(r"^skipped: (.+)$", test.get("stdout") or "", re.MULTILINE)
    return reasons[-1] if reasons else "it does not say why"


def end_of_output(test: dict, count: int = 25) -> list[str]:
    """Its last lines, standard error behind standard output."""
    lines = []
    for stream in ("stdout", "stderr"):
        said = (test.get(stream) or "").splitlines()
        lines += [f"  {stream}: {line[:300]}" for line in said[-count:] if line.strip()]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=pathlib.Path, help="meson-logs/testlog.json of a build folder")
    options = parser.parse_args()

    total = {"passed": 0, "failed": 0, "skipped": 0}
    bad = []
    skips: dict[str, list[str]] = {}
    lines = options.log.read_text(encoding="utf-8").splitlines() if options.log.is_file() else []
    for line in lines:
        test = json.loads(line)
        counts = counts_of(test)
        for name, number in counts.items():
            total[name] += number
        if test["result"] == "SKIP":
            skips.setdefault(reason_of(test), []).append(test["name"].split(" / ")[-1])
        if counts.get("failed", 0) > 0:
            bad.append(f"failed: {test['name']} ({test['result']}, {counts['failed']} failed)")
            bad += end_of_output(test)
    if not lines:
        bad.append("failed: no test ran")
        total["failed"] = 1
    for why, names in skips.items():
        print(f"skipped: {', '.join(names)}: {why}")
    for line in bad:
        print(line)
    skipped = f", {total['skipped']} skipped" if total["skipped"] > 0 else ""
    print(f"{total['passed']} passed, {total['failed']} failed{skipped}")
    return 0 if total["failed"] == 0 and total["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
