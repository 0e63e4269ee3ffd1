"""A server of three that halts, or whose disk fails or is full: another one leads, and it can be
ended; one that was full comes back by itself.

usage: halt_test.py CASE NODE PRELOAD

PRELOAD is tests/cluster/failing_calls.cpp as a library: calls fail while a file of their name is
there.
"""

import pathlib
import sqlite3
import sys
import tempfile
import time

from cluster import Cluster
from sql_process import wait_until

ELECTION_TIMEOUT = 1.0  # of sql_node, seconds


def expect(holds: bool, text: object) -> None:
    if not holds:
        raise AssertionError(str(text))


class TroubledCluster(Cluster):
    """Each server has a folder of its own, where a file says which of its calls fail."""

    def __init__(self, program: str, folder: pathlib.Path, preload: str):
        super().__init__(program, folder, ["--flush-bytes", "65536"])
        self.preload = preload

    def trouble(self, server: int) -> pathlib.Path:
        return self.folder / f"trouble-{server}"

    def wrapped(self, server: int, command: list[str]) -> list[str]:
        self.trouble(server).mkdir(exist_ok=True)
        return [
            "env",
            f"LD_PRELOAD={self.preload}",
            f"FAILING_CALLS={self.trouble(server)}",
            *command,
        ]

    def lead_all(self) -> int:
        """Starts all. @returns who leads"""
        self.start_all()
        leader = self.leader()
        expect(leader is not None, "nobody leads")
        return leader

    def databases(self, server: int) -> pathlib.Path:
        return self.data(server) / "databases"

    def told(self, server: int, sql: str) -> str:
        return "\n".join(self.process(server).ask(sql, 60))

    def fill(self, leader: int) -> None:
        said = self.told(
            leader,
            "CREATE TABLE t(k INTEGER PRIMARY KEY, v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i + 1 FROM n LIMIT 400) INSERT INTO t SELECT i, randomblob(2000) FROM n;",
        )
        expect(said == "", said)

    def let_lead(self, server: int) -> None:
        def leads() -> bool:
            now = self.leader()
            if now != server and now is not None:
                self.told(now, f".transfer {server}")
            return now == server

        expect(wait_until(leads, 30), f"server {server} does not come to lead")

    def expect_another_leads(self, halted: int, since: float) -> int:
        """And takes writes, within two election timeouts. @returns who"""
        others = [server for server in self.ids if server != halted]
        found: list[int] = []

        def one_leads() -> bool:
            found[:] = [one for one in others if self.process(one).status()["role"] == "leader"]
            return bool(found)

        expect(wait_until(one_leads, 30, 0.01), "no other server leads")
        took = time.monotonic() - since
        print(f"another server leads after {took:.2f} s")
        expect(took <= 2 * ELECTION_TIMEOUT, f"another server leads after {took} s only")
        said = self.told(found[0], "INSERT INTO t(v) VALUES('after');")
        expect(said == "", said)
        status = self.process(halted).status()
        expect(status["role"] == "halted" and "halted" in status, status)
        expect("engine_failed" in status, status)  # health() and the engine agree
        address = self.addresses[halted]
        expect(status["leader"] is None or status["leader"]["address"] != address, status)
        for server in others:
            leader = self.process(server).status()["leader"]
            expect(leader is None or leader["address"] != address, f"{server} follows {leader}")
        return found[0]


def damaged_page(cluster: TroubledCluster) -> None:
    """A bit of the leader's database is flipped before the start, and a SELECT meets it."""
    leader = cluster.lead_all()
    cluster.fill(leader)
    expect(not isinstance(cluster.even(30), str), "the servers do not come even")
    for server in cluster.ids:
        expect(cluster.process(server).stop() == 0, f"server {server} does not end well")
    file = cluster.databases(leader) / "app.db"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    cluster.lead_all()
    cluster.let_lead(leader)
    said = cluster.told(leader, "SELECT sum(length(v)) FROM t;")
    since = time.monotonic()
    expect("malformed" in said or "damaged" in said or "differs" in said, said)
    cluster.expect_another_leads(leader, since)


def failing_sync(cluster: TroubledCluster) -> None:
    """The leader's flush cannot sync."""
    leader = cluster.lead_all()
    cluster.fill(leader)
    (cluster.trouble(leader) / "sync").touch()
    cluster.told(leader, "UPDATE t SET v = randomblob(2000) WHERE k % 4 = 0;")
    halted = wait_until(lambda: cluster.process(leader).status()["role"] == "halted", 30, 0.01)
    since = time.monotonic()
    expect(halted, "it does not halt")
    cluster.expect_another_leads(leader, since)


def file_in_the_way(cluster: TroubledCluster) -> None:
    """ATTACH cannot put one there; whoever does costs this server its leadership."""
    leader = cluster.lead_all()
    cluster.fill(leader)
    there = cluster.databases(leader) / "other.db"
    said = cluster.told(leader, f"ATTACH '{there}' AS a; CREATE TABLE a.s(x);")
    expect("unable to open database" in said and not there.exists(), said)
    said = cluster.told(leader, f".backup '{there}'")
    expect("data folder" in said and not there.exists(), said)
    stranger = sqlite3.connect(there)
    stranger.execute("CREATE TABLE s(x)")
    stranger.close()
    cluster.told(leader, ".open other.db\nCREATE TABLE o(x);\n.open app.db")
    cluster.told(leader, "UPDATE t SET v = randomblob(2000) WHERE k % 4 = 0;")
    halted = wait_until(lambda: cluster.process(leader).status()["role"] == "halted", 30, 0.01)
    since = time.monotonic()
    expect(halted, "it does not halt")
    next_leader = cluster.expect_another_leads(leader, since)
    expect("other.db" in cluster.told(next_leader, ".databases"), "the database is lost")


def refused_write(cluster: TroubledCluster) -> None:
    """By the kernel, of the log: SIGTERM ends the server, and so does .quit."""
    for how in ("SIGTERM", ".quit"):
        leader = cluster.lead_all()
        cluster.told(leader, "CREATE TABLE IF NOT EXISTS t(k INTEGER PRIMARY KEY, v);")
        (cluster.trouble(leader) / "submit").touch()
        cluster.told(leader, "INSERT INTO t(v) VALUES('refused, or not');")
        gone = wait_until(lambda: not (cluster.trouble(leader) / "submit").exists(), 30)
        expect(gone, "nothing was written")
        process = cluster.process(leader)
        if how == "SIGTERM":
            expect(process.stop(30) is not None, "SIGTERM does not end it")
        else:
            process.expected_to_end = True
            process.send_line(".quit")
            expect(process.wait(30) is not None, ".quit does not end it")
        for server in cluster.ids:
            expect(cluster.process(server).stop(30) is not None, f"{server} does not end")


def role_of(cluster: TroubledCluster, server: int) -> str:
    return cluster.process(server).status()["role"]


def count(cluster: TroubledCluster, server: int) -> int:
    return int(cluster.told(server, "SELECT count(*) FROM t;").splitlines()[-1])


def expect_role(cluster: TroubledCluster, server: int, roles: set[str]) -> None:
    found = wait_until(lambda: role_of(cluster, server) in roles, 30, 0.01)
    expect(found, f"server {server} is no {roles}: {cluster.process(server).status()}")


def one_that_leads(cluster: TroubledCluster, servers: list[int]) -> int:
    found: list[int] = []

    def leads() -> bool:
        found[:] = [server for server in servers if role_of(cluster, server) == "leader"]
        return bool(found)

    expect(wait_until(leads, 30), "nobody leads")
    return found[0]


def expect_all_even(cluster: TroubledCluster) -> None:
    for server in cluster.ids:
        expect_role(cluster, server, {"leader", "follower"})
    said = cluster.even(60)
    expect(not isinstance(said, str), said)


def full_follower(cluster: TroubledCluster) -> None:
    """It acknowledges nothing while its disk is full, can be read, and is back with some room."""
    leader = cluster.lead_all()
    cluster.fill(leader)
    expect_all_even(cluster)
    full = next(server for server in cluster.ids if server != leader)
    (cluster.trouble(full) / "room").touch()
    expect_role(cluster, full, {"away"})
    before = cluster.process(full).status()
    expect("no room" in before["engine_failed"], before)
    for _ in range(3):
        expect(cluster.told(leader, "INSERT INTO t(v) VALUES('meanwhile');") == "", "no quorum")
    time.sleep(2 * ELECTION_TIMEOUT)
    expect(cluster.process(full).status()["last_index"] == before["last_index"], "it took entries")
    expect(count(cluster, full) == 400, "it cannot be read")
    (cluster.trouble(full) / "room").unlink()
    expect_all_even(cluster)
    expect(count(cluster, full) == 403, "it has not caught up")


def full_leader(cluster: TroubledCluster) -> None:
    """It hands over, so nobody waits for an election; nothing that it acknowledged is lost."""
    leader = cluster.lead_all()
    cluster.fill(leader)
    expect_all_even(cluster)
    (cluster.trouble(leader) / "room").touch()
    since = time.monotonic()
    acknowledged = 0
    others = [server for server in cluster.ids if server != leader]
    while not any(role_of(cluster, server) == "leader" for server in others):
        said = cluster.told(leader, "INSERT INTO t(v) VALUES('before');")
        acknowledged += 1 if said == "" else 0
        expect("unknown" not in said, said)  # it hands over first, and answers who waits
        expect(time.monotonic() - since < 30, "nobody else leads")
    print(f"another server leads after {time.monotonic() - since:.2f} s")
    expect_role(cluster, leader, {"away"})
    now = next(server for server in others if role_of(cluster, server) == "leader")
    expect(cluster.told(now, "INSERT INTO t(v) VALUES('after');") == "", "it cannot write")
    expect(count(cluster, leader) >= 400 + acknowledged, "it cannot be read")
    (cluster.trouble(leader) / "room").unlink()
    expect_all_even(cluster)
    expect(count(cluster, leader) == 401 + acknowledged, "a row is lost, or one too many")


def full_everywhere(cluster: TroubledCluster) -> None:
    """All can be read, and write again as soon as most of them have room."""
    leader = cluster.lead_all()
    cluster.fill(leader)
    expect_all_even(cluster)
    for server in cluster.ids:
        (cluster.trouble(server) / "room").touch()
    for server in cluster.ids:
        expect_role(cluster, server, {"away"})
        expect(count(cluster, server) == 400, "it cannot be read")
        said = cluster.told(server, "INSERT INTO t(v) VALUES('nowhere');")
        expect("does not lead" in said, said)
    first, *rest = cluster.ids
    for server in rest:
        (cluster.trouble(server) / "room").unlink()
    now = one_that_leads(cluster, rest)
    expect(cluster.told(now, "INSERT INTO t(v) VALUES('again');") == "", "it cannot write")
    (cluster.trouble(first) / "room").unlink()
    expect_all_even(cluster)
    expect(count(cluster, first) == 401, "a row is lost")


def suddenly_full(cluster: TroubledCluster) -> None:
    """A write of a leader's log finds no room where there was some a moment ago."""
    leader = cluster.lead_all()
    cluster.fill(leader)
    expect_all_even(cluster)
    (cluster.trouble(leader) / "space").touch()

    def fails() -> bool:  # by and by: some segments are there already
        cluster.told(leader, "INSERT INTO t(v) VALUES(randomblob(1000000));")
        return role_of(cluster, leader) == "away"

    expect(wait_until(fails, 60, 0), "it writes on")
    others = [server for server in cluster.ids if server != leader]
    now = one_that_leads(cluster, others)
    expect(cluster.told(now, "INSERT INTO t(v) VALUES('after');") == "", "it cannot write")
    (cluster.trouble(leader) / "space").unlink()
    expect_all_even(cluster)
    expect(cluster.process(leader).stop() == 0, "it does not end well")
    cluster.start(leader)
    expect_all_even(cluster)


CASES = [
    damaged_page,
    failing_sync,
    file_in_the_way,
    full_everywhere,
    full_follower,
    full_leader,
    refused_write,
    suddenly_full,
]


def main() -> int:
    by_name = {case.__name__: case for case in CASES}
    if len(sys.argv) != 4 or sys.argv[1] not in by_name:
        sys.exit(f"{__doc__}\nCASE: {' '.join(by_name)}")
    with tempfile.TemporaryDirectory() as folder:
        cluster = TroubledCluster(sys.argv[2], pathlib.Path(folder), sys.argv[3])
        try:
            by_name[sys.argv[1]](cluster)
        except BaseException:
            for log in sorted(pathlib.Path(folder).glob("*.log")):
                print(f"---- {log.name}", *log.read_text().split("\n")[-15:], sep="\n")
            raise
        finally:
            cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
