"""Servers of before there were histories, with real processes: `.upgrade` begins theirs.

usage: upgrade_test.py NODE [CASE]

Their folders are those of tests/data/golden, which an earlier build has written. A CASE is a
sentence, see CASES; without one all of them, one after the other.
"""

import collections.abc
import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from cluster import Cluster
from sql_process import Request, wait_until

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "data" / "golden"
LOG_FILES = ("0*", "open-*", "metadata*", "snapshot-*", "quorlite.log", "log_end")
EVEN = 60.0  # seconds


def expect(holds: bool, text: object) -> None:
    if not holds:
        raise AssertionError(str(text))


def own_the_addresses() -> socket.socket:
    """Golden logs name the addresses of their servers: who has this port may be there."""
    door = socket.socket()

    def has_it() -> bool:
        try:
            door.bind(("127.77.0.254", 17700))
        except OSError:
            return False
        return True

    expect(wait_until(has_it, 200.0, 0.05), "another test does not leave the golden addresses")
    return door


class Golden:
    """A case of tests/data/golden: its folders, and what is in them."""

    def __init__(self, name: str):
        self.folder = GOLDEN / name
        self.manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))

    def unpack(self, name: str, to: pathlib.Path) -> None:
        """What ended in zeros is as long as it was again."""
        shutil.copytree(self.folder / name, to)
        for file, size in self.manifest["sizes"].get(name, {}).items():
            with open(to / file, "r+b") as grown:
                grown.truncate(size)

    def content(self) -> list[tuple]:
        return sorted(
            (one["name"], one["page_size"], one["page_count"], one["version"], one["hash"])
            for one in self.manifest["content"]
        )


class OldCluster(Cluster):
    """The servers of one golden case, at the addresses that are in their logs."""

    def __init__(self, program: str, folder: pathlib.Path, name: str):
        self.golden = Golden(name)
        names = ["1", "2", "3"] if (self.golden.folder / "1").exists() else ["files"]
        super().__init__(program, folder, [], count=len(names))
        self.addresses = {i: f"127.77.0.{i}:17701" for i in self.ids}
        # As a service file of before has it.
        self.options = ["--cluster", ",".join(f"{i}={a}" for i, a in self.addresses.items())]
        for server, name_of_folder in zip(self.ids, names):
            self.golden.unpack(name_of_folder, self.data(server))
        self.rows = 0

    # ---- folders

    def check(self, server: int, data: pathlib.Path | None = None) -> dict:
        """What --check says. @param data another folder than its own"""
        command = [self.program, "--check", str(data or self.data(server)), "--json"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
        said = json.loads(told.stdout)
        expect(said["whole"] == (told.returncode == 0), told)
        return said

    def refusal(self, server: int, *flags: str) -> str:
        """What a start says that has to fail."""
        command = [self.program, "--id", str(server), "--data", str(self.data(server))]
        told = subprocess.run(
            [*command, "--address", self.addresses[server], *flags],
            input=".leader 1\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        expect(told.returncode == 1 and told.stdout == "", told)
        return told.stderr

    def kill_all(self) -> None:
        for server in self.ids:
            self.process(server).kill()

    def stop_all(self) -> None:
        """In order: then the databases stand where the log ends, and have its history."""
        for server in self.ids:
            expect(self.process(server).stop() == 0, self.process(server).last_words())

    # ---- what they hold

    def find_content(self, server: int) -> None:
        """All of the golden case, by the hash of its pages."""
        found = sorted(
            (one["name"], one["page_size"], one["pages"], one["version"], one["hash"])
            for one in self.process(server).status()["databases"]
            if one["version"] != 0  # a name that somebody opened
        )
        expect(found == self.golden.content(), f"server {server}: {found}")

    def write(self, server: int | None = None, limit: float = 60.0) -> None:
        """One row, acknowledged."""
        leader = server or self.leader()
        expect(leader is not None, "nobody leads")
        text = f"row {self.rows + 1}"
        said: list[str] = []

        def taken() -> bool:
            said[:] = self.process(leader).ask(f"INSERT INTO note(text) VALUES('{text}');", limit)
            return not any("conflict" in line or "SNAPSHOT" in line for line in said)

        expect(wait_until(taken, limit), said)  # at the begin of a history it is to be run again
        expect(not said, said)
        self.rows += 1

    def find_rows(self) -> None:
        wanted = [f"row {number}" for number in range(1, self.rows + 1)]
        for server in self.ids:
            said = self.process(server).ask(
                "SELECT text FROM note WHERE text LIKE 'row %' ORDER BY rowid;\n"
                "PRAGMA integrity_check;",
                60.0,
            )
            expect(said == [*wanted, "ok"], f"server {server}: {said}, not {wanted}")

    def come_even(self) -> dict[int, dict]:
        said = self.even(EVEN)
        expect(not isinstance(said, str), f"the servers do not come even: {said}")
        return said

    # ---- their history

    def has_no_history(self) -> None:
        for server in self.ids:
            status = self.process(server).status()
            expect(status["cluster"] is None and "history" not in status, status)

    def upgrade(self) -> None:
        """Until it is done: the leader may change meanwhile."""
        self.ask_leader(".upgrade")

    def histories(self) -> dict:
        """What all servers say alike once they are even. @returns that of one"""
        said: dict[int, dict] = {}
        keys = ("cluster", "history_position", "history")

        def alike() -> bool:
            said.clear()
            said.update(self.come_even())
            # The machine may be ahead of what the engine has told by then.
            told = {tuple(one.get(key) for key in keys) for one in said.values()}
            return len(told) == 1 and None not in next(iter(told))

        expect(wait_until(alike, EVEN), f"not one history: {said}")
        for status in said.values():
            expect(status["role"] != "halted" and "refused" not in status, status)
        one = said[self.ids[0]]
        return {"cluster": one["cluster"], "position": one["history_position"]}

    def check_all(self, cluster: str) -> None:
        """Of servers that are down: each folder says the same of its history's begin."""
        begins = set()
        for server in self.ids:
            said = self.check(server)
            expect(said["whole"] and said["log"]["defects"] == [], said)
            expect(said["log"]["compared"] and said["log"]["cluster"] == cluster, said)
            expect(said["log"]["history"]["cluster"] == cluster, said)
            begins.add(said["log"]["history"]["begins_at"])
        expect(len(begins) == 1, f"it begins at {begins}")
        # Behind what was there, and the row of before.
        expect(min(begins) > self.golden.manifest["applied"], begins)

    def found_as_they_were(self) -> None:
        """Before anything ran there: no history, and `found` is refused."""
        for server in self.ids:
            said = self.check(server)
            expect(said["whole"] and said["log"]["history"] is None, said)
            expect(said["log"]["cluster"] is None and said["log"]["server"] is None, said)
            told = self.refusal(server, "--found")
            expect("there is a log, of a cluster that exists" in told, told)


# ---- the cases


@contextlib.contextmanager
def running(
    program: str, folder: pathlib.Path, name: str
) -> collections.abc.Iterator[OldCluster]:
    """All servers of a golden case: they run, have what they had, and one more row."""
    folder.mkdir(exist_ok=True)
    cluster = OldCluster(program, folder, name)
    cluster.found_as_they_were()
    try:
        for server in cluster.ids:
            cluster.start(server)
        expect(cluster.leader() is not None, "nobody leads")
        cluster.come_even()
        for server in cluster.ids:
            cluster.find_content(server)
        cluster.write()
        cluster.come_even()
        cluster.has_no_history()
        yield cluster
        fallen = cluster.fallen()
        expect(not fallen, fallen)
    finally:
        cluster.close()


def exchange(mine: pathlib.Path, theirs: pathlib.Path, part: str) -> None:
    """The log, or the databases, are those of another folder; this one stays the server's own."""
    if part == "databases":
        shutil.rmtree(mine / part)
        shutil.copytree(theirs / part, mine / part)
        return
    for pattern in LOG_FILES:
        for file in mine.glob(pattern):
            file.unlink()
        for file in theirs.glob(pattern):
            shutil.copy(file, mine / file.name)


def refuses_what_is_of(
    cluster: OldCluster, other: OldCluster, fault: str, names: list[str]
) -> None:
    """Server 1's folder with a part of another cluster's is refused; then it is whole again.

    @param names of clusters, as far as the other one has any
    """
    kept = cluster.folder / "kept-1"
    shutil.copytree(cluster.data(1), kept, dirs_exist_ok=True)
    # Databases that have no history are not told from those that are older than it.
    for part in ("databases", "log") if names else ("log",):
        exchange(cluster.data(1), other.data(1), part)
        for flags in ((), ("--moved",), ("--join",)):
            told = cluster.refusal(1, *flags)
            expect(all(f"cluster {name}" in told for name in names), f"{part}: {told}")
        (defect, *_) = cluster.check(1)["log"]["defects"]
        expect(defect["fault"] == fault, defect)
        place = f"{defect['file']}, byte {defect['byte']}: "
        expect(f"{place}{defect['what']}" in told, (defect, told))
        expect((cluster.data(1) / defect["file"]).is_file(), defect)
        exchange(cluster.data(1), kept, part)


def a_lone_server_of_before_is_upgraded_and_keeps_all_it_had(
    program: str, folder: pathlib.Path
) -> None:
    for name in ("libraft_clean", "libraft_killed", "libraft_snapshot", "libraft_staged"):
        with running(program, folder / name, name) as cluster:
            expect(cluster.process(1).ask(".upgrade", 60.0) == [], f"{name}: .upgrade says more")
            first = cluster.histories()
            cluster.write()
            expect(cluster.process(1).ask(".upgrade", 60.0) == [], f"{name}: said again")
            now = cluster.histories()
            expect(now["cluster"] == first["cluster"], f"{first}, and now {now}")
            expect(now["position"] == first["position"] + 1, f"{first}, and now {now}")
            cluster.process(1).kill()
            cluster.check_all(first["cluster"])
            cluster.start(1)
            expect(cluster.leader() == 1, f"{name}: it does not lead")
            cluster.write()
            cluster.find_rows()
            cluster.stop_all()
            cluster.check_all(first["cluster"])
            told = cluster.refusal(1, "--found")
            expect(f"it belongs to cluster {first['cluster']}" in told, told)
            cluster.start(1)
            expect(cluster.leader() == 1, f"{name}: it does not lead again")
            cluster.find_rows()


def three_servers_of_before_are_upgraded_and_all_show_the_history(
    program: str, folder: pathlib.Path
) -> None:
    with running(program, folder, "libraft_three") as cluster:
        leader = cluster.leader()
        other, third = [server for server in cluster.ids if server != leader]
        # Said to the wrong one it does nothing, and tells where to say it.
        said = cluster.process(other).ask(".upgrade", 60.0)
        expect(len(said) == 1 and cluster.addresses[leader] in said[0], said)
        cluster.has_no_history()
        cluster.upgrade()
        first = cluster.histories()
        # Said again, to anybody, it does nothing.
        for server in cluster.ids:
            expect(cluster.process(server).ask(".upgrade", 60.0) == [], f"server {server}")
        expect(cluster.histories() == first, first)
        cluster.write()
        cluster.process(third).kill()
        cluster.write()
        cluster.start(third)
        cluster.write()
        expect(cluster.histories()["cluster"] == first["cluster"], first)
        cluster.find_rows()
        cluster.kill_all()
        cluster.check_all(first["cluster"])
        for server in cluster.ids:
            cluster.start(server)
        cluster.write()
        expect(cluster.histories()["cluster"] == first["cluster"], first)
        cluster.find_rows()


def an_upgrade_needs_a_majority_and_whoever_was_down_gets_it_later(
    program: str, folder: pathlib.Path
) -> None:
    with running(program, folder, "libraft_three") as cluster:
        leader = cluster.leader()
        other, third = [server for server in cluster.ids if server != leader]
        # Alone the leader cannot say that it is done.
        cluster.process(other).kill()
        cluster.process(third).kill()
        said = cluster.process(leader).ask(".upgrade", 60.0)
        expect(len(said) == 1 and said[0].startswith("Error: "), said)
        cluster.process(leader).kill()
        for server in cluster.ids:  # it may be in the leader's log: a folder to go on with
            expect(cluster.check(server)["whole"], cluster.check(server))
        # With one of three down it is done, and that one has it as soon as it is back.
        cluster.start(leader)
        cluster.start(other)
        cluster.upgrade()
        cluster.write()
        down = cluster.check(third)["log"]
        expect(down["history"] is None and down["cluster"] is None, down)
        cluster.start(third)
        first = cluster.histories()
        cluster.write()
        cluster.histories()
        cluster.find_rows()
        # It counts as any other now, with the one that led gone.
        cluster.process(leader).kill()
        cluster.write()
        cluster.start(leader)
        expect(cluster.histories()["cluster"] == first["cluster"], first)
        cluster.find_rows()
        cluster.kill_all()
        cluster.check_all(first["cluster"])


def a_leader_that_is_killed_as_it_upgrades_leaves_one_history(
    program: str, folder: pathlib.Path
) -> None:
    """Its entry may be everywhere, nowhere, or in its own log: said again, all have one."""
    for attempt, pause in enumerate((0.0, 0.002, 0.01, 0.05)):
        with running(program, folder / str(attempt), "libraft_three") as cluster:
            leader = cluster.leader()
            cluster.process(leader).send(Request(".upgrade"))
            time.sleep(pause)
            cluster.process(leader).kill()
            cluster.upgrade()
            cluster.write()
            cluster.start(leader)
            first = cluster.histories()
            cluster.write()
            expect(cluster.histories()["cluster"] == first["cluster"], first)
            cluster.find_rows()
            cluster.kill_all()
            cluster.check_all(first["cluster"])


def a_folder_of_another_cluster_is_refused_once_both_are_upgraded(
    program: str, folder: pathlib.Path
) -> None:
    """The same folders, upgraded twice: all but the history is alike, and so are the ids."""
    made = []
    for name in ("one", "other"):
        with running(program, folder / name, "libraft_three") as cluster:
            cluster.upgrade()
            cluster.write()
            made.append((cluster, cluster.histories()["cluster"]))
            cluster.stop_all()
    with running(program, folder / "never", "libraft_three") as never:
        for _ in range(6):
            never.write()
        never.stop_all()
    (cluster, mine), (other, theirs) = made
    expect(mine != theirs, mine)
    refuses_what_is_of(cluster, other, "another_cluster", [mine, theirs])
    refuses_what_is_of(cluster, never, "diverged", [])
    # As a whole it is another cluster's server 3, which only those can see who hear of it.
    kept = folder / "kept-3"
    cluster.data(3).rename(kept)
    shutil.copytree(other.data(3), cluster.data(3))
    try:
        cluster.start(1)
        cluster.start(2)
        cluster.identity = mine
        cluster.write()
        cluster.start(3, "--moved")

        def is_told() -> bool:
            said = cluster.statuses()
            return any(
                one["server"] == "3" for i in (1, 2) for one in said[i].get("refused", [])
            ) or bool(said[3].get("refused"))

        expect(wait_until(is_told, 60.0), cluster.statuses())
        said = cluster.process(3).status()
        expect(said["cluster"] == theirs, said)
        cluster.write()
        # Its own folder comes back.
        cluster.process(3).kill()
        cluster.wipe(3)
        kept.rename(cluster.data(3))
        for server in (1, 2):
            cluster.process(server).ask(".readmit 3", 60.0)  # if it refuses any
        cluster.start(3)
        cluster.write()
        expect(cluster.histories()["cluster"] == mine, mine)
        cluster.find_rows()
    finally:
        cluster.close()


CASES = {
    case.__name__: case
    for case in (
        a_lone_server_of_before_is_upgraded_and_keeps_all_it_had,
        three_servers_of_before_are_upgraded_and_all_show_the_history,
        an_upgrade_needs_a_majority_and_whoever_was_down_gets_it_later,
        a_leader_that_is_killed_as_it_upgrades_leaves_one_history,
        a_folder_of_another_cluster_is_refused_once_both_are_upgraded,
    )
}


def main() -> int:
    asked = sys.argv[2:] or list(CASES)
    if len(sys.argv) not in (2, 3) or not set(asked) <= set(CASES):
        sys.exit(f"{__doc__}\nCASES: {' '.join(CASES)}")
    for case in asked:
        began = time.monotonic()
        with own_the_addresses(), tempfile.TemporaryDirectory() as folder:
            CASES[case](sys.argv[1], pathlib.Path(folder))
        print(f"{case}: {time.monotonic() - began:.1f} s", flush=True)
        time.sleep(0.5)  # who waits for the addresses comes first
    return 0


if __name__ == "__main__":
    sys.exit(main())
