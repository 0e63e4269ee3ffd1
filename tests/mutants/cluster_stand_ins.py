#!/usr/bin/env python3
"""Is a bug found? A stand-in for sql_node with a bug, and the cluster test must say what it is.

usage: cluster_stand_ins.py BUG    runs the cluster test against the stand-in; BUG may be none
       cluster_stand_ins.py --id … is the stand-in

The stand-ins share one SQLite file, and whoever holds a lock on another leads: no replication that
could fail on its own.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "cluster"))

import sql_process

# What the cluster test must say of each.
BUGS = {
    "none": "",
    "loses": "lost:",
    "repeats": "there more than once",
    "tears": "there in part",
    "keeps_refused": "there although it was refused",
    "makes_up": "there although nobody added it",
    "differs": "not even within",
    "falls": "ended by itself",
    "mumbles": "makes no sense",
    "ends_badly": "after SIGTERM",
}

NOTICE = "said before the first line is read: no answer"
REFUSAL = "this replica does not lead: write on the leader; the leader is"


class StandIn:
    def __init__(self, arguments: list[str], bug: str):
        with_values = [one for one in arguments if one not in ("--found", "--join")]
        flags = dict(zip(with_values[::2], with_values[1::2]))
        self.id = flags["--id"]
        self.address = flags["--address"]
        self.data = pathlib.Path(flags["--data"])
        (self.data / "databases").mkdir(parents=True, exist_ok=True)
        self.place = self.data.parent
        self.lock = open(self.place / "lock", "a")
        self.db = sqlite3.connect(self.place / "shared.db", isolation_level=None, timeout=30)
        self.bug = bug
        self.chances = 0
        signal.signal(signal.SIGTERM, lambda *_: os._exit(3 if bug == "ends_badly" else 0))

    def leads(self) -> bool:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        (self.place / "leader").write_text(f"{self.id} {self.address}")
        return True

    def status(self) -> dict:
        leads = self.leads()
        known = (self.place / "leader").read_text() or f"{self.id} {self.address}"
        leader, address = known.split()
        content = "\n".join(self.db.iterdump()) + (self.id if self.bug == "differs" else "")
        database = {"name": "app.db", "version": 1}
        database["hash"] = hashlib.md5(content.encode()).hexdigest()
        return {
            "role": "leader" if leads else "follower",
            "leader": {"id": int(leader), "address": address},
            "term": 1,
            "applied_index": 1,
            "databases": [database],
            "counters": {"snapshots_taken": 0, "snapshots_installed": 0, "flushes": 0},
        }

    def backup(self, file: str) -> None:
        copy = sqlite3.connect(file)
        self.db.backup(copy)
        copy.close()
        (self.data / "databases" / "app.db").write_bytes(pathlib.Path(file).read_bytes())

    def insert(self, statement: str, line: int) -> None:
        leads = self.leads()
        can_show = leads and "INTO item" in statement
        if self.bug == "tears":
            can_show = can_show and "), (" in statement
        self.chances += 1 if can_show else 0
        # Every so often, by count: a slow machine gets to few of them in the time of the test.
        now = self.bug if can_show and self.chances % 4 == 0 else ""
        if now == "falls":
            os._exit(1)
        if now == "mumbles":
            print("what?")
        if now == "makes_up":
            self.db.execute("INSERT INTO item VALUES (1000000, 0, '')")
        if now == "tears":
            statement = statement[: statement.index("), (")] + ");"
        if leads or self.bug == "keeps_refused":
            for _ in range({"loses": 0, "repeats": 2}.get(now, 1)):
                self.db.executescript(statement)
        if not leads:
            leader = self.status()["leader"]["address"]
            print(f"Runtime error near line {line}: {REFUSAL} {leader} (10250)")

    def serve(self) -> None:
        print(NOTICE, file=sys.stderr, flush=True)
        pending = ""
        for number, line in enumerate(sys.stdin, 1):
            words = line.split()
            if pending == "" and words and words[0].startswith("."):
                if words[0] == ".print":
                    print(*words[1:])
                elif words[0] == ".status":
                    print(json.dumps(self.status()))
                elif words[0] == ".backup":
                    self.backup(words[1])
            elif pending or words:
                pending += line
                if sqlite3.complete_statement(pending):
                    statement, pending = pending.strip(), ""
                    if statement.startswith(("INSERT", "CREATE")):
                        self.insert(statement, number)
                    else:
                        for row in self.db.execute(statement):
                            print(*row, sep="|")
            sys.stdout.flush()


def check_first_answer() -> None:
    """What a server says at its start is not taken for the answer to whoever asks first."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        command = [sys.executable, __file__, "--id", "1", "--address", "a", "--data", place / "1"]
        process = sql_process.SqlProcess([str(word) for word in command], place / "log")
        lines = process.ask(".print hello")
        process.kill()
        if lines != ["hello"]:
            sys.exit(f"the first answer of a server is {lines}")
        if NOTICE not in (place / "log").read_text():
            sys.exit("the stand-in said nothing at its start")


def run_cluster_test(bug: str) -> None:
    test = ROOT / "cluster" / "cluster_test.py"
    command = [sys.executable, test, "--node", __file__, "--rounds", "1", "--json"]
    result = subprocess.run(
        [*command, "--nemesis", "transfer", "--limit", "5"],
        env={**os.environ, "QUORLITE_PLANTED_BUG": bug},
        capture_output=True,
        text=True,
        timeout=280,
    )
    report = json.loads(result.stdout)
    found = " / ".join(report["findings"])
    print(f"{bug}: {report['violations']} violations: {found[:300]}")
    good = bug == "none"
    if (result.returncode == 0) != good or (report["violations"] == 0) != good:
        sys.exit(f"status {result.returncode}: {result.stdout}{result.stderr}")
    if BUGS[bug] not in found or (not good and "to repeat: " not in result.stderr):
        sys.exit(f"it does not say '{BUGS[bug]}': {result.stdout}{result.stderr}")


def main() -> None:
    if sys.argv[1:2] == ["--id"]:
        StandIn(sys.argv[1:], os.environ.get("QUORLITE_PLANTED_BUG", "none")).serve()
    elif len(sys.argv) == 2 and sys.argv[1] in BUGS:
        check_first_answer()
        run_cluster_test(sys.argv[1])
    else:
        sys.exit(f"{__doc__}\nBUG: {' '.join(BUGS)}")


if __name__ == "__main__":
    main()
