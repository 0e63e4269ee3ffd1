"""The house rules, as a test. Each violation is a line `FILE:LINE: what is wrong; what to do`."""

import argparse
import os
import pathlib
import re
import subprocess
import sys

COLUMNS = 100
INTERFACE_LINES = 60
FUNCTION_LINES = 70
PUBLIC_HEADERS = 30

ROOMS = "include/quorlite/README.md"  # its tables say who may include whom
WITH_SQLITE = "detail/sqlite/"  # from this layer on sqlite3.h may be included

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

CODE_SUFFIXES = {".hpp", ".ipp", ".cpp", ".h", ".in", ".py", ".sh", ".build", ".cmake"}
CPP_SUFFIXES = {".hpp", ".ipp", ".cpp", ".h"}
STYLED_FOLDERS = ("include", "tests", "benchmarks", "docs/examples", "packaging")

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


def check_header(path: str, code: str) -> None:
    if not re.search(r"^#pragma once$", code, re.MULTILINE):
        report(path, 1, "no #pragma once", "add it below the opening comment")
    bodies = path.removesuffix(".hpp") + ".ipp"
    if path.endswith(".ipp") and "QUORLITE_DECL" not in code and "template" not in code:
        report(path, 1, "has no body", f"see {ROOMS}")
    elif path.endswith(".hpp") and "/detail/" in path and re.search(
        r"^QUORLITE_DECL .*\{$", code, re.MULTILINE
    ):
        report(path, 1, "has bodies of the compiled part", f"move them to {bodies}")


CLASS_HEAD = re.compile(
    r"^(?:template <[^{};]*>\n)?(?:class|struct)\s+"
    r"(?:\[\[\w+\]\]\s+|alignas\(\w+\)\s+|QUORLITE_API\s+)?"
    r"(?P<name>[\w:]+)(?:\s+final)?[^;{()]*\{",
    re.MULTILINE,
)


def check_interfaces(path: str, code: str) -> None:
    """A class is an interface that one reads in a screen: lines of declarations are counted, not
    comments, not blank lines, not what stands inside the body of a function."""
    for head in CLASS_HEAD.finditer(code):
        end = end_of_block(code, head.end() - 1)
        lines = declaration_lines(code[head.end() : end])
        if lines > INTERFACE_LINES:
            report(
                path,
                line_of(code, head.start("name")),
                f"{head['name']} has {lines} lines of declarations",
                f"divide it by its nouns: at most {INTERFACE_LINES}",
            )


# What changes something when it is evaluated: assignments, ++ and --, calls of C (::f, raft_f),
# and members that say by their name that they change what they are called on.
CHANGES = re.compile(
    r"\+\+|--|(?<![=!<>])=(?!=)|\bnew\b|\bdelete\b|(?<![\w>])::[a-z]\w*\s*\(|\braft_\w+\s*\(|"
    r"\b(?:assign|clear|close|commit|drop|emplace\w*|erase|exchange|extract|fetch_\w+|insert\w*|"
    r"open|pop\w*|publish|push\w*|read|release|reserve|reset|resize|run(?:_\w+)?|settle|start|stop|"
    r"store|swap|take\w*|try_emplace|write)\s*\("
)


def check_assertions(path: str, code: str) -> None:
    """An assertion asks and changes nothing: whoever reads it must be able to leave it out."""
    for use in re.finditer(r"(?<!define )\bQUORLITE_ASSERT\(", code):
        depth, end = 1, use.end()
        while end < len(code) and depth > 0:
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        change = CHANGES.search(code, use.end(), end - 1)
        if change is not None:
            report(
                path,
                line_of(code, change.start()),
                f"an assertion changes something: {change.group(0)}",
                "do it first, assert what came of it",
            )


def declaration_lines(inside: str) -> int:
    kept, position, start = [], 0, 0
    while position < len(inside):
        if inside[position] in ";}":
            start = position + 1
        if inside[position] == "{":
            declaration = without_template_heads(inside[start:position])
            start = position + 1
            if not OPENS_SCOPE.search(declaration):
                end = end_of_block(inside, position)
                kept.append("{}")
                position = start = end + 1
                continue
        kept.append(inside[position])
        position += 1
    return sum(1 for line in "".join(kept).split("\n") if line.strip())


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


class Rooms:
    """Who may include whom, as the tables of include/quorlite/README.md say."""

    def __init__(self, text: str) -> None:
        self.layers: list[list[str]] = []  # from the lowest up
        self.beside: list[tuple[list[str], int, list[str]]] = []  # rooms, highest layer, more rooms
        for row in re.finditer(r"^\| (`.*?) \|(.*)\|$", text, re.MULTILINE):
            rooms = re.findall(r"`([^`]+)`", row.group(1))
            cells = row.group(2).split(" | ")
            if len(cells) == 1:
                self.layers.append(rooms)
            elif cells[0].strip() == "everything":
                self.beside.append((rooms, len(self.layers), [""]))
            else:
                self.beside.append((rooms, 1, re.findall(r"`([^`]+)`", cells[0])))

    @staticmethod
    def holds(rooms: list[str], header: str) -> bool:
        noun = header.removesuffix(".ipp") + ".hpp" if header.endswith(".ipp") else header
        return any(noun == r or (r == "" or r.endswith("/")) and noun.startswith(r) for r in rooms)

    def layer_of(self, header: str) -> int | None:
        found = (n for n, rooms in enumerate(self.layers) if self.holds(rooms, header))
        return next(found, None)

    def allowed(self, header: str) -> tuple[int, list[str]] | None:
        """The highest layer it may include, and rooms besides; None: it stands in no room."""
        layer = self.layer_of(header)
        if layer is not None:
            return layer, []
        for rooms, highest, more in self.beside:
            if self.holds(rooms, header):
                return highest, rooms + more
        return None


INCLUDE = re.compile(r'^[ \t]*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def check_rooms(rooms: Rooms, path: str, header: str, code: str) -> None:
    allowed = rooms.allowed(header)
    if allowed is None:
        report(path, 1, "stands in no room", f"add its room to a table of {ROOMS}")
        return
    highest, more = allowed
    layer = rooms.layer_of(header)
    for include in INCLUDE.finditer(code):
        name, line = include.group(2), line_of(code, include.start())
        if name.startswith("quorlite/"):
            included = name.removeprefix("quorlite/")
            below = rooms.layer_of(included)
            own = included.removesuffix(".hpp").removesuffix(".ipp") == header.removesuffix(".hpp")
            in_reach = below is not None and below <= highest
            if not in_reach and not rooms.holds(more, included) and not own:
                report(path, line, f"includes {name}", f"not in its reach: see {ROOMS}")
        elif include.group(1) == '"':
            report(path, line, f'includes "{name}"', "name it by its path quorlite/…")
        if name.startswith(("fmt/", "nlohmann/")):
            report(path, line, f"includes {name}", "these packages are for tools and tests")
        if name == "sqlite3.h" and highest < rooms.layer_of(WITH_SQLITE):
            report(path, line, "includes sqlite3.h", f"only from {WITH_SQLITE} up")
    if layer is not None:
        for expression, fault in NOT_IN_LAYERS.items():
            for use in re.finditer(expression, code):
                remedy = "take it from the adapter or the storage, or find another way"
                report(path, line_of(code, use.start()), fault, remedy)


def check_cycles(includes: dict[str, list[str]]) -> None:
    """No header includes itself by way of others. (An .ipp stands above its header.)"""
    done: set[str] = set()

    def visit(header: str, way: list[str]) -> None:
        if header in way:
            chain = " -> ".join(way[way.index(header) :] + [header])
            report(f"include/{header}", 1, f"includes itself: {chain}", "see where the nouns part")
        elif header not in done:
            for included in includes.get(header, []):
                visit(included, way + [header])
            done.add(header)

    for header in sorted(includes):
        visit(header, [])


def check_include_tree(root: pathlib.Path, files: list[str]) -> None:
    rooms = Rooms(read(root, ROOMS) or "")
    if not rooms.layers or not rooms.beside:
        report(ROOMS, 1, "has no table of rooms", "give it back: this test reads it")
        return
    includes = {}
    public = []
    bodies, compiled = set(), set()
    units, listed = set(), set()
    for path in files:
        if not path.startswith("include/") or not path.endswith((".hpp", ".ipp", ".cpp")):
            continue
        header = path.removeprefix("include/quorlite/")
        code = without_comments(read(root, path))
        if path.endswith(".cpp"):
            compiled.update(found.group(2) for found in INCLUDE.finditer(code))
            units.add("quorlite/" + header)
        else:
            check_header(path, code)
            check_functions(path, without_literals(code))
            check_rooms(rooms, path, header, code)
        if path.endswith(".hpp"):
            check_interfaces(path, without_literals(code))
            names = [found.group(2) for found in INCLUDE.finditer(code)]
            if header.startswith("src"):
                listed.update(names)
            includes["quorlite/" + header] = [
                n for n in names if n.startswith("quorlite/") and n.endswith(".hpp")
            ]
            if "detail/" not in header:
                public.append(header)
        if path.endswith(".ipp") and "QUORLITE_DECL" in code:
            bodies.add("quorlite/" + header)
    for name in sorted(bodies - compiled):
        report(f"include/{name}", 1, "is compiled in no unit", "include it in its room's .cpp")
    for name in sorted(units - listed):
        report(f"include/{name}", 1, "is in no build", "include it in src.hpp or its like")
    check_cycles(includes)
    if len(public) > PUBLIC_HEADERS:
        report(ROOMS, 1, f"{len(public)} public headers", f"at most {PUBLIC_HEADERS}")


def check_errors_page(root: pathlib.Path) -> None:
    """Each code of ours has a row in the page of errors, and each row a code."""
    header, page = "include/quorlite/error.hpp", "docs/reference/errors.md"
    listed = re.search(r"enum class errc.*?^};", read(root, header), re.MULTILINE | re.DOTALL)
    codes = re.findall(r"^  (\w+)(?: = \d+)?,", listed.group(0), re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \|", read(root, page), re.MULTILINE)
    for name in sorted(set(codes) ^ set(rows)):
        report(page, 1, f"'{name}' is a code or a row, and not both", "one row for each errc")


def listed_names(build: str, variable: str) -> list[str]:
    block = re.search(rf"^{variable} = \[(.*?)^\]", build, re.MULTILINE | re.DOTALL)
    return re.findall(r"'([^']+)'", block.group(1)) if block else []


def listed_rooms(build: str) -> dict[str, list[str]]:
    block = re.search(r"^unit_rooms = \{(.*?)^\}", build, re.MULTILINE | re.DOTALL)
    rooms = re.findall(r"^  '([^']+)': \[(.*?)^  \]", block.group(1), re.MULTILINE | re.DOTALL)
    return {room: re.findall(r"'([^']+)'", names) for room, names in rooms}


def check_test_lists(root: pathlib.Path, files: list[str]) -> None:
    path = "tests/meson.build"
    build = read(root, path)
    rooms = listed_rooms(build)
    lists = {
        "unit": [*rooms.values(), listed_names(build, "unit_tests_apart")],
        "stress": [listed_names(build, "stress_tests")],
    }
    for folder, parts in lists.items():
        names = [name for part in parts for name in part]
        sources = [
            pathlib.PurePath(f).stem
            for f in files
            if f.startswith(f"tests/{folder}/") and f.endswith(".cpp")
        ]
        for name in sorted(set(sources) - set(names)):
            source = f"tests/{folder}/{name}.cpp"
            report(source, 1, "is never built", f"add '{name}' to a list in {path}")
        for name in sorted(set(names) - set(sources)):
            report(path, 1, f"lists '{name}'", f"write tests/{folder}/{name}.cpp or drop the name")
        for name in sorted({name for name in names if names.count(name) > 1}):
            report(path, 1, f"lists '{name}' twice", "a test is in one room")
        if any(part != sorted(part) for part in parts):
            report(path, 1, f"a list of tests/{folder} is not sorted", "one name a line, sorted")
    for name in sorted(name for names in rooms.values() for name in names):
        if f"tests/unit/{name}.cpp" in files:
            check_test_namespace(root, name)
    for file in files:  # a program of several files is asked for the cases of each by its name
        if file.startswith("tests/") and file.endswith(".hpp") and file != "tests/catch2_shim.hpp":
            if re.search(r"^TEST_CASE", read(root, file), re.MULTILINE):
                report(file, 1, "has test cases", "nobody would run them: move them to a .cpp")


def check_test_namespace(root: pathlib.Path, name: str) -> None:
    """Tests of a room may be compiled as one unit, so each keeps its names to itself."""
    path = f"tests/unit/{name}.cpp"
    lines = read(root, path).splitlines()
    begins, ends = f"namespace {name}_test {{", f"}}  // namespace {name}_test"
    if begins not in lines or not lines or lines[-1] != ends:
        report(path, len(lines), f"is not in namespace {name}_test", "open it behind the includes")
        return
    before = lines[: lines.index(begins)]
    said = [line for line in before if line.strip() and not line.startswith(("#", "//"))]
    if said:
        report(path, before.index(said[0]) + 1, f"stands before {begins}", "move it inside")


def check_configured(files: list[str], configured: list[str]) -> None:
    """New headers and archetypes are found when Meson configures: notice a stale build folder."""
    for folder, suffix in (
        ("include/", ".hpp"),
        ("tests/archetypes/", ".cpp"),
        ("tests/compile_fail/", ".cpp"),
    ):
        for path in files:
            if path.startswith(folder) and path.endswith(suffix) and "/detail/" not in path:
                if path.removeprefix(folder) not in configured:
                    report(path, 1, "is not compiled yet", "run `meson setup --reconfigure BUILD`")


# A word with a capital that is no name like SQLite or WAL, or labels such as "W7, W10:".
NO_SENTENCE = re.compile(r"[A-Z][a-z]*(?![\w])|(?:[A-Z]?\d+(?:\.\d+)?(?:, | to | and )?)+: ")


def check_test_names(path: str, text: str) -> None:
    for case in re.finditer(r'\bTEST_CASE\(\s*"((?:\\.|[^"\\])*)"', text):
        if NO_SENTENCE.match(case.group(1)):
            remedy = "begin with a small letter, and end with the label: … (W7)"
            report(path, line_of(text, case.start()), f'a test called "{case.group(1)}"', remedy)


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


def check_quotes(root: pathlib.Path, path: str, text: str) -> None:
    """Code that a document quotes, `<!-- from: FILE [PART] -->`, is what stands between `// [PART]`
    and `// [/PART]` (or `#`) in that file, which a test compiles or runs. Without a name the part
    is `readme`."""
    pattern = r"<!-- from: (\S+?)(?: \[(\w+)\])? -->\s*```\w+\n(.*?)```"
    for block in re.finditer(pattern, text, re.DOTALL):
        line, source, part = line_of(text, block.start()), block[1], block[2] or "readme"
        if not (root / source).is_file():
            report(path, line, f"quotes {source}: missing", "name a file that exists")
            continue
        quoted = re.search(
            rf"^[ \t]*(?://|#) \[{part}\]\n(.*?)^[ \t]*(?://|#) \[/{part}\]",
            read(root, source),
            re.DOTALL | re.MULTILINE,
        )
        if quoted is None:
            report(source, 1, f"has no [{part}] part", f"mark it, up to [/{part}], in comments")
        elif dedent(quoted[1]) != dedent(block[3]):
            report(path, line, f"differs from [{part}] of {source}", "copy the marked part again")


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
        if suffix in CPP_SUFFIXES:
            check_assertions(path, without_literals(without_comments(text)))
            check_test_names(path, text)
        if is_shell(path, text):
            check_shell(root, path)
        if suffix == ".md":
            check_quotes(root, path, text)
    check_include_tree(root, files)
    check_test_lists(root, files)
    check_errors_page(root)
    check_version(root)
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
