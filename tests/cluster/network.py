"""A network namespace for each server, joined by a bridge in one more; links that can be cut."""

import os
import pathlib
import shutil
import subprocess

from cluster import Cluster
from nemesis import Nemesis


def unavailable() -> str | None:
    """Why there can be no namespaces here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need ip (iproute2)"
    name = f"quorlite-{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "bridge", "type", "bridge")
        ip("netns", "exec", name, "true")
        return None
    except subprocess.CalledProcessError as failed:
        return f"{' '.join(failed.cmd)}: {failed.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class SeparateNetworks(Cluster):
    """Addresses of a range that is for tests (RFC 2544), in namespaces only."""

    def __init__(self, program: str, folder: pathlib.Path, options: list[str], count: int = 3):
        super().__init__(program, folder, options, count)
        self._prefix = f"quorlite-{os.getpid()}"
        self._hub = f"{self._prefix}-hub"
        self.addresses = {i: f"198.18.0.{i}:9000" for i in self.ids}
        ip("netns", "add", self._hub)
        ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", self._hub, "link", "set", "bridge", "up")
        for i in self.ids:
            own = self._own(i)
            ip("netns", "add", own)
            link = ("link", "add", f"port{i}", "type", "veth", "peer", "name", "eth0")
            ip("-n", self._hub, *link, "netns", own)
            ip("-n", self._hub, "link", "set", f"port{i}", "master", "bridge", "up")
            ip("-n", own, "address", "add", f"198.18.0.{i}/24", "dev", "eth0")
            ip("-n", own, "link", "set", "lo", "up")
            ip("-n", own, "link", "set", "eth0", "up")

    def _own(self, server: int) -> str:
        return f"{self._prefix}-{server}"

    def wrapped(self, server: int, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self._own(server), *command]

    def cut(self, server: int) -> None:
        ip("-n", self._hub, "link", "set", f"port{server}", "down")

    def mend(self, server: int) -> None:
        ip("-n", self._hub, "link", "set", f"port{server}", "up")

    def close(self) -> None:
        super().close()
        for name in [self._hub, *map(self._own, self.ids)]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


class CutLinks(Nemesis):
    """Partitions, besides all the rest."""

    ROUNDS = ("cut_leader", "cut_follower", "cut_all", "cut_for_a_moment", *Nemesis.ROUNDS)

    def cut_leader(self) -> str:
        """It goes on believing that it leads, for a while; a client at its side does too."""
        return self._cut([self.leader()], 2.0, 6.0)

    def cut_follower(self) -> str:
        return self._cut([self.follower()], 2.0, 6.0)

    def cut_all(self) -> str:
        return self._cut(self.cluster.ids, 2.0, 4.0)

    def cut_for_a_moment(self) -> str:
        """Too short for an election: connections live through it, packets do not."""
        return self._cut([self.leader()], 0.05, 0.4)

    def _cut(self, servers: list[int], least: float, most: float) -> str:
        for server in servers:
            self.cluster.cut(server)
        self.pause(least, most)
        for server in servers:
            self.cluster.mend(server)
        return f"the link of {servers} was down"
