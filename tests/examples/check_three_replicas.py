"""Runs docs/examples/three_replicas in many ways and checks what it answers.

usage: check_three_replicas.py CASE PROGRAM
QUORLITE_TEST_PROFILE=short makes the long cases shorter.
"""

import collections.abc
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile

HARD = pathlib.Path(__file__).resolve().parent.parent / "data" / "hard.sql"
SHORT = os.environ.get("QUORLITE_TEST_PROFILE") == "short"
PAGE_SIZES = (512, 1024, 4096, 16384, 65536)

KEYS = [
    "statements",
    "transactions",
    "failovers",
    "retries",
    "unknown_resolved",
    "entries",
    "entry_bytes",
    "full_page_bytes",
    "snapshots_installed",
    "replicas",
    "identical",
    "matches_sqlite",
    "seconds",
]
REPLICA_KEYS = ["id", "role", "applied_index", "page_count", "page_hash", "integrity"]


class Program:
    def __init__(self, path: str):
        self.path = path

    def run(self, *arguments: object) -> subprocess.CompletedProcess:
        command = [self.path, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=280)

    def good_run(self, *arguments: object, failovers: int = 0, replicas: int = 3) -> dict:
        """A run that must end well. Returns its report."""
        asked = [*arguments, "--failovers", failovers, "--replicas", replicas, "--json"]
        result = self.run(*asked)
        context = f"{' '.join(map(str, asked))}\n{result.stdout}{result.stderr}"
        expect(result.returncode == 0, f"exit {result.returncode}: {context}")
        expect(result.stderr == "", f"it complained: {context}")
        report = json.loads(result.stdout)
        expect(list(report) == KEYS, f"keys: {context}")
        expect(report["identical"] and report["matches_sqlite"], context)
        expect(report["failovers"] == failovers, f"failovers: {context}")
        check_replicas(report["replicas"], replicas, context)
        return report


def expect(holds: bool, text: str) -> None:
    if not holds:
        sys.exit(text)


def check_replicas(found: list, wanted: int, context: str) -> None:
    expect([one["id"] for one in found] == list(range(1, wanted + 1)), f"ids: {context}")
    expect(all(list(one) == REPLICA_KEYS for one in found), f"keys of replicas: {context}")
    expect([one["role"] for one in found].count("leader") == 1, f"roles: {context}")
    expect(all(one["integrity"] == "ok" for one in found), f"integrity: {context}")
    for key in ("applied_index", "page_count", "page_hash"):
        expect(len({one[key] for one in found}) == 1, f"{key} differs: {context}")


def add_up(reports: list[dict]) -> None:
    names = ("failovers", "retries", "unknown_resolved", "snapshots_installed")
    sums = {name: sum(report[name] for report in reports) for name in names}
    print(f"{len(reports)} runs: " + ", ".join(f"{sums[name]} {name}" for name in names))
    for name, total in sums.items():
        expect(total > 0, f"in all runs together no {name}: the runs are too easy")


# ---- the cases -----------------------------------------------------------------------


def seeds(program: Program) -> None:
    """Our own script, many failovers, many seeds."""
    runs = [program.good_run("--seed", seed, failovers=10) for seed in range(10 if SHORT else 60)]
    add_up(runs)
    for key in ("statements", "transactions"):
        expect(len({run[key] for run in runs}) == 1, f"{key} depends on the seed")


def page_sizes(program: Program) -> None:
    for size in PAGE_SIZES:
        add_up([program.good_run("--page-size", size, "--seed", size, failovers=8)])


def hard_script(program: Program) -> None:
    """Large blobs and transactions, VACUUM, errors: at every page size."""
    runs = []
    for size in PAGE_SIZES:
        for seed in range(1 if SHORT else 4):
            script = ["--sql", HARD, "--page-size", size, "--seed", seed]
            runs.append(program.good_run(*script, failovers=8))
    add_up(runs)
    expect(
        all(run["entries"] > run["transactions"] + 10 for run in runs),
        "no transaction was larger than an entry may be",
    )


def sizes_of_cluster(program: Program) -> None:
    for replicas in (1, 2, 3, 4, 5, 9):
        program.good_run("--seed", replicas, failovers=5, replicas=replicas)
        program.good_run("--sql", HARD, "--seed", replicas, failovers=3, replicas=replicas)
    program.good_run(failovers=200)  # more than there are statements


def same_seed_twice(program: Program) -> None:
    """Everything is the same but for the time it took."""

    def outcome(*arguments: object) -> dict:
        report = program.good_run(*arguments, failovers=6)
        expect(report.pop("seconds") > 0, "it took no time")
        return report

    outcomes = []
    for seed in range(5):
        arguments = ["--sql", HARD, "--seed", seed]
        outcomes.append(outcome(*arguments))
        expect(outcome(*arguments) == outcomes[-1], f"seed {seed} gave another run")
    expect(any(one != outcomes[0] for one in outcomes), "the seed changes nothing")


def dump(program: Program) -> None:
    """What is dumped is an ordinary database, the same from every replica."""
    for size in PAGE_SIZES:
        with tempfile.TemporaryDirectory() as parent:
            folder = pathlib.Path(parent) / "made" / "for it"
            report = program.good_run(
                *("--sql", HARD, "--page-size", size, "--dump", folder), failovers=4
            )
            names = sorted(path.name for path in folder.iterdir())
            expect(names == [f"replica-{i}.db" for i in (1, 2, 3)], f"files: {names}")
            images = [(folder / name).read_bytes() for name in names]
            expect(images[0] == images[1] == images[2], "the files differ")
            expect(len(images[0]) == size * report["replicas"][0]["page_count"], "their size")
            database = sqlite3.connect(folder / names[1])
            for query, wanted in (
                ("PRAGMA integrity_check", "ok"),
                ("PRAGMA user_version", 42),
                ("SELECT what FROM audit ORDER BY id DESC", "the end"),
            ):
                row = database.execute(query).fetchone()
                expect(row == (wanted,), f"{query}: {row}")
            database.close()


def music_store(rows: int) -> collections.abc.Iterator[str]:
    """Rows of a store, one INSERT each: names, prices and keys of other rows, in several tables."""
    yield """CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE album (id INTEGER PRIMARY KEY, title TEXT, artist_id INTEGER
          REFERENCES artist (id));
        CREATE TABLE track (id INTEGER PRIMARY KEY, name TEXT, album_id INTEGER
          REFERENCES album (id), composer TEXT, milliseconds INTEGER, price NUMERIC(10, 2));
        CREATE TABLE playlist_track (playlist_id INTEGER, track_id INTEGER,
          PRIMARY KEY (playlist_id, track_id));
        CREATE INDEX album_by_artist ON album (artist_id);
        CREATE INDEX track_by_album ON track (album_id);"""
    syllables = ("ba", "den", "kor", "li", "mun", "ra", "sol", "ti", "vor", "zan")

    def name(number: int) -> str:
        mixed = number * 2654435761 % 2**32
        words = [syllables[mixed // 10**i % 10] + syllables[mixed // 7**i % 10] for i in range(4)]
        return " ".join(words).title()

    for i in range(1, rows // 40):
        yield f"INSERT INTO artist VALUES ({i}, '{name(i)}');"
    for i in range(1, rows // 30):
        yield f"INSERT INTO album VALUES ({i}, '{name(i * 3)}', {i * 7 % (rows // 40 - 1) + 1});"
    for i in range(1, rows // 3):
        yield (
            f"INSERT INTO track VALUES ({i}, '{name(i * 5)}', {i // 11 % (rows // 30 - 1) + 1},"
            f" '{name(i // 3)}', {200000 + i * 7919 % 99991}, 0.99);"
        )
    for i in range(1, rows // 2):
        yield f"INSERT INTO playlist_track VALUES ({i * 31 % 17 + 1}, {i});"


def row_by_row(program: Program) -> None:
    """Small transactions make small entries: a third of the pages they change, at most."""
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder) / "store.sql"
        script.write_text("\n".join(music_store(1500 if SHORT else 15000)), encoding="utf-8")
        for size in PAGE_SIZES:
            run = program.good_run("--sql", script, "--page-size", size, failovers=5)
            share = run["entry_bytes"] / run["full_page_bytes"]
            print(f"pages of {size}: {run['entries']} entries, {100 * share:.1f} % of the pages")
            expect(share <= 0.35, f"entries are {share} of the pages")


def bad_flags(program: Program) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "file"
        file.write_text("SELECT 1;")
        wrong: list[list[object]] = [
            ["--nonsense"],
            ["--sql"],
            ["--sql", ""],
            ["--sql", folder],
            ["--sql", folder + "/missing.sql"],
            ["--json=yes"],
            ["stray"],
            ["--dump", file],
            ["--dump", file / "below"],
        ]
        for flag, values in {
            "--replicas": ["0", "10", "three", "3.0"],
            "--failovers": ["-1", "many"],
            "--seed": ["-1", "0x10", "18446744073709551616", "1 "],
            "--page-size": ["0", "511", "1000", "131072", "4k"],
        }.items():
            wrong += [[flag], [flag, ""], *[[flag, value] for value in values]]
        for arguments in wrong:
            result = program.run(*arguments)
            expect(result.returncode == 2, f"{arguments}: {result}")
            expect(result.stdout == "" and len(result.stderr) > 20, f"{arguments}: {result}")
            named = str(arguments[0]).split("=", maxsplit=1)[0] in result.stderr
            expect(named or arguments[0] == "--sql", f"{arguments}: {result.stderr}")
        help_text = program.run("--help")
        expect(help_text.returncode == 0 and help_text.stderr == "", f"{help_text}")
        for flag in "--sql --replicas --failovers --seed --page-size --dump --json".split():
            expect(f"  {flag} " in help_text.stdout, f"{flag} is not in {help_text.stdout}")
        equal_sign = program.run(f"--sql={file}", "--seed=7", "--json")
        expect(equal_sign.returncode == 0, f"{equal_sign}")


def failing_script(program: Program) -> None:
    """What only fails here ends the run; what fails on plain SQLite too does not."""
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder) / "script.sql"
        script.write_text("CREATE TABLE t (a);\nATTACH 'no name!' AS x;\n", encoding="utf-8")
        result = program.run("--sql", script, "--json")
        expect(result.returncode == 1 and result.stdout == "", f"{result}")
        expect("ATTACH 'no name!'" in result.stderr, f"the statement: {result}")
        expect("not a database's name" in result.stderr, f"the reason: {result}")

        script.write_text("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1), (1); nonsense")
        for failovers in (0, 4):
            report = program.good_run("--sql", script, failovers=failovers)
            expect(report["statements"] == 3 and report["transactions"] == 1, f"{report}")

        script.write_text("\ufeff-- nothing but words;\n/* and\n; more */ ;;", encoding="utf-8")
        expect(program.good_run("--sql", script)["statements"] == 0, "there is no statement")


CASES = [
    seeds,
    page_sizes,
    hard_script,
    sizes_of_cluster,
    same_seed_twice,
    dump,
    row_by_row,
    bad_flags,
    failing_script,
]


def main() -> None:
    by_name = {case.__name__: case for case in CASES}
    if len(sys.argv) != 3 or sys.argv[1] not in by_name:
        sys.exit(f"{__doc__}CASE: {' '.join(by_name)}")
    by_name[sys.argv[1]](Program(sys.argv[2]))


if __name__ == "__main__":
    main()
