"""Builds and runs a project that uses the library, in a temporary folder.

`subproject` puts a copy of the source tree below the consumer's subprojects/. `pkgconfig` installs
what the build folder has to a place of its own and compiles the consumer with what pkg-config says,
once over the compiled library and once header-only.
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


def use_by_pkgconfig(build: pathlib.Path, project: pathlib.Path, work: pathlib.Path) -> None:
    place = work / "place"
    run(["meson", "install", "--no-rebuild", "-C", str(build), "--destdir", str(place)])

    environment = dict(os.environ)
    folders = sorted({str(found.parent) for found in place.rglob("quorlite*.pc")})
    environment["PKG_CONFIG_PATH"] = ":".join(
        filter(None, [*folders, environment.get("PKG_CONFIG_PATH", "")])
    )
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    main = project.parent / "main.cpp"
    for package in ("quorlite", "quorlite-header-only"):
        # Where --destdir has put what the prefix will hold.
        prefix = run(["pkg-config", "--variable=prefix", package], env=environment).strip()
        moved = f"--define-variable=prefix={place}{prefix}"
        said = run(["pkg-config", moved, "--cflags", "--libs", package], env=environment)
        program = work / package
        run([*compiler, "-std=c++20", str(main), "-o", str(program), *shlex.split(said)])
        run([str(program)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["subproject", "pkgconfig"])
    parser.add_argument("--source", type=pathlib.Path, required=True, help="the top of the tree")
    parser.add_argument("--build", type=pathlib.Path, required=True, help="its build folder")
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
    with tempfile.TemporaryDirectory(prefix="quorlite-consumer-") as work:
        if options.kind == "subproject":
            use_as_subproject(source, project, pathlib.Path(work))
        else:
            use_by_pkgconfig(options.build.resolve(), project, pathlib.Path(work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
