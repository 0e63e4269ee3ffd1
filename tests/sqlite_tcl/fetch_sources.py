"""Gets the sources of the SQLite that is installed: those that Debian has, without its patches.

usage: fetch_sources.py FOLDER    prints where they are, below it
"""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import debian_source  # noqa: E402

PACKAGE = "libsqlite3-dev"


def installed_version() -> str:
    """Upstream's. Empty: there is none, or no dpkg."""
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${source:Upstream-Version}", PACKAGE],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def fetch(work: pathlib.Path) -> pathlib.Path | None:
    """The folder of the sources; they are got once. None: they cannot be had, and it is said."""
    version = installed_version()
    sources = work.resolve() / "source" / f"sqlite3-{version}"
    if version and (sources / "test" / "tester.tcl").exists():
        return sources
    try:
        got = debian_source.fetch("sqlite3", debian_source.release_here(), work)
    except debian_source.Unavailable as error:
        print(f"fetch_sources: {error}", file=sys.stderr)
        return None
    if got.resolve() != sources:
        print(f"fetch_sources: {got.name} is not of the installed {version}", file=sys.stderr)
        return None
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
        return 1
    print(sources)
    return 0


if __name__ == "__main__":
    sys.exit(main())
