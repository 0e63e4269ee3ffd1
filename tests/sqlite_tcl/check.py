"""scripts.txt is as run.py reads it: sorted, with a reason for each script that differs. And its
numbers are those of docs/reference/sqlite.md.
"""

import pathlib
import sys

from results import read_known


def main() -> int:
    here = pathlib.Path(__file__).resolve().parent
    table = read_known(here / "scripts.txt")
    faults = []
    if list(table.known) != sorted(table.known):
        faults.append("scripts are sorted by their names")
    for name in table.short:
        if name not in table.known:
            faults.append(f"{name} is among the short ones and is not known")
    for known in table.known.values():
        if known.kinds and not (known.fails or known.ends_early or known.counts_differ):
            faults.append(f"{known.name} differs, and nothing says in what")
        if not known.kinds and (known.fails or known.ends_early or known.reason):
            faults.append(f"{known.name} is the same, and has a reason to differ")
    used = {kind for known in table.known.values() for kind in known.kinds}
    faults += [f"no script is of the kind {kind}" for kind in table.kinds if kind not in used]
    same = [known for known in table.known.values() if not known.kinds]
    tests = f"{sum(known.tests for known in same):,}".replace(",", " ")
    differ = len(table.known) - len(same)
    told = (here.parents[1] / "docs" / "reference" / "sqlite.md").read_text()
    rows = (f"| {len(same)} of SQLite's Tcl scripts, with {tests} tests (", f"| {differ} more |")
    for words in rows:
        if words not in told:
            faults.append(f"docs/reference/sqlite.md does not say `{words}`")
    for fault in faults:
        print(f"scripts.txt: {fault}")
    print(f"{len(same)} scripts are the same, with {tests} tests; {differ} differ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
