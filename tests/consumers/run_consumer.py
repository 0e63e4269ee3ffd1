"""Builds and runs a project that uses the library, in a temporary folder.

`subproject` puts a copy of the source tree below the consumer's subprojects/. `pkgconfig` installs
the library to a prefix of its own and compiles the consumer with what pkg-config says, once over
the compiled library and once header-only.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77  # Meson's code for a test that could not run here


def run(command: list[str], **options) -> str:
    print("+", shlex.join(command), flush=True)
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, **options)
    print(result.stdout, flush=True)
    if result.returncode != 0:
        sys.exit(f"failed with {result.returncode}: {shlex.join(command)}")
    return result.stdout


def copy_source(source: pathlib.Path, target: pathlib.Path) -> None:
    """The tree as a checkout has it: no build folders, no history, no downloaded subprojects."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        where = pathlib.Path(folder)
        if where == source / "subprojects":
            return [n for n in names if not n.endswith(".wrap") and n != "packagefiles"]
        return [
            n
            for n in names
            if n in {".git", ".cache", "__pycache__"}
            or (where == source and n.startswith("build"))
            or (where / n / "meson-private").exists()
        ]

    shutil.copytree(source, target, ignore=left_out)


def use_as_subproject(source: pathlib.Path, project: pathlib.Path, work: pathlib.Path) -> None:
    consumer = work / "consumer"
    shutil.copytree(project, consumer)
    shutil.copy(project.parent / "main.cpp", consumer)
    copy_source(source, consumer / "subprojects" / "quorlite")
    build = work / "build"
    quick = ["-Doptimization=0", "-Ddebug=false"]
    run(["meson", "setup", "--wrap-mode=nodownload", *quick, str(build), str(consumer)])
    run(["meson", "compile", "-C", str(build)])
    run([str(build / "consumer")])


def use_by_pkgconfig(source: pathlib.Path, project: pathlib.Path, work: pathlib.Path) -> None:
    build, prefix = work / "build", work / "prefix"
    parts = [f"-D{name}=disabled" for name in ("tests", "examples", "benchmarks", "libraft")]
    parts += ["-Doptimization=0", "-Ddebug=false"]
    run(["meson", "setup", f"--prefix={prefix}", *parts, str(build), str(source)])
    run(["meson", "install", "-C", str(build)])

    environment = dict(os.environ)
    folders = sorted({str(found.parent) for found in prefix.rglob("*.pc")})
    folders.append(environment.get("PKG_CONFIG_PATH", ""))
    environment["PKG_CONFIG_PATH"] = ":".join(filter(None, folders))
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    main = project.parent / "main.cpp"
    for package in ("quorlite", "quorlite-header-only"):
        said = run(["pkg-config", "--cflags", "--libs", package], env=environment)
        program = work / package
        run([*compiler, "-std=c++20", str(main), "-o", str(program), *shlex.split(said)])
        run([str(program)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["subproject", "pkgconfig"])
    parser.add_argument("--source", type=pathlib.Path, required=True, help="the top of the tree")
    parser.add_argument("--compiler", help="the compiler to use, as in CXX")
    options = parser.parse_args()

    tool = {"subproject": "meson", "pkgconfig": "pkg-config"}[options.kind]
    if shutil.which(tool) is None or shutil.which("meson") is None:
        print(f"skipped: {tool} or meson is not installed")
        return SKIPPED
    if options.compiler:
        os.environ["CXX"] = options.compiler
    # A build inside a build: it must not write to the outer one.
    os.environ.pop("DESTDIR", None)

    source = options.source.resolve()
    project = source / "tests" / "consumers" / "subproject"
    use = use_as_subproject if options.kind == "subproject" else use_by_pkgconfig
    with tempfile.TemporaryDirectory(prefix="quorlite-consumer-") as work:
        use(source, project, pathlib.Path(work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
