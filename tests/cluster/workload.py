"""The set workload: clients add numbers that nobody used before, and remember what they were told.

Afterwards a number that was acknowledged is there once, one that was refused is not there, and one
of which nothing is known is there once or not at all.
"""

import collections
import dataclasses
import random
import re
import threading
import time

from cluster import Cluster
from sql_process import Lost, Request

NOT_LEADER = 10250
OUTCOME_UNKNOWN = 10506

# There is no UNIQUE: a number that was added twice shall be seen.
SCHEMA = """
CREATE TABLE item (number INTEGER NOT NULL, client INTEGER NOT NULL, body TEXT);
CREATE INDEX item_by_number ON item (number);
CREATE TABLE tally (total INTEGER NOT NULL);
INSERT INTO tally VALUES (0);
CREATE TRIGGER count_item AFTER INSERT ON item BEGIN UPDATE tally SET total = total + 1; END;
"""

ERROR = re.compile(r"^(?:Parse|Runtime) error near line \d+: (.*?)(?: \((\d+)\))?$")
HINT = re.compile(r"; the leader is ([\w.:-]+)")
TRANSACTION = re.compile(r"ask \.outcome (\d+\.\d+)")


@dataclasses.dataclass
class Insert:
    """One transaction: these numbers, all of them or none."""

    numbers: list[int]
    answer: str = "pending"  # then acknowledged, refused or unknown
    server: int = 0
    text: str = ""  # of the error
    transaction: str | None = None  # what .outcome takes, if it was told

    def take(self, request: Request) -> None:
        """Any thread; the answer may be late."""
        errors = [match for line in request.lines if (match := ERROR.match(line))]
        if not request.answered:
            self.answer, self.text = "unknown", "the process ended"
        elif not request.lines:
            self.answer = "acknowledged"
        elif len(errors) == 1 and len(request.lines) == 1:
            code = int(errors[0].group(2) or 1)
            self.text = errors[0].group(1)
            self.answer = "unknown" if code == OUTCOME_UNKNOWN else "refused"
            if told := TRANSACTION.search(self.text):
                self.transaction = told.group(1)
        else:
            self.answer, self.text = "unreadable", " / ".join(request.lines)


class Workload:
    """Clients in threads of their own, each with one transaction on its way at most."""

    def __init__(self, cluster: Cluster, seed: int, clients: int):
        self.cluster = cluster
        self.inserts: list[Insert] = []
        self.redirects = 0  # hints of a leader that were followed
        self.codes: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._next = 1
        self._may_run = threading.Event()
        self._end = threading.Event()
        self._idle = [threading.Event() for _ in range(clients)]
        self._threads = [
            threading.Thread(target=self._client, args=(i, random.Random(f"{seed}.{i}")))
            for i in range(clients)
        ]
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    # ---- control

    def resume(self) -> None:
        self._may_run.set()

    def pause(self, limit: float = 60.0) -> bool:
        """@returns false: a client does not come back"""
        self._may_run.clear()
        return all(idle.wait(limit) for idle in self._idle)

    def close(self) -> None:
        self._end.set()
        self._may_run.set()

    def pending(self) -> list[Insert]:
        return [one for one in self.inserts if one.answer == "pending"]

    # ---- one client

    def _client(self, index: int, chance: random.Random) -> None:
        server = chance.choice(self.cluster.ids)
        while not self._end.is_set():
            if not self._may_run.is_set():
                self._idle[index].set()
                self._may_run.wait()
                self._idle[index].clear()
                continue
            if chance.random() < 0.02:
                server = chance.choice(self.cluster.ids)  # also where nobody would go
            server = self._insert(index, chance, server)

    def _insert(self, index: int, chance: random.Random, server: int) -> int:
        """@returns the server to try next"""
        count = 1 if chance.random() < 0.8 else chance.randint(2, 5)
        with self._lock:
            insert = Insert(list(range(self._next, self._next + count)), server=server)
            self._next += count
        rows = ", ".join(
            f"({number}, {index}, '{'x' * chance.choice((0, 20, 100, 1500))}')"
            for number in insert.numbers
        )
        try:
            request = self.cluster.process(server).send(
                Request(f"INSERT INTO item VALUES {rows};", insert.take)
            )
        except Lost:
            time.sleep(0.02)
            return chance.choice(self.cluster.ids)
        with self._lock:
            self.inserts.append(insert)
        if not request.done.wait(2.0):
            return chance.choice(self.cluster.ids)  # the answer may still come, and counts
        if insert.answer == "acknowledged":
            return server
        hint = HINT.search(insert.text)
        if hint and (leader := self.cluster.id_at(hint.group(1))) and leader != server:
            self.redirects += 1
            return leader
        time.sleep(0.02)
        return chance.choice(self.cluster.ids)

    # ---- what they were told

    def counts(self) -> dict[str, int]:
        found = collections.Counter(one.answer for one in self.inserts)
        return {name: found[name] for name in ("acknowledged", "refused", "unknown")}

    def violations(self, present: list[int]) -> list[str]:
        """Compares with the numbers that are there."""
        times = collections.Counter(present)
        found = []
        for one in self.inserts:
            there = [times.pop(number, 0) for number in one.numbers]
            told = f"{one.numbers} ({one.answer} by server {one.server}: {one.text})"
            if one.answer == "unreadable":
                found.append(f"an answer that makes no sense: {told}")
            if max(there) > 1:
                found.append(f"there more than once: {told}")
            if min(there) != max(there):
                found.append(f"there in part: {told}")
            if one.answer == "acknowledged" and min(there) == 0:
                found.append(f"lost: {told}")
            if one.answer == "refused" and max(there) > 0:
                found.append(f"there although it was refused: {told}")
        if times:
            found.append(f"there although nobody added it: {sorted(times)[:20]}")
        return found
