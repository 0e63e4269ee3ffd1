"""The house rules, as a test. Each violation is a line `FILE:LINE: what is wrong; what to do`."""

import argparse
import fnmatch
import os
import pathlib
import re
import subprocess
import sys

COLUMNS = 100
HEADER_LINES = 400
FUNCTION_LINES = 70

# ---- the layers: a header includes quorlite headers of its own layer or below --------

LAYERS = [
    "config.hpp version.hpp error.hpp ids.hpp limits.hpp bytes.hpp wire.hpp xxh3.hpp",
    "consensus.hpp storage.hpp thread_signal.hpp",
    "command.hpp codec/*.hpp",
    "page_store.hpp page_table.hpp page_version.hpp pin_ledger.hpp reclaim.hpp lineage.hpp"
    " memory_gauge.hpp page_reader.hpp page_source.hpp page_store_usage.hpp"
    " transaction.hpp registry.hpp"
    " version_chains.hpp",
    "fsm.hpp fsm_apply.hpp fsm_foreign.hpp fsm_proposals.hpp fsm_state.hpp base_image.hpp"
    " captured_state.hpp damage_board.hpp foreign_staging.hpp frame_assembly.hpp"
    " outcome_table.hpp prepared_frames.hpp proposal_table.hpp replica_status.hpp"
    " restore_target.hpp staged_restore.hpp stored_pages.hpp write_plan.hpp",
    "sqlite/*.hpp proposer.hpp group_writer.hpp replica.hpp connection.hpp",
]

# Parts beside the layers: the highest layer they may include, and the groups besides.
BESIDE = {
    "storage/*.hpp": (1, ["storage/*.hpp"]),
    "raft/*.hpp": (1, ["raft/*.hpp", "testing/*.hpp"]),
    "testing/*.hpp": (5, ["*"]),
    "fmt.hpp": (5, []),
    "json.hpp": (5, []),
    "quorlite.hpp": (5, []),
}

# What headers of the layers must not use: time, randomness and threads come from outside, and
# these standard headers cost every includer dearly.
NOT_IN_LAYERS = {
    r"\b(system|steady|high_resolution|utc|file)_clock\b": "reads a clock",
    r"\b(clock_gettime|gettimeofday|timespec_get)\b": "reads a clock",
    r"\bstd::time\b|\btime\s*\(\s*(nullptr|NULL|0)\s*\)": "reads a clock",
    r"\brandom_device\b|\bsqlite3_randomness\b|\bstd::rand\b|\bgetrandom\b": "makes random numbers",
    r"\bstd::j?thread\b|\bstd::async\b|\bpthread_create\b": "starts a thread",
    r"#\s*include\s*<(thread|random|future)>": "includes <thread>, <random> or <future>",
    r"#\s*include\s*<(iostream|regex|ranges)>": "includes a costly header",
}

CODE_SUFFIXES = {".hpp", ".cpp", ".h", ".in", ".py", ".sh", ".build"}
STYLED_FOLDERS = ("include", "tests", "benchmarks", "docs/examples")

# Spelled in two parts, so that this file does not contain them.
FORBIDDEN = ["/wo" "rk/", "fa" "rm"]

VIOLATIONS: list[str] = []


def report(path: str, line: int, fault: str, remedy: str) -> None:
    VIOLATIONS.append(f"{path}:{line}: {fault}; {remedy}")


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


# ---- reading -------------------------------------------------------------------------


def source_files(root: pathlib.Path) -> list[str]:
    """Every file of the project: no build folders, no downloaded subprojects, nothing hidden."""
    found = []
    for folder, folders, names in os.walk(root):
        inside = pathlib.Path(folder).relative_to(root).as_posix()
        if inside == "subprojects":
            folders[:] = ["packagefiles"] if "packagefiles" in folders else []
        folders[:] = sorted(
            f
            for f in folders
            if f not in {".git", ".cache", "__pycache__"}
            and not (inside == "." and f.startswith("build"))
            and not (pathlib.Path(folder) / f / "meson-private").exists()
        )
        for name in sorted(names):
            found.append(name if inside == "." else f"{inside}/{name}")
    return found


def read(root: pathlib.Path, path: str) -> str | None:
    """The text of a file, or nothing for binary data."""
    try:
        return (root / path).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def blank(match: re.Match) -> str:
    return re.sub(r"[^\n]", " ", match.group(0))


def without_comments(text: str) -> str:
    """C++ with its comments blanked out; lines and columns stay where they were."""
    pattern = r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/'
    return re.sub(
        pattern,
        lambda m: blank(m) if m.group(0).startswith("/") else m.group(0),
        text,
        flags=re.DOTALL,
    )


def without_literals(code: str) -> str:
    """Code with its strings, characters and preprocessor lines blanked out as well."""
    code = re.sub(r'R"(\w*)\(.*?\)\1"', blank, code, flags=re.DOTALL)
    code = re.sub(r'"(?:\\.|[^"\\\n])*"', blank, code)
    # Not the ' between the digits of a number.
    code = re.sub(r"(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'", blank, code)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, code, flags=re.MULTILINE)


# ---- rules of form -------------------------------------------------------------------


def check_form(path: str, text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > COLUMNS:
            report(path, number, f"{len(line)} columns", f"break the line at {COLUMNS}")
        if "\t" in line:
            report(path, number, "a tab", "indent with spaces")
        if line != line.rstrip():
            report(path, number, "spaces at the end of the line", "remove them")


def check_forbidden(path: str, text: str) -> None:
    lowered = text.lower()
    for word in FORBIDDEN:
        position = lowered.find(word)
        if position >= 0:
            report(path, line_of(text, position), f"mentions '{word}'", "say it in other words")


def check_header(path: str, text: str, code: str) -> None:
    lines = text.count("\n")
    if lines > HEADER_LINES:
        report(path, lines, f"{lines} lines", f"split the header: at most {HEADER_LINES}")
    if not re.search(r"^#pragma once$", code, re.MULTILINE):
        report(path, 1, "no #pragma once", "add it below the opening comment")


OPENS_SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|concept)\b|\bextern\s*$")


def without_template_heads(declaration: str) -> str:
    """Drops `template <…>`, whose `class` would look like the definition of a class."""
    while match := re.search(r"\btemplate\s*<", declaration):
        depth, end = 1, match.end()
        while end < len(declaration) and depth > 0:
            depth += {"<": 1, ">": -1}.get(declaration[end], 0)
            end += 1
        declaration = declaration[: match.start()] + declaration[end:]
    return declaration


def check_functions(path: str, code: str) -> None:
    """Measures every block that is neither a scope of declarations nor a table of values."""
    scopes = 0  # how many namespaces and classes are open
    stack: list[bool] = []  # of scopes
    start = 0
    position = 0
    while position < len(code):
        mark = code[position]
        if mark in ";}":
            start = position + 1
        if mark == "{":
            declaration = without_template_heads(code[start:position])
            start = position + 1
            if OPENS_SCOPE.search(declaration) and not declaration.rstrip().endswith("="):
                stack.append(True)
                scopes += 1
            else:
                end = end_of_block(code, position)
                lines = code.count("\n", position, end) + 1
                is_table = re.search(r"[=\]]\s*$", declaration)
                if lines > FUNCTION_LINES and not is_table:
                    report(
                        path,
                        line_of(code, position),
                        f"a function of {lines} lines",
                        f"divide it: at most {FUNCTION_LINES}",
                    )
                position = end
                start = end + 1
        elif mark == "}" and stack:
            stack.pop()
            scopes -= 1
        position += 1


def end_of_block(code: str, opening: int) -> int:
    depth = 0
    for position in range(opening, len(code)):
        depth += {"{": 1, "}": -1}.get(code[position], 0)
        if depth == 0:
            return position
    return len(code) - 1


# ---- rules of structure --------------------------------------------------------------


def matches(header: str, patterns: str | list[str]) -> bool:
    names = patterns.split() if isinstance(patterns, str) else patterns
    return any(fnmatch.fnmatchcase(header, name) for name in names)


def layer_of(header: str) -> int | None:
    return next((n for n, names in enumerate(LAYERS) if matches(header, names)), None)


def beside(header: str) -> tuple[int, list[str]] | None:
    return next((rule for name, rule in BESIDE.items() if matches(header, name)), None)


def check_layers(path: str, header: str, code: str) -> None:
    layer, rule = layer_of(header), beside(header)
    if layer is None and rule is None:
        report(path, 1, "is in no layer", "add it to LAYERS or BESIDE in tests/tidy.py")
        return
    highest, groups = (layer, []) if layer is not None else rule
    for include in re.finditer(r'^[ \t]*#\s*include\s*([<"])([^>"]+)[>"]', code, re.MULTILINE):
        name, line = include.group(2), line_of(code, include.start())
        if name.startswith("quorlite/"):
            included = name.removeprefix("quorlite/")
            below = layer_of(included)
            if not (below is not None and below <= highest) and not matches(included, groups):
                where = f"layer {layer}" if layer is not None else "this part"
                report(path, line, f"{where} includes {name}", "include its layer or below only")
        elif include.group(1) == '"' and not name.startswith("quorlite/"):
            report(path, line, f'includes "{name}"', "name it by its path quorlite/…")
        if name.startswith(("fmt/", "nlohmann/")) and header not in {"fmt.hpp", "json.hpp"}:
            report(path, line, f"includes {name}", "move it to fmt.hpp or json.hpp")
        if name == "sqlite3.h" and highest < 5:
            report(path, line, "includes sqlite3.h", "only layer 5 and above may; pass values")
    if layer is not None:
        for expression, fault in NOT_IN_LAYERS.items():
            for use in re.finditer(expression, code):
                remedy = "take it from the adapter or the storage, or find another way"
                report(path, line_of(code, use.start()), fault, remedy)


def listed_names(build: str, variable: str) -> list[str]:
    block = re.search(rf"^{variable} = \[(.*?)^\]", build, re.MULTILINE | re.DOTALL)
    return re.findall(r"'([^']+)'", block.group(1)) if block else []


def check_test_lists(root: pathlib.Path, files: list[str]) -> None:
    path = "tests/meson.build"
    build = read(root, path)
    for folder in ("unit", "stress"):
        names = listed_names(build, f"{folder}_tests")
        sources = [
            pathlib.PurePath(f).stem
            for f in files
            if f.startswith(f"tests/{folder}/") and f.endswith(".cpp")
        ]
        for name in sorted(set(sources) - set(names)):
            source = f"tests/{folder}/{name}.cpp"
            report(source, 1, "is never built", f"add '{name}' to {folder}_tests in {path}")
        for name in sorted(set(names) - set(sources)):
            report(path, 1, f"lists '{name}'", f"write tests/{folder}/{name}.cpp or drop the name")
        if names != sorted(names):
            report(path, 1, f"{folder}_tests is not sorted", "sort it, one name a line")


def check_configured(files: list[str], configured: list[str]) -> None:
    """New headers and archetypes are found when Meson configures: notice a stale build folder."""
    for folder, suffix in (
        ("include/", ".hpp"),
        ("tests/archetypes/", ".cpp"),
        ("tests/compile_fail/", ".cpp"),
    ):
        for path in files:
            if path.startswith(folder) and path.endswith(suffix):
                if path.removeprefix(folder) not in configured:
                    report(path, 1, "is not compiled yet", "run `meson setup --reconfigure BUILD`")


def check_version(root: pathlib.Path) -> None:
    path = "include/quorlite/version.hpp"
    text = read(root, path)
    parts = re.findall(r"#define QUORLITE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text)
    version = read(root, "VERSION").strip()
    if ".".join(parts) != version:
        report(path, 1, f"says {'.'.join(parts)}, VERSION says {version}", "make them agree")


def check_shell(root: pathlib.Path, path: str) -> None:
    result = subprocess.run(["bash", "-n", str(root / path)], capture_output=True, text=True)
    if result.returncode != 0:
        said = result.stderr.strip().split("\n")[0]
        line = re.search(r"line (\d+)", said)
        report(path, int(line.group(1)) if line else 1, "bash -n refuses it", said)
    if not os.access(root / path, os.X_OK) and not path.startswith("tests/support/"):
        report(path, 1, "cannot be executed", "chmod +x it")


def dedent(block: str) -> str:
    lines = [line.rstrip() for line in block.strip("\n").split("\n")]
    indent = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return "\n".join(line[indent:] for line in lines)


def check_readme(root: pathlib.Path) -> None:
    text = read(root, "README.md")
    pattern = r"<!-- from: (\S+) -->\s*```cpp\n(.*?)```"
    for block in re.finditer(pattern, text, re.DOTALL):
        line, source = line_of(text, block.start()), block.group(1)
        if not (root / source).is_file():
            report("README.md", line, f"quotes {source}: missing", "name a file that exists")
            continue
        quoted = re.search(
            r"^[ \t]*// \[readme\]\n(.*?)^[ \t]*// \[/readme\]",
            read(root, source),
            re.DOTALL | re.MULTILINE,
        )
        if quoted is None:
            report(source, 1, "has no // [readme] part", "mark it, up to // [/readme]")
        elif dedent(quoted.group(1)) != dedent(block.group(2)):
            report("README.md", line, f"differs from {source}", "copy the marked part again")


# ---- all of it -----------------------------------------------------------------------


def is_shell(path: str, text: str) -> bool:
    return path.endswith(".sh") or re.match(r"#!.*\b(ba)?sh\b", text) is not None


def check_all(root: pathlib.Path) -> list[str]:
    files = source_files(root)
    for path in files:
        text = read(root, path)
        if text is None:
            continue
        check_forbidden(path, text)
        suffix = pathlib.PurePath(path).suffix
        if path.startswith(STYLED_FOLDERS) and suffix in CODE_SUFFIXES:
            check_form(path, text)
        if is_shell(path, text):
            check_shell(root, path)
        if path.startswith("include/") and suffix in {".hpp", ".cpp"}:
            code = without_comments(text)
            check_header(path, text, code)
            check_functions(path, without_literals(code))
            check_layers(path, path.removeprefix("include/quorlite/"), code)
    check_test_lists(root, files)
    check_version(root)
    check_readme(root)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root",
        type=pathlib.Path,
        default=pathlib.Path(__file__).resolve().parent.parent,
        help="the top of the source tree",
    )
    parser.add_argument(
        "--configured",
        nargs="*",
        metavar="FILE",
        help="what the build folder knows to compile; anything else there is a stale folder",
    )
    options = parser.parse_args()

    files = check_all(options.root)
    if options.configured is not None:
        known = [name.removeprefix("include/") for name in options.configured]
        check_configured(files, known)
    for violation in VIOLATIONS:
        print(violation)
    print(f"{len(files)} files, {len(VIOLATIONS)} violations")
    return 1 if VIOLATIONS else 0


if __name__ == "__main__":
    sys.exit(main())
