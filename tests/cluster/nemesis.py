"""The faults of a round. Each of them leaves every server running and connected."""

import random
import signal
import time

from cluster import Cluster
from sql_process import wait_until


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
    )
    NEED_FILES = ("halt_leader",)

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
        self.cluster.process(server).kill()
        self.cluster.ask_leader(f".remove {server}")
        self.cluster.wipe(server)
        self.cluster.start(server, "--join")
        self.cluster.take_in(server)
        return f"server {server} lost its folder and joined again"

    def halt_leader(self) -> str:
        """A file of somebody else's has the name of a new database: the next flush cannot be."""
        server = self.leader()
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
