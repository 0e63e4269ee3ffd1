"""Builds `testfixture`, the Tcl shell that SQLite's own test scripts run in, from SQLite's sources.

Once, in a folder of its own. Its SQLite is visible to what it loads, so that a module with quorlite
in it uses that one.
"""

import concurrent.futures
import hashlib
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

# Parts of SQLite that scripts ask for.
features = [
    "-DNDEBUG",
    "-DSQLITE_THREADSAFE=1",
    "-DSQLITE_ENABLE_COLUMN_METADATA",
    "-DSQLITE_ENABLE_DBSTAT_VTAB",
    "-DSQLITE_ENABLE_FTS3",
    "-DSQLITE_ENABLE_FTS4",
    "-DSQLITE_ENABLE_FTS5",
    "-DSQLITE_ENABLE_GEOPOLY",
    "-DSQLITE_ENABLE_MATH_FUNCTIONS",
    "-DSQLITE_ENABLE_PREUPDATE_HOOK",
    "-DSQLITE_ENABLE_RTREE",
    "-DSQLITE_ENABLE_SESSION",
    "-DSQLITE_NO_SYNC=1",
]


def version_of(sources: pathlib.Path) -> str:
    return (sources / "VERSION").read_text().strip()


def makefile(sources: pathlib.Path, target: str, *flags: str) -> list[str]:
    """The command that makes a target of the makefile for who does without configure."""
    tcl = subprocess.run(
        ["pkg-config", "--cflags", "tcl"], check=True, capture_output=True, text=True
    ).stdout.strip()
    given = {
        "TOP": sources,
        "BCC": "gcc",
        "TCC": "gcc",
        "TCLSH": "tclsh",
        "NAWK": "awk",
        "EXE": "",
        "TCL_FLAGS": tcl,
        "LIBTCL": "-ltcl8.6",
        "THREADLIB": "-lpthread -ldl -lm -lz",
        "OPTS": " ".join(features),
        "AR": "ar cr",
        "RANLIB": "ranlib",
    }
    return [
        "make",
        *flags,
        "-f",
        str(sources / "main.mk"),
        *(f"{name}={value}" for name, value in given.items()),
        target,
    ]


def link_command(text: str) -> list[str]:
    """The one that makes testfixture, of what `make -n` prints."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [line for line in lines if re.search(r"-o\s+testfixture\b", line)]
    if len(found) != 1:
        sys.exit("build_testfixture: SQLite's makefile has no command for testfixture")
    return shlex.split(found[0])


def compile_one(command: list[str], folder: pathlib.Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


def build(
    sources: pathlib.Path, folder: pathlib.Path, optimization: str, jobs: int
) -> pathlib.Path:
    """The path of testfixture. Nothing is done if it stands there, made of the same."""
    sources = sources.resolve()
    made_of = f"{version_of(sources)} {sources} -O{optimization} {' '.join(features)}"
    folder = folder.resolve() / hashlib.sha256(made_of.encode()).hexdigest()[:12]
    program = folder / "testfixture"
    if program.exists():
        return program
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(
        makefile(sources, "sqlite3.c"), cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    told = subprocess.run(
        makefile(sources, "amalgamation-testfixture", "-n"),
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    words = link_command(told.stdout)
    libraries = [word for word in words if word.startswith("-l")]
    flags = [word for word in words[1:] if word.startswith(("-D", "-I"))]
    compiler = ["ccache", "gcc"] if shutil.which("ccache") else ["gcc"]
    compiler += [f"-O{optimization}", "-w", *flags, "-c"]
    commands, objects = [], []
    for source in dict.fromkeys(word for word in words if word.endswith(".c")):
        made = f"{len(objects)}-{pathlib.Path(source).stem}.o"
        objects.append(made)
        commands.append([*compiler, source, "-o", made])
    # The longest by far begins first.
    commands.sort(key=lambda command: command[-3] != "sqlite3.c")
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(lambda command: compile_one(command, folder), commands):
            pass
    compile_one(["gcc", "-rdynamic", *objects, *libraries, "-o", "testfixture.new"], folder)
    (folder / "testfixture.new").rename(program)
    return program
