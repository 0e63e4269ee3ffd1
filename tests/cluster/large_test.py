"""A transaction of some hundred MiB commits on three servers, and so does .restore of such a file:
nobody loses the leader meanwhile, and what each server takes of memory has a bound.

usage: large_test.py NODE [MIB]
"""

import pathlib
import re
import sys
import tempfile

from cluster import Cluster

MEMORY_MIB = 64


def expect(holds: bool, text: object) -> None:
    if not holds:
        raise AssertionError(str(text))


def peak_mib(cluster: Cluster, server: int) -> int:
    """The most memory that the process has had."""
    status = pathlib.Path(f"/proc/{cluster.process(server).pid}/status").read_text("utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    expect(found is not None, status)
    return int(found.group(1)) // 1024


def write_large(cluster: Cluster, mib: int) -> None:
    leader = cluster.leader()
    term = cluster.process(leader).status()["term"]
    for table, command in (
        (
            "t",
            "CREATE TABLE t(v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
            f"LIMIT {mib}) INSERT INTO t SELECT randomblob(1000000) FROM n;",
        ),
        ("t", f".backup {cluster.folder / 'copy.db'}"),
        ("t", f".open restored.db\n.restore {cluster.folder / 'copy.db'}"),
    ):
        said = cluster.process(leader).ask(command, 300)
        expect(not said, f"'{command[:30]}': {said}")
        even = cluster.even(120)
        expect(not isinstance(even, str), even)
        said = cluster.process(leader).ask(f"SELECT count(*), sum(length(v)) FROM {table};", 60)
        expect(said == [f"{mib}|{mib * 1000000}"], said)
    for server in cluster.ids:
        status = cluster.process(server).status()
        expect(status["term"] == term, f"another term: {status}")


def expect_bounded(cluster: Cluster, mib: int, log_mib: int) -> None:
    """Beside its pages and its log a leader has what SQLite wrote, the entries that say so, those
    that wait for their commit, and a snapshot with them: four times the transaction. A follower has
    less of that, and nobody has anything that grows with the number of transactions."""
    limit = MEMORY_MIB + log_mib + 4 * mib + 64
    for server in cluster.ids:
        peak = peak_mib(cluster, server)
        print(f"server {server}: {peak} MiB at most")
        expect(peak <= limit, f"server {server} had {peak} MiB, and {limit} are enough")


def main() -> int:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    mib = int(sys.argv[2]) if len(sys.argv) == 3 else 150
    log_mib = 2 * mib + 32
    options = ["--log-mib", str(log_mib), "--memory-mib", str(MEMORY_MIB), "--election-ms", "5000"]
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(sys.argv[1], pathlib.Path(folder), options)
        try:
            cluster.start_all()
            write_large(cluster, mib)
            expect_bounded(cluster, mib, log_mib)
        finally:
            cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
