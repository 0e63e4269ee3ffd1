"""Gets the sources of the SQLite that is installed: those that Debian has, without its patches.

usage: fetch_sources.py FOLDER    prints where they are, below it
"""

import pathlib
import shutil
import subprocess
import sys
import tarfile

PACKAGE = "libsqlite3-dev"


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def suite() -> str:
    """Debian's name of the installed release."""
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=")[1].strip('"')
    return "stable"


def apt_options(folder: pathlib.Path) -> list[str]:
    """Lists of sources of its own: few machines have them among those of the system."""
    mirrors = said(
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE)",
        "Created-By: Packages",
        "Origin: Debian",
        "Label: Debian",
    )
    mirror = (mirrors.splitlines() or ["http://deb.debian.org/debian"])[0]
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir(exist_ok=True)
    (folder / "sources.list").write_text(
        f"deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
        f"{mirror} {suite()} main\n"
    )
    return [
        f"-oDir::Etc::SourceList={folder / 'sources.list'}",
        "-oDir::Etc::SourceParts=-",
        f"-oDir::State::Lists={folder / 'lists'}",
        f"-oDir::Cache={folder / 'cache'}",
        "-oAPT::Sandbox::User=",
    ]


def fetch(work: pathlib.Path) -> pathlib.Path | None:
    """The folder of the sources; they are got once. None: apt has no such version,
    or there is no apt."""
    if shutil.which("apt-get") is None:
        return None
    version = said("dpkg-query", "-W", "-f", "${source:Upstream-Version}", PACKAGE)
    sources = work.resolve() / f"sqlite3-{version}"
    if not version or (sources / "test" / "tester.tcl").exists():
        return sources if version else None
    folder = work.resolve() / "apt"
    folder.mkdir(parents=True, exist_ok=True)
    options = apt_options(folder)
    for command in (["update"], ["source", "--download-only", "sqlite3"]):
        asked = ["apt-get", "--quiet", *options, *command]
        if subprocess.run(asked, cwd=folder, stdout=sys.stderr).returncode != 0:
            return None
    archives = list(folder.glob(f"sqlite3_{version}.orig.tar.*"))
    if not archives:
        return None
    with tarfile.open(archives[0]) as archive:
        archive.extractall(work)
    return sources


def main() -> int:
    """Prints the folder. @returns 1: they cannot be had"""
    if len(sys.argv) != 2:
        print("usage: fetch_sources.py FOLDER", file=sys.stderr)
        return 2
    work = pathlib.Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    sources = fetch(work)
    if sources is None:
        print("fetch_sources: apt has no sources of the installed SQLite", file=sys.stderr)
        return 1
    print(sources)
    return 0


if __name__ == "__main__":
    sys.exit(main())
