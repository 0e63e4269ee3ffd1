"""Three sql_node processes under load, and a fault in each round: what was acknowledged stays.

A client that was told "done" finds its row once, one that was told "not done" does not find it, and
all servers hold the same bytes in the end. A failing run prints the one command that repeats it;
processes and their timing are the system's, so a repetition is likely, not certain, to fail again.
"""

import argparse
import json
import pathlib
import random
import shlex
import shutil
import sqlite3
import sys
import tempfile
import time

import network
from cluster import Cluster
from nemesis import Nemesis, Trouble
from sql_process import Lost, wait_until
from workload import SCHEMA, Workload

SKIPPED = 77
CLIENTS = 4


class Run:
    """One run of the test: a cluster, its load, its rounds and what was found."""

    def __init__(self, options: argparse.Namespace, folder: pathlib.Path):
        self.options = options
        self.folder = folder
        self.chance = random.Random(options.seed)
        # So little that both are under way whenever a server is killed.
        flags = ["--snapshot-bytes", "262144", "--flush-bytes", "65536"]
        flags += ["--memory"] if options.memory else []
        kind = network.SeparateNetworks if options.netns else Cluster
        self.cluster = kind(options.node, folder, flags)
        evil = network.CutLinks if options.netns else Nemesis
        self.nemesis = evil(self.cluster, self.chance)
        self.findings: list[str] = []
        self.rounds = 0
        self.befell: dict[str, int] = {}
        self.resolved = 0
        self.counters: dict[int, dict[str, int]] = {}  # of each process, as it told last
        self.term = 0
        self.rows = 0
        self.workload: Workload | None = None
        self.plan = self.planned()

    # ---- the course of it

    def all(self) -> None:
        try:
            self.cluster.start_all()
            self.make_schema()
            self.workload = Workload(self.cluster, self.options.seed, CLIENTS)
            for name in self.plan:
                self.round(name)
                if self.findings:
                    return
            self.end()
        except (Lost, Trouble) as error:
            self.findings.append(str(error))
        finally:
            if self.workload is not None:
                self.workload.close()
            self.findings += self.cluster.fallen()
            self.cluster.close()

    def planned(self) -> list[str]:
        """Each calamity about equally often, in an order of chance."""
        if self.options.nemesis:
            return [self.options.nemesis] * self.options.rounds
        impossible = self.nemesis.NEED_FILES if self.options.memory else ()
        kinds = [name for name in self.nemesis.ROUNDS if name not in impossible]
        names: list[str] = []
        while len(names) < self.options.rounds:
            names += self.chance.sample(kinds, len(kinds))
        return names[: self.options.rounds]

    def make_schema(self) -> None:
        leader = self.nemesis.leader()
        said = self.cluster.process(leader).ask(SCHEMA, 30.0)
        if said:
            raise Trouble(f"the schema cannot be made: {said}")

    def round(self, name: str) -> None:
        began = time.monotonic()
        self.workload.resume()
        self.nemesis.pause(0.3, 1.0)
        what = getattr(self.nemesis, name)()
        self.nemesis.pause(0.3, 1.0)
        if not self.workload.pause():
            self.findings.append("a client hangs")
            return
        healed = time.monotonic()
        self.check()
        self.rounds += 1
        self.befell[name] = self.befell.get(name, 0) + 1
        counts = self.workload.counts()
        say(
            f"round {self.rounds}: {what}; {counts['acknowledged']} acknowledged, "
            f"{counts['refused']} refused, {counts['unknown']} unknown, {self.rows} rows; "
            f"{time.monotonic() - began:.1f} s, even after {time.monotonic() - healed:.1f} s"
        )

    # ---- what must hold between the rounds

    def check(self) -> None:
        self.findings += self.cluster.fallen()
        said = self.cluster.even(self.options.limit)
        if isinstance(said, str):
            self.findings.append(f"not even within {self.options.limit:g} s: {said}")
            return
        if not wait_until(lambda: not self.workload.pending(), 60.0):
            self.findings.append(f"never answered: {self.workload.pending()[:5]}")
            return
        self.term = max(self.term, *(status["term"] for status in said.values()))
        for server, status in said.items():
            self.counters[self.cluster.process(server).pid] = status["counters"]
        for server in self.cluster.ids:
            self.findings += [f"server {server}: {one}" for one in self.check_server(server)]
        self.check_unknown()

    def check_server(self, server: int) -> list[str]:
        process = self.cluster.process(server)
        present = [int(line) for line in process.ask("SELECT number FROM item;", 60.0)]
        self.rows = len(present)
        found = self.workload.violations(present)
        (total,) = process.ask("SELECT total FROM tally;")
        if int(total) != len(present):
            found.append(f"the trigger counted {total} rows, there are {len(present)}")
        integrity = process.ask("PRAGMA integrity_check;", 60.0)
        if integrity != ["ok"]:
            found.append(f"integrity: {integrity}")
        return found

    def check_unknown(self) -> None:
        """What the leader says of a transaction agrees with the rows."""
        leader = self.cluster.process(self.nemesis.leader())
        present = {int(line) for line in leader.ask("SELECT number FROM item;", 60.0)}
        for one in self.workload.inserts:
            if one.answer == "unknown" and one.transaction:
                (fate,) = leader.ask(f".outcome {one.transaction}")
                there = one.numbers[0] in present
                if fate in ("committed", "not committed"):
                    self.resolved += 1
                    one.transaction = None
                    if there != (fate == "committed"):
                        self.findings.append(f"the outcome is '{fate}', but {one}: there = {there}")

    # ---- what must hold at the end

    def end(self) -> None:
        images = {}
        for server in self.cluster.ids:
            file = self.folder / f"backup-{server}.db"
            said = self.cluster.process(server).ask(f".backup {file}", 60.0)
            if said:
                self.findings.append(f"server {server}, .backup: {said}")
                return
            images[server] = file.read_bytes()
        self.compare("backups", images)
        database = sqlite3.connect(self.folder / "backup-1.db")
        ((count,),) = database.execute("SELECT count(*) FROM item")
        database.close()
        if count != self.rows:
            self.findings.append(f"the backup has {count} rows, the servers {self.rows}")

        for server in self.cluster.ids:
            status = self.cluster.process(server).stop()
            if status != 0:
                self.findings.append(f"server {server} ended with {status} after SIGTERM")
        if not self.options.memory:
            self.compare("files", {i: self.database_file(i) for i in self.cluster.ids})

    def database_file(self, server: int) -> bytes:
        """After a clean stop it is a database for everybody."""
        file = self.cluster.data(server) / "databases" / "app.db"
        database = sqlite3.connect(file)
        try:
            ((integrity,),) = database.execute("PRAGMA integrity_check")
            ((count,),) = database.execute("SELECT count(*) FROM item")
        except sqlite3.Error as error:
            integrity, count = str(error), 0
        finally:
            database.close()
        if (integrity, count) != ("ok", self.rows):
            self.findings.append(f"{file}: {integrity}, {count} rows of {self.rows}")
        return file.read_bytes()

    def compare(self, what: str, images: dict[int, bytes]) -> None:
        if len(set(images.values())) != 1:
            sizes = {i: len(image) for i, image in images.items()}
            self.findings.append(f"the {what} of the servers differ (sizes {sizes})")

    def result(self, seconds: float) -> dict:
        counts = self.workload.counts() if self.workload else {}
        return {
            "rounds": self.rounds,
            "seed": self.options.seed,
            "nemeses": dict(sorted(self.befell.items())),
            "rows": self.rows,
            **counts,
            "unknown_resolved": self.resolved,
            "redirects_followed": self.workload.redirects if self.workload else 0,
            "term": self.term,
            **{
                name: sum(counters[name] for counters in self.counters.values())
                for name in ("snapshots_taken", "snapshots_installed", "flushes")
            },
            "seconds": round(seconds, 1),
            "violations": len(self.findings),
            "findings": self.findings[:20],
        }


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cluster_test", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--node", required=True, metavar="PROGRAM", help="the sql_node to run")
    parser.add_argument("--rounds", type=int, help="default 20")
    parser.add_argument("--seed", type=int, default=1, help="chooses what befalls whom, and when")
    parser.add_argument("--short", action="store_true", help="one round of each kind")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--memory", action="store_true", help="servers keep databases in memory")
    parser.add_argument(
        "--netns",
        action="store_true",
        help="each server in a network namespace of its own, and links that are cut (as root)",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=60,
        metavar="SECONDS",
        help="until all servers must hold the same, once nothing befalls them (default 60)",
    )
    parser.add_argument("--nemesis", metavar="NAME", help="only this, in each round")
    parser.add_argument("--keep", metavar="DIR", help="work in DIR, and leave everything there")
    options = parser.parse_args()
    kinds = network.CutLinks.ROUNDS if options.netns else Nemesis.ROUNDS
    if options.nemesis and options.nemesis not in kinds:
        parser.error(f"--nemesis is one of: {' '.join(kinds)}")
    if options.memory and options.nemesis in Nemesis.NEED_FILES:
        parser.error(f"--nemesis {options.nemesis} needs files, not --memory")
    if options.rounds is None:
        options.rounds = len(kinds) if options.short else 20
    return options


def main() -> int:
    options = parsed()
    if options.netns and (reason := network.unavailable()):
        print(f"skipped: {reason}")
        return SKIPPED
    folder = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="cluster_test_"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    run = Run(options, folder)
    say(f"seed {options.seed}: {' '.join(run.plan)}")
    run.all()
    result = run.result(time.monotonic() - began)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name:<20} {value}")
    if run.findings:
        say(f"{len(run.findings)} violations; the servers' logs are in {folder}")
        again = [sys.executable, *sys.argv, "--seed", str(options.seed)]
        say(f"to repeat: {shlex.join(again)}")
        return 1
    if not options.keep:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
