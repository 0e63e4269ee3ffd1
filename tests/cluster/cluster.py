"""Three servers, their folders and where they are reached."""

import pathlib
import random
import shutil
import signal
import socket
import subprocess

from sql_process import Lost, SqlProcess, wait_until


OVERLAYS = ("overlayfs", "fuseblk", "fuse")  # where inodes do not count, as stat(1) calls them


def has_inodes(folder: pathlib.Path) -> bool:
    """A copy of a folder can be told from it there."""
    command = ["stat", "--file-system", "--format", "%T", str(folder)]
    kind = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return kind not in OVERLAYS


# One for each port that this process has taken, for as long as it runs.
_taken: list[socket.socket] = []


def free_ports(count: int, chance: random.Random) -> list[int]:
    """Below the range that the system gives to outgoing connections: those come and go. While a
    server is down nobody holds its port; so that no other test takes it, a name stands for it."""
    found: list[int] = []
    while len(found) < count:
        port = chance.randint(20000, 30000)
        name = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            try:
                name.bind(f"\0quorlite test port {port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                name.close()
                continue
        _taken.append(name)
        found.append(port)
    return found


class Cluster:
    """The servers, each by its id."""

    def __init__(self, program: str, folder: pathlib.Path, options: list[str], count: int = 3):
        self.program = program
        self.folder = folder
        self.options = options
        self.ids = list(range(1, count + 1))
        ports = free_ports(count, random.Random())
        self.addresses = {i: f"127.0.0.1:{port}" for i, port in zip(self.ids, ports)}
        self.identity: str | None = None  # of the cluster, once somebody needs to know it
        self._processes: dict[int, SqlProcess] = {}

    def wrapped(self, server: int, command: list[str]) -> list[str]:
        """Where a network of its own is wanted, this is the place."""
        del server
        return command

    # ---- processes

    def data(self, server: int) -> pathlib.Path:
        return self.folder / f"data-{server}"

    def start(self, server: int, *flags: str) -> None:
        """@param flags --found or --join where the folder is empty; --moved"""
        command = [self.program, "--id", str(server), "--data", str(self.data(server))]
        command += ["--address", self.addresses[server], *self.options, *flags]
        self._processes[server] = SqlProcess(
            self.wrapped(server, command), self.folder / f"server-{server}.log"
        )

    def start_all(self) -> None:
        """The first one founds the cluster, and the others join it; from then on they go on.

        @raises Lost: it does not come to that
        """
        if self.data(self.ids[0]).exists():
            for server in self.ids:
                self.start(server)
            return
        founder, *others = self.ids
        self.start(founder, "--found")
        for server in others:
            self.start(server, "--join")
            self.take_in(server)

    def take_in(self, server: int, limit: float = 90.0) -> None:
        """Says on the leader what a server that waits wants to be said there. @raises Lost"""
        for line in self.process(server).status().get("to_be_said_on_leader", []):
            self.ask_leader(line, limit)

    def ask_leader(self, command: str, limit: float = 90.0) -> None:
        """Until it is done: the leader may change meanwhile. @raises Lost"""
        said: list[str] = []

        def done() -> bool:
            try:
                leader = self.leader()
                said[:] = self.process(leader).ask(command, 60.0) if leader else ["no leader"]
            except Lost as error:
                said[:] = [str(error)]
            # Done already, by an attempt whose answer was lost.
            return not said or any("no such server" in line for line in said)

        if not wait_until(done, limit, 0.2):
            raise Lost(f"'{command}' is not done within {limit:g} s: {said}")

    def process(self, server: int) -> SqlProcess:
        return self._processes[server]

    def wipe(self, server: int) -> None:
        shutil.rmtree(self.data(server))

    def fallen(self) -> list[str]:
        """Those that ended though nobody ended them."""
        return [
            f"server {i} ended by itself: {one.last_words()}"
            for i, one in self._processes.items()
            if not one.running() and not one.expected_to_end
        ]

    def close(self) -> None:
        for one in self._processes.values():
            one.signal(signal.SIGCONT)
            one.kill()

    # ---- what they say

    def id_at(self, address: str) -> int | None:
        return next((i for i, known in self.addresses.items() if known == address), None)

    def statuses(self) -> dict[int, dict]:
        """Of those that answer soon."""
        found = {}
        for server in self._processes:
            try:
                found[server] = self.process(server).status(2.0)
            except Lost:
                pass
        return found

    def is_ours(self, status: dict) -> bool:
        """Whoever says this is a member of this cluster, as far as it says so."""
        return self.identity in (None, status.get("cluster"))

    def leader(self, limit: float = 30.0) -> int | None:
        """The server that leads in the latest term; None: there is none in time."""
        leaders: dict[int, int] = {}

        def found() -> bool:
            leaders.clear()
            for server, status in self.statuses().items():
                if status["role"] == "leader" and self.is_ours(status):
                    leaders[status["term"]] = server
            return bool(leaders)

        return leaders[max(leaders)] if wait_until(found, limit, 0.05) else None

    def even(self, limit: float) -> dict[int, dict] | str:
        """Waits until all stand at the same content and follow the same leader.

        @returns what each says, or what is uneven
        """
        said: dict[int, dict] = {}

        def content(status: dict) -> tuple:
            databases = tuple(
                (one["name"], one["version"], one["hash"]) for one in status["databases"]
            )
            return databases, status["applied_index"], status["leader"], status["term"]

        def same() -> bool:
            said.clear()
            said.update(self.statuses())
            contents = {content(status) for status in map(freeze, said.values())}
            return len(said) == len(self.ids) and len(contents) == 1

        if wait_until(same, limit, 0.1):
            return said
        return "; ".join(f"server {i}: {said.get(i, 'does not answer')}" for i in self.ids)


def freeze(status: dict) -> dict:
    """A status whose leader can be compared: its address, or None for none."""
    leader = status["leader"]
    return {**status, "leader": leader and leader["address"]}
