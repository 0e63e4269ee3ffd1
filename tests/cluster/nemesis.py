"""The faults of a round. Each of them leaves every server running and connected."""

import pathlib
import random
import shutil
import signal
import time

from cluster import Cluster, has_inodes
from sql_process import SqlProcess, wait_until


class Trouble(Exception):
    """The cluster does not come to where the round needs it. That is a finding."""


class Nemesis:
    """The methods named in ROUNDS are the rounds. Pauses come from `chance`."""

    ROUNDS = (
        "kill_leader",
        "kill_follower",
        "stop_leader",
        "stop_follower",
        "kill_all",
        "wipe_follower",
        "wipe_leader",
        "transfer",
        "restart_leader",
        "kill_twice",
        "halt_leader",
        "halt_follower",
        "damaged_log",
        "stale_folder",
        "folder_of_another_server",
        "folder_of_another_cluster",
    )
    NEED_FILES = ("halt_leader", "halt_follower")

    def __init__(self, cluster: Cluster, chance: random.Random):
        self.cluster = cluster
        self.chance = chance
        self.halts = 0

    # ---- whom

    def leader(self) -> int:
        found = self.cluster.leader()
        if found is None:
            raise Trouble("no leader within 30 s, though all servers run")
        return found

    def follower(self) -> int:
        leader = self.leader()
        return self.chance.choice([i for i in self.cluster.ids if i != leader])

    def pause(self, least: float, most: float) -> None:
        time.sleep(self.chance.uniform(least, most))

    # ---- SIGKILL, SIGTERM

    def kill_leader(self) -> str:
        return self._kill(self.leader())

    def kill_follower(self) -> str:
        return self._kill(self.follower())

    def _kill(self, server: int) -> str:
        self.cluster.process(server).kill()
        self.pause(0.5, 3.0)
        self.cluster.start(server)
        return f"SIGKILL of server {server}"

    def kill_all(self) -> str:
        order = self.chance.sample(self.cluster.ids, len(self.cluster.ids))
        for server in order:
            self.cluster.process(server).kill()
        for server in order:
            self.cluster.start(server)
        return f"SIGKILL of all servers: {order}"

    def kill_twice(self) -> str:
        """Again while it comes back."""
        server = self.leader()
        self.cluster.process(server).kill()
        for _ in range(3):
            self.cluster.start(server)
            self.pause(0.0, 0.3)
            self.cluster.process(server).kill()
        self.cluster.start(server)
        return f"SIGKILL of server {server}, and three times while it starts"

    def restart_leader(self) -> str:
        server = self.leader()
        status = self.cluster.process(server).stop()
        if status != 0:
            raise Trouble(f"server {server} ended with {status} after SIGTERM")
        self.pause(0.2, 1.0)
        self.cluster.start(server)
        return f"SIGTERM of server {server}"

    # ---- SIGSTOP

    def stop_leader(self) -> str:
        return self._stop(self.leader())

    def stop_follower(self) -> str:
        return self._stop(self.follower())

    def _stop(self, server: int) -> str:
        """Longer than an election takes; what it has not read yet, it carries out later."""
        self.cluster.process(server).signal(signal.SIGSTOP)
        self.pause(1.0, 5.0)
        self.cluster.process(server).signal(signal.SIGCONT)
        return f"SIGSTOP of server {server}"

    # ---- membership

    def transfer(self) -> str:
        leader, follower = self.leader(), self.follower()
        if leader == follower:
            return "a transfer that the cluster made itself"
        said = self.cluster.process(leader).ask(f".transfer {follower}", 30.0)
        return f"leadership goes from {leader} to {follower} {said or ''}".rstrip()

    def wipe_follower(self) -> str:
        return self._wipe(self.follower())

    def wipe_leader(self) -> str:
        return self._wipe(self.leader())

    def _wipe(self, server: int) -> str:
        """A disk is lost: what a server promised is forgotten, so it comes back as a new one."""
        before = self._id_among_members(server)
        self.cluster.process(server).kill()
        self.cluster.wipe(server)
        self._refused(server, "this is an empty folder")
        self.cluster.start(server, "--join")
        status = self.cluster.process(server).status()
        if status["server"] == before or not status["waits"]:
            raise Trouble(f"server {server} lost its folder, and goes on as {status['server']}")
        self.cluster.ask_leader(f".remove {server}")
        self.cluster.take_in(server)
        return f"server {server} lost its folder and joined again"

    def _id_among_members(self, server: int) -> str | None:
        members = self.cluster.process(self.leader()).status()["servers"]
        return next((one["server"] for one in members if one["id"] == server), None)

    # ---- folders

    def _refused(self, server: int, *words: str) -> None:
        """A start that has to fail, with a text that says these."""
        self.cluster.start(server)
        process = self.cluster.process(server)
        process.expected_to_end = True
        status = process.wait(30.0)
        told = process.last_words()
        if status != 1 or not all(word in told for word in words):
            raise Trouble(f"server {server}, which is to say {words}, ends with {status}: {told}")

    def damaged_log(self) -> str:
        """A byte that was written changes, in a file of the log; the text says what to do."""
        server = self.chance.choice(self.cluster.ids)
        self.cluster.process(server).kill()
        data = self.cluster.data(server)
        segments = [one for one in data.iterdir() if one.name[:1] in "0123456789"]
        segments = segments or sorted(data.glob("open-*"))[:1]
        file = self.chance.choice(sorted(segments))
        content = bytearray(file.read_bytes())
        content[8 + self.chance.randrange(4)] ^= 1 << self.chance.randrange(8)  # of a check
        file.write_bytes(content)
        self._refused(server, file.name, "remove this one from the cluster")
        return f"{file.name} of server {server} is damaged; {self._wipe(server)}"

    def _aside(self, server: int) -> pathlib.Path:
        """The folder of a server that is down, moved there; it stays what it is."""
        aside = self.cluster.folder / f"aside-{server}"
        shutil.rmtree(aside, ignore_errors=True)
        self.cluster.data(server).rename(aside)
        return aside

    def _bring_back(self, server: int, aside: pathlib.Path) -> None:
        shutil.rmtree(self.cluster.data(server))
        aside.rename(self.cluster.data(server))
        self.cluster.start(server)

    def stale_folder(self) -> str:
        """An older copy takes the place of a server's folder; the others went on meanwhile."""
        server = self.chance.choice(self.cluster.ids)
        older = self.cluster.folder / f"older-{server}"
        shutil.rmtree(older, ignore_errors=True)
        self.cluster.process(server).kill()
        shutil.copytree(self.cluster.data(server), older)
        self.cluster.start(server)
        self.pause(0.5, 2.0)
        self.cluster.process(server).kill()
        self.cluster.wipe(server)
        older.rename(self.cluster.data(server))
        if has_inodes(self.cluster.data(server)):
            self._refused(server, "this folder is a copy", "empty folder")
        return f"an older copy took the place of a folder; {self._wipe(server)}"

    def folder_of_another_server(self) -> str:
        server, other = self.chance.sample(self.cluster.ids, 2)
        self.cluster.process(server).kill()
        aside = self._aside(server)
        self.cluster.process(other).kill()
        shutil.copytree(self.cluster.data(other), self.cluster.data(server))
        self.cluster.start(other)
        self._refused(server, f"this folder is server {other}.", f"and server {server} was asked")
        self._bring_back(server, aside)
        return f"server {server} got the folder of server {other}, and its own again"

    def folder_of_another_cluster(self) -> str:
        """It cannot take a row of its own: most of the servers of that cluster are gone."""
        server = self.chance.choice(self.cluster.ids)
        self.cluster.process(server).kill()
        aside = self._aside(server)
        id_there = self._found_elsewhere(server)
        self.cluster.start(server)
        stranger = self.cluster.process(server)
        def is_told() -> bool:
            return any(
                "strangers" in status or "refused" in status
                for status in self.cluster.statuses().values()
            )

        if not wait_until(is_told, 10.0, 0.1):
            raise Trouble(f"nobody tells of another cluster's folder: {self.cluster.statuses()}")
        status = stranger.status()
        tables = stranger.ask("SELECT name FROM sqlite_schema;")
        if status["server"] != id_there or status["role"] == "leader" or "item" in tables:
            raise Trouble(f"another cluster's folder takes part in ours: {status}, {tables}")
        stranger.kill()
        self._bring_back(server, aside)
        return f"server {server} got the folder of another cluster, and its own again"

    def _found_elsewhere(self, server: int) -> str:
        """Another cluster, of two servers, in the folder of one that is down. @returns its id"""
        host, port = self.cluster.addresses[server].split(":")
        second = self.cluster.folder / f"elsewhere-{server}"
        shutil.rmtree(second, ignore_errors=True)
        members = []
        # At other ports: ours would hear of the leader that they call there.
        for number, at, data, flag in (
            (server, int(port) + 1, self.cluster.data(server), "--found"),
            (9, int(port) + 2, second, "--join"),
        ):
            command = [self.cluster.program, "--id", str(number), "--data", str(data)]
            command += ["--address", f"{host}:{at}", flag]
            log = self.cluster.folder / f"elsewhere-{server}.log"
            # No client of ours knows of it.
            members.append(SqlProcess(self.cluster.wrapped(server, command), log))
        founder, joiner = members
        said = founder.ask(".leader 30\nCREATE TABLE elsewhere(x);", 40.0)
        for line in joiner.status()["to_be_said_on_leader"]:
            said += founder.ask(line, 40.0)
        status = founder.status()
        for one in members:
            one.kill()
        if sum(one["voter"] for one in status["servers"]) != 2:
            raise Trouble(f"another cluster cannot be made: {said}, {status}")
        return status["server"]

    # ---- halts

    def halt_leader(self) -> str:
        return self._halt(self.leader())

    def halt_follower(self) -> str:
        return self._halt(self.follower())

    def _halt(self, server: int) -> str:
        """A file of somebody else's has the name of a new database: the next flush cannot be."""
        self.halts += 1
        name = f"halt-{self.halts}.db"
        (self.cluster.data(server) / "databases" / name).write_bytes(b"not one of ours\n" * 256)
        self.cluster.ask_leader(f".open {name}\nCREATE TABLE IF NOT EXISTS h(x);\n.open app.db")

        def halted() -> bool:
            return self.cluster.process(server).status()["role"] == "halted"

        if not wait_until(halted, 30.0, 0.05):
            raise Trouble(f"server {server} does not halt over {name}")
        if not wait_until(lambda: self.cluster.leader() not in (None, server), 10.0, 0.05):
            raise Trouble(f"server {server} has halted, and nobody else leads")
        return f"server {server} halted; {self._wipe(server)}"
