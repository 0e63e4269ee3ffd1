"""Source packages of Debian, by apt, with lists and folders of their own: those of the system stay
as they are. They come from the archive that apt uses here, and are signed as its packages are.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import tarfile

KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Unavailable(Exception):
    """Not to be had on this machine: no fault of the project. The text says why."""


def _apt(*arguments: str, where: pathlib.Path | None = None) -> str:
    """What apt-get said. Raises Unavailable, also where there is none."""
    if shutil.which("apt-get") is None:
        raise Unavailable("there is no apt-get")
    done = subprocess.run(
        ["apt-get", *arguments],
        cwd=where,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.strip().splitlines()[-3:])
        raise Unavailable(f"apt-get {arguments[-1]}: {last}")
    return done.stdout.strip()


def release_here() -> str:
    """Debian's name of the release that this machine runs."""
    try:
        told = pathlib.Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        told = ""
    name = re.search(r'^VERSION_CODENAME="?(\w+)', told, re.MULTILINE)
    if "ID=debian" not in told.split() or not name:
        raise Unavailable("this machine runs no release of Debian")
    return name.group(1)


def archive_here() -> str:
    """The address of Debian's archive, as apt has it."""
    asked = ["--format", "$(SITE)", "Created-By: Packages", "Origin: Debian", "Label: Debian"]
    known = _apt("indextargets", *asked).splitlines()
    if not known:
        raise Unavailable("apt has no archive of Debian among its sources")
    return known[0]


def fetch(package: str, release: str, folder: pathlib.Path) -> pathlib.Path:
    """The unpacked source of what that release has, in `folder`, without Debian's patches."""
    folder = folder.resolve()
    apt = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    listed = apt / "sources.list"
    listed.write_text(f"deb-src {signed}{archive_here()} {release} main\n", encoding="utf-8")
    private = [f"-oDir::Etc::sourcelist={listed}", "-oDir::Etc::sourceparts=/dev/null"]
    private += [f"-oDir::State::lists={apt / 'lists'}", f"-oDir::Cache={apt / 'cache'}"]
    private += ["-oAPT::Sandbox::User=root", "-oAcquire::Languages=none", "-oAcquire::Retries=2"]
    _apt("--quiet", *private, "update")
    _apt("--quiet", *private, "source", "--download-only", package, where=apt)
    packed = [path for path in apt.glob(f"{package}_*.orig.tar.*") if path.suffix != ".asc"]
    packed = [path for path in packed if ".orig-" not in path.name]
    if len(packed) != 1:
        raise Unavailable(f"apt-get source left {len(packed)} archives")
    unpacked = folder / "source"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(packed[0]) as archive:
        archive.extractall(unpacked)  # apt has seen that it is Debian's
    (tree,) = unpacked.iterdir()
    return tree
