"""Builds and runs a project that uses the library, as its author would, in a temporary folder.

A consumer is a way to get at the library, with a standard, a compiler and flags of its own. They
are chosen so that any two of these settings meet in one of them (`pairs` looks), and what costs
most, compiling the library anew, is done twice. All treat warnings as errors and hide what they
have, as a library of their own would.
"""

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile

SKIPPED = 77  # Meson's code for a test that could not run here

HERE = pathlib.Path(__file__).resolve().parent
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fvisibility=hidden".split()
# What a checkout has and a build needs.
TREE = ["CMakeLists.txt", "VERSION", "include", "meson.build", "meson_options.txt", "packaging"]


@dataclasses.dataclass(frozen=True)
class Consumer:
    way: str
    standard: int
    compilers: tuple[str, ...]  # the first that is there
    rtti: bool
    library: str  # static, shared or headers
    tools: tuple[str, ...] = ()


GCC, CLANG = ("g++",), ("clang++",)
CONSUMERS = {
    # Two compile the library: clang, where it is, does it in half the time.
    "meson_subproject": Consumer("subproject", 20, CLANG + GCC, False, "static", ("meson",)),
    "meson_pkgconfig": Consumer("meson", 23, GCC, True, "shared", ("meson", "pkg-config")),
    "pkgconfig_shared": Consumer("plain", 20, CLANG, False, "shared", ("pkg-config",)),
    "pkgconfig_static": Consumer("plain", 23, GCC, False, "static", ("pkg-config",)),
    "pkgconfig_header_only": Consumer("plain", 20, CLANG, False, "headers", ("pkg-config",)),
    "cmake_subdirectory": Consumer("subdirectory", 23, CLANG + GCC, True, "shared", ("cmake",)),
    "cmake_fetch": Consumer("fetch", 20, GCC, False, "headers", ("cmake",)),
    "cmake_installed": Consumer("installed", 20, CLANG, True, "static", ("cmake",)),
    "include_path": Consumer("include_path", 23, CLANG, True, "headers"),
}


def check_pairs() -> None:
    """Do any two values of two settings meet in a consumer?"""
    settings = {
        "standard": (20, 23),
        "compiler": ("g++", "clang++"),
        "rtti": (True, False),
        "library": ("static", "shared", "headers"),
    }
    met = [
        {
            "standard": c.standard,
            "compiler": c.compilers[0],
            "rtti": c.rtti,
            "library": c.library,
        }
        for c in CONSUMERS.values()
    ]
    missing = [
        f"{one}={a} with {other}={b}"
        for one, other in itertools.combinations(settings, 2)
        for a, b in itertools.product(settings[one], settings[other])
        if not any(row[one] == a and row[other] == b for row in met)
    ]
    print("\n".join(f"no consumer has {pair}" for pair in missing) or "every pair is there")
    sys.exit(1 if missing else 0)


# ---- what all ways share -------------------------------------------------------------------


def run(command: list[str], fails: bool = False, **options) -> str:
    print("+", shlex.join(command), flush=True)
    result = subprocess.run(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    print(result.stdout, flush=True)
    if (result.returncode != 0) != fails:
        sys.exit(f"ended with {result.returncode}: {shlex.join(command)}")
    return result.stdout


def skip(why: str) -> None:
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


class Work:
    """One consumer: its compiler and flags, its temporary folder, and the build that it may use."""

    def __init__(self, consumer: Consumer, options: argparse.Namespace, folder: str) -> None:
        self.consumer = consumer
        self.source: pathlib.Path = options.source.resolve()
        self.build: pathlib.Path = options.build.resolve()
        self.libraft: bool = options.libraft
        self.folder = pathlib.Path(folder)
        self.project = self.folder / "project"
        self.compiler = self.find_compiler(shlex.split(options.compiler), options.compiler_id)
        self.standard = {20: "-std=c++20", 23: "-std=c++2b"}[consumer.standard]
        self.flags = [*STRICT, *([] if consumer.rtti else ["-fno-rtti"])]

    def find_compiler(self, ours: list[str], ours_id: str) -> list[str]:
        """The one that the library was built with, if it is the kind; ccache as it has it."""
        for name in self.consumer.compilers:
            if ours_id == {"g++": "gcc", "clang++": "clang"}[name]:
                return ours
            if shutil.which(name):
                return [*ours[:-1], name] if "ccache" in ours[0] else [name]
        return skip(f"{self.consumer.compilers[0]} is not installed")

    def take_project(self, name: str, main: str = "main.cpp") -> None:
        shutil.copytree(HERE / name, self.project)
        shutil.copy(HERE / main, self.project / "main.cpp")
        shutil.copy(HERE / "app_libraft.cpp", self.project)

    def take_tree(self, target: pathlib.Path) -> None:
        """The library as a checkout has it, but for what is not needed here."""
        for name in TREE:
            copy = shutil.copytree if (self.source / name).is_dir() else shutil.copy
            target.mkdir(parents=True, exist_ok=True)
            copy(self.source / name, target / name)
        ours, theirs = self.source / "subprojects", target / "subprojects"
        shutil.copytree(ours / "packagefiles", theirs / "packagefiles")
        for wrap in ours.glob("*.wrap"):
            shutil.copy(wrap, theirs)

    def installed(self) -> tuple[pathlib.Path, dict[str, str]]:
        """Installs what the outer build has, elsewhere than it was told; for a static consumer
        without the shared libraries. @returns the prefix, and an environment that knows it"""
        place = self.folder / "place"
        run(["meson", "install", "--no-rebuild", "-C", str(self.build), "--destdir", str(place)])
        package = next(place.rglob("quorlite.pc"))
        libraries = package.parent.parent
        wanted = {"static": "libquorlite.a", "shared": "libquorlite.so"}.get(self.consumer.library)
        if wanted is not None and not (libraries / wanted).exists():
            skip(f"this build has no {wanted}: -Ddefault_library=both")
        if self.consumer.library == "static":
            for shared in libraries.glob("lib*.so*"):
                shared.unlink()
        environment = {
            **os.environ,
            "PKG_CONFIG_PATH": str(package.parent),
            "LD_LIBRARY_PATH": str(libraries),
        }
        return next(place.rglob("include")).parent, environment

    def compile(self, arguments: list[str], fails: bool = False, **options) -> str:
        command = [*self.compiler, self.standard, *self.flags, *arguments]
        return run(command, fails, cwd=self.project, **options)

    def cmake(self, project: pathlib.Path, build: pathlib.Path, *more: str) -> None:
        *launcher, compiler = self.compiler
        settings = {
            "CMAKE_BUILD_TYPE": "Debug",
            "CMAKE_CXX_FLAGS_DEBUG": "-O0",
            "CMAKE_CXX_COMPILER": compiler,
            "CMAKE_CXX_COMPILER_LAUNCHER": ";".join(launcher),
            "CMAKE_CXX_FLAGS": shlex.join(self.flags),
            "CMAKE_CXX_STANDARD": str(self.consumer.standard),
            "CMAKE_UNITY_BUILD": "ON",
            "QUORLITE_LIBRAFT": "ON" if self.libraft else "OFF",
        }
        defined = [f"-D{name}={value}" for name, value in settings.items()]
        run(["cmake", "-S", str(project), "-B", str(build), "-G", "Ninja", *defined, *more])
        run(["cmake", "--build", str(build)])
        run([str(build / "app")])
        if (build / "app_libraft").exists():
            run([str(build / "app_libraft")])


# ---- the ways ------------------------------------------------------------------------------


def use_meson(work: Work, environment: dict[str, str], *more: str) -> None:
    build = work.folder / "build"
    setup = ["meson", "setup", str(build), str(work.project), "-Doptimization=0", "-Ddebug=false"]
    # Older ones do not know the name of every standard, and links are given all arguments.
    arguments = [work.standard, *work.flags, "-Wno-unused-command-line-argument"]
    setup += ["-Dcpp_std=none", f"-Dcpp_args={' '.join(arguments)}", *more]
    environment = {**environment, "CXX": shlex.join(work.compiler)}
    run(setup, env=environment)
    run(["meson", "compile", "-C", str(build)], env=environment)
    run([str(build / "app")], env=environment)


def use_as_subproject(work: Work) -> None:
    work.take_project("meson")
    work.take_tree(work.project / "subprojects" / "quorlite")
    forced = ["--force-fallback-for=quorlite", "--wrap-mode=nodownload"]
    use_meson(work, dict(os.environ), *forced, "-Dunity=subprojects", "-Dunity_size=100")


def use_installed_by_meson(work: Work) -> None:
    work.take_project("meson")
    _, environment = work.installed()
    use_meson(work, environment, "--wrap-mode=nofallback")


def use_plain(work: Work) -> None:
    """build.sh, with the standard, the flags and the package of this consumer."""
    work.take_project("plain")
    _, environment = work.installed()
    text = (work.project / "build.sh").read_text(encoding="utf-8")
    programs = {"main.cpp": "quorlite"}
    if work.consumer.library == "headers":
        programs = {"main.cpp": "quorlite-header-only"}
    elif work.libraft:
        programs["app_libraft.cpp"] = "quorlite-libraft"
    environment["CXX"] = shlex.join(work.compiler)
    environment["CXXFLAGS"] = shlex.join([work.standard, *work.flags])
    for program, package in programs.items():
        script = text.replace("main.cpp", program).replace(" quorlite)", f" {package})")
        run(["sh", "-c", script], cwd=work.project, env=environment)
        run(["./app"], cwd=work.project, env=environment)


def use_include_path(work: Work) -> None:
    work.take_project("plain", "headers.cpp")
    work.compile(["-I", str(work.source / "include"), "main.cpp", "-pthread", "-o", "app"])
    run(["./app"], cwd=work.project)


def use_as_subdirectory(work: Work) -> None:
    """And then what CMake installs of it."""
    work.take_project("cmake_subdirectory")
    work.take_tree(work.project / "quorlite")
    build, place = work.folder / "build", work.folder / "place"
    work.cmake(work.project, build, "-DBUILD_SHARED_LIBS=ON", "-DQUORLITE_INSTALL=ON")
    run(["cmake", "--install", str(build), "--prefix", str(place)])
    shutil.rmtree(build)
    moved = place.rename(work.folder / "moved")
    shutil.copy(HERE / "cmake_installed" / "CMakeLists.txt", work.project)
    shutil.copy(HERE / "headers.cpp", work.project / "main.cpp")
    work.cmake(work.project, build, f"-DCMAKE_PREFIX_PATH={moved}", "-DQUORLITE_LIBRAFT=OFF")


def use_fetched(work: Work) -> None:
    work.take_project("cmake_fetch", "headers.cpp")
    tree, archive = work.folder / "quorlite", work.folder / "quorlite.tar.gz"
    work.take_tree(tree)
    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        packed.add(tree, "quorlite")
    work.cmake(work.project, work.folder / "build", f"-DQUORLITE_ARCHIVE={archive}")


def use_installed_by_cmake(work: Work) -> None:
    work.take_project("cmake_installed")
    prefix, _ = work.installed()
    work.cmake(work.project, work.folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")


def keep_modes_apart(work: Work) -> None:
    """A type of the library that passes from a unit of one mode to one of the other is an undefined
    symbol; within one mode it is not."""
    work.project.mkdir()
    include = ["-I", str(work.source / "include")]
    modes = {"header_only": [], "compiled": ["-DQUORLITE_SEPARATE_COMPILATION"]}
    for mode, flags in modes.items():
        for unit in ("giver", "taker"):
            source = str(HERE / f"modes_{unit}.cpp")
            work.compile([*include, *flags, "-c", source, "-o", f"{unit}_{mode}.o"])
    for giver, taker in itertools.product(modes, modes):
        objects = [f"giver_{giver}.o", f"taker_{taker}.o", "-o", "app"]
        said = work.compile(objects, fails=giver != taker)
        if giver != taker and "undefined reference to `take(quorlite::v0" not in said:
            sys.exit("it does not link, but for another reason")


def build_by_default(work: Work) -> None:
    """`meson install` without options has nothing to build that it does not install."""
    build = work.folder / "build"
    environment = {**os.environ, "CXX": shlex.join(work.compiler)}
    run(["meson", "setup", str(build), str(work.source)], env=environment)
    targets = json.loads(run(["meson", "introspect", "--targets", str(build)]))
    built = [one for one in targets if one["build_by_default"]]
    left = [one["name"] for one in built if not one["installed"]]
    if left or not built:
        sys.exit(f"built and not installed: {', '.join(left) or 'nothing is built at all'}")


WAYS = {
    "subproject": use_as_subproject,
    "meson": use_installed_by_meson,
    "plain": use_plain,
    "include_path": use_include_path,
    "subdirectory": use_as_subdirectory,
    "fetch": use_fetched,
    "installed": use_installed_by_cmake,
    "modes": keep_modes_apart,
    "default_build": build_by_default,
}
OTHERS = {
    "modes_apart": Consumer("modes", 20, GCC + CLANG, True, "headers"),
    "default_build": Consumer("default_build", 20, GCC + CLANG, True, "static", ("meson",)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*CONSUMERS, *OTHERS, "pairs"])
    parser.add_argument("--source", type=pathlib.Path, help="the top of the tree")
    parser.add_argument("--build", type=pathlib.Path, help="its build folder")
    parser.add_argument("--compiler", help="of the build folder, as in CXX")
    parser.add_argument("--compiler-id", choices=["gcc", "clang"], help="what it is")
    parser.add_argument("--libraft", action="store_true", help="the build has that adapter")
    options = parser.parse_args()
    if options.name == "pairs":
        check_pairs()

    consumer = {**CONSUMERS, **OTHERS}[options.name]
    for tool in consumer.tools:
        if shutil.which(tool) is None:
            skip(f"{tool} is not installed")
    # A build inside a build: it must not write to the outer one.
    os.environ.pop("DESTDIR", None)
    with tempfile.TemporaryDirectory(prefix="quorlite-consumer-") as folder:
        WAYS[consumer.way](Work(consumer, options, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
