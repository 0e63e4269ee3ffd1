#!/usr/bin/env python3
"""Lists the public names of the library with what their docstrings say, and finds those without.

A name is public if it is declared in a header outside detail/: a macro that begins with QUORLITE_,
or a type, concept, alias, function, constant or enumerator of namespace quorlite or below, or a
public member of one, unless a namespace `detail` is around it. Each needs a docstring: `///` above
it or `///<` behind it. None is asked for

  - a destructor, what is defaulted or deleted, copying, moving, comparing, a using-declaration
    and a friend: the language says what they do
  - an override: it is told where it is declared first
  - a constructor right behind the head of its class: the class tells of it
  - an overload right behind one that is documented
  - a forward declaration of what another public header defines

Nothing of namespace quorlite itself may be declared in a header under detail/: who reads the public
headers has seen all of it.

The headers are read as text, so no compiler is needed; --compare checks that against clang. Each
fault is a line `FILE:LINE: what is wrong; what to do`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import sys

HEADERS = "include/quorlite"
OURS = ("quorlite::", "QUORLITE_")

NAMESPACE = re.compile(r"^(?:inline\s+)?namespace\s+([\w:]+)?\s*$")
TYPE = re.compile(
    r"^(?P<kind>class|struct|union|enum(?:\s+(?:class|struct))?)\s+"
    r"(?:(?:\[\[[^\]]*\]\]|alignas\([^)]*\)|QUORLITE_\w+)\s+)*(?P<name>[\w:]+(?:<.*>)?)"
    r"\s*(?:final\s*)?(?::\s*(?!:).*)?$",
    re.DOTALL,
)

@dataclasses.dataclass
class Name:
    """One declaration."""

    name: str  # with its scopes
    kind: str
    file: str
    line: int
    text: str  # the declaration
    doc: str  # without the slashes; empty: none
    exempt: str = ""  # why it needs none


@dataclasses.dataclass
class Scope:
    kind: str  # namespace, class, enum
    name: str
    public: bool


# ---- reading a header ----------------------------------------------------------------


def without_literals(text: str) -> str:
    """Strings and characters become blanks, so that nothing in them looks like code."""
    pattern = r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|//[^\n]*'
    pattern += r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'"

    def blank(match: re.Match) -> str:
        found = match.group(0)
        return found if found.startswith("//") else re.sub(r"[^\n]", " ", found)

    return re.sub(pattern, blank, text, flags=re.DOTALL)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def behind_angles(text: str, opening: int) -> int:
    depth, end = 1, opening + 1
    while end < len(text) and depth > 0:
        depth += {"<": 1, ">": -1}.get(text[end], 0)
        end += 1
    return end


def without_template_heads(text: str) -> str:
    """Drops `template <…>`, a clause behind it and attributes, whose words would mislead."""
    while match := re.match(r"\s*template\s*<", text):
        text = text[behind_angles(text, match.end() - 1) :]
        if clause := re.match(r"\s*requires\s+[\w:]+<", text):  # in this tree: one concept
            text = text[behind_angles(text, clause.end() - 1) :]
    return re.sub(r"\[\[[^\]]*\]\]\s*", "", text).strip()


def outside_brackets(text: str) -> str:
    """What stands in no bracket, round or angle."""
    kept, depth = [], 0
    for mark in text.replace("->", "  ").replace("<=", "  ").replace(">=", "  "):
        depth += {"(": 1, "<": 1, ")": -1, ">": -1}.get(mark, 0)
        kept.append(mark if depth == 0 else " ")
    return "".join(kept)


def without_braces(text: str) -> str:
    while (inner := re.sub(r"\{[^{}]*\}", "", text)) != text:
        text = inner
    return text


def declared(plain: str) -> tuple[str, str] | None:
    """The kind and the name of what a declaration declares; none: nothing new.

    `plain` has neither template heads nor attributes.
    """
    words = r"(?:(?:QUORLITE_\w+|inline|static|constexpr|extern|mutable|virtual|explicit)\s+)+"
    text = re.sub(f"^{words}", "", plain)
    if re.match(r"(using namespace|static_assert|friend|template|namespace)\b", text):
        return None
    if match := re.match(r"using (\w+) ?=", text):
        return "alias", match.group(1)
    if text.startswith("using "):
        return "using", text.removeprefix("using ")
    if match := re.match(r"concept (\w+)", text):
        return "concept", match.group(1)
    if match := re.search(r"(?<!\w)operator ?(\(\)|\[\]|[^\s\w(]+|[\w:*& ]+) ?\(", text):
        return "function", f"operator{'' if match.group(1)[0] in '([=<>!-+*/%' else ' '}" + (
            match.group(1)
        )
    head = re.split(r"(?<![=!<>])=(?!=)", without_braces(text), maxsplit=1)[0]
    if match := re.search(r"(::)?(~?\w+) ?\(", head):
        return None if match.group(1) else ("function", match.group(2))  # ::f is a definition
    if match := re.search(r"(\w+) ?(?:\[[^\]]*\])?$", head.strip()):
        return "variable", match.group(1)
    return None


class Reader:
    """Walks through one header."""

    def __init__(self, root: pathlib.Path, path: pathlib.Path):
        self.file = path.relative_to(root).as_posix()
        self.text = without_literals(path.read_text(encoding="utf-8"))
        self.names: list[Name] = []
        self.hidden: set[str] = set()  # declared where nobody outside can name it
        self.scopes: list[Scope] = []
        self.doc: list[str] = []
        self.last: Name | None = None
        self.hide_detail = True
        self.last_until = 0  # the line on which it ends, with what is told behind it

    def line(self, position: int) -> int:
        return self.text.count("\n", 0, position) + 1

    def around(self) -> str:
        return "::".join(s.name for s in self.scopes if s.name)

    def is_reachable(self) -> bool:
        return all(s.public for s in self.scopes)

    def is_hidden(self, whole: str) -> bool:
        return any(whole == one or whole.startswith(one + "::") for one in self.hidden)

    def read(self) -> list[Name]:
        position = start = 0
        while position < len(self.text):
            text, mark = self.text, self.text[position]
            before = text[start:position]
            in_enum = bool(self.scopes) and self.scopes[-1].kind == "enum"
            if text.startswith("//", position):
                end = text.find("\n", position)
                self.comment(text[position:end], position)
                self.text = text[:position] + " " * (end - position) + text[end:]
                position = end
            elif mark == "#" and not before.strip():
                position = start = self.directive(position)
            elif mark == "\n":
                if not before.strip() and text[position - 1 : position] == "\n":
                    self.doc = []  # an empty line: what is above it tells of nothing below
                position += 1
            elif mark == ":" and before.strip() in ("public", "protected", "private"):
                self.scopes[-1].public = before.strip() == "public"
                position = start = position + 1
            elif mark in "([":
                position = self.closing(position)
            elif mark == "{":
                position, ends = self.brace(start, position)
                start = position if ends else start
            elif mark == ";" or (mark == "," and in_enum):
                self.declaration(before, start, position)
                position = start = position + 1
            elif mark == "}":
                if in_enum:
                    self.declaration(before, start, position)
                position = start = self.leave(position)
            else:
                position += 1
        return self.names

    def closing(self, opening: int) -> int:
        """Behind the bracket that closes this one."""
        begin, end = self.text[opening], {"(": ")", "[": "]", "{": "}"}[self.text[opening]]
        depth, position = 0, opening
        while position < len(self.text):
            if self.text.startswith("//", position):
                position = self.text.find("\n", position)
            depth += {begin: 1, end: -1}.get(self.text[position], 0)
            position += 1
            if depth == 0:
                break
        return position

    def leave(self, position: int) -> int:
        closed = self.scopes.pop() if self.scopes else None
        self.last = None
        if closed is None or closed.kind == "namespace":
            return position + 1
        return self.text.find(";", position) + 1

    # ---- comments

    def comment(self, text: str, position: int) -> None:
        here = self.line(position)
        if text.startswith("///<"):
            if self.last is not None and self.last_until in (here, here - 1):
                self.last.doc = f"{self.last.doc} {text.removeprefix('///<').strip()}".strip()
                self.last_until = here
            else:
                self.doc.append(text.removeprefix("///<").strip())  # its declaration ends later
        elif text.startswith("///"):
            self.doc.append(text.removeprefix("///").strip())

    def take_doc(self) -> str:
        doc, self.doc = " ".join(self.doc).strip(), []
        return "" if doc.startswith("@file") else doc

    # ---- declarations

    def add(self, kind: str, name: str, start: int, end: int, exempt: str = "") -> None:
        text = self.text[start:end]
        at = self.line(start + len(text) - len(text.lstrip()))
        whole = "::".join(filter(None, [self.around(), name]))
        made = Name(whole, kind, self.file, at, squeezed(text), self.take_doc(), exempt)
        self.last, self.last_until = made, self.line(end)
        if self.is_reachable() and not self.is_hidden(whole):
            self.names.append(made)
        elif kind == "forward" and not re.search(rf": public {name}\b", self.text):
            self.hidden.add(whole)

    def directive(self, position: int) -> int:
        end = position
        while self.text[(end := self.text.find("\n", end)) - 1] == "\\":
            end += 1
        line = squeezed(self.text[position:end])
        if match := re.match(r"# ?define (QUORLITE_\w+)", line):
            line, _, behind = line.partition("///<")
            doc = f"{self.take_doc()} {behind}".strip()
            same = [one for one in self.names if one.name == match.group(1)]
            if not same:  # else the other arm of an #if
                self.names.append(Name(match.group(1), "macro", self.file, self.line(position),
                                       line.split("\\")[0].strip(), doc))
                self.last, self.last_until = self.names[-1], self.line(end)
        return end

    def brace(self, start: int, position: int) -> tuple[int, bool]:
        """@returns where to go on, and whether a declaration begins there"""
        head = squeezed(self.text[start:position])
        plain = without_template_heads(head)
        if match := NAMESPACE.match(plain):
            name = "" if match.group(1) == "QUORLITE_ABI" else match.group(1) or ""
            seen = match.group(1) is not None and not (
                self.hide_detail and "detail" in name.split("::")
            )
            self.doc = []
            self.scopes.append(Scope("namespace", name, seen))
            return position + 1, True
        if match := TYPE.match(plain):
            kind, name = match.group("kind").split()[0], match.group("name")
            self.add(kind, name, start, position)
            self.last = None
            around = "enum" if kind == "enum" else "class"
            self.scopes.append(Scope(around, name.split("<")[0], kind != "class"))
            return position + 1, True
        end = self.closing(position)
        is_value = "(" not in plain or re.search(r"(?<![=!<>])=(?!=)", outside_brackets(plain))
        is_initializer = re.search(r"\)\s*(?:noexcept\s*)?:\s.*[\w>]\s*$", plain) is not None
        if (is_value and "operator" not in plain) or is_initializer:
            return end, False
        while match := re.match(r"\s*catch\b", self.text[end:]):
            end = self.closing(self.text.find("{", end))
        self.declaration(self.text[start:position], start, position)
        self.last_until = self.line(end)
        return end, True

    def declaration(self, text: str, start: int, end: int) -> None:
        plain = without_template_heads(squeezed(text))
        if not plain:
            return
        if self.scopes and self.scopes[-1].kind == "enum":
            name = re.match(r"(?:\[\[.*?\]\]\s*)?(\w+)", plain)
            self.add("enumerator", name.group(1), start, end)
            return
        forward = r"(?:class|struct|union|enum(?: class)?) ([\w:]+)( : [\w:]+)?$"
        if match := re.match(forward, plain):
            self.add("forward", match.group(1), start, end, "forward")
            return
        if found := declared(plain):
            kind, name = found
            self.add(kind, name, start, end, self.exemption(kind, name, plain))
        else:
            self.doc = []

    def exemption(self, kind: str, name: str, plain: str) -> str:
        around = self.scopes[-1].name.split("::")[-1] if self.scopes else ""
        if kind == "using" or name.startswith("~"):
            return "using" if kind == "using" else "destructor"
        if re.search(r"= (default|delete)$", plain):
            return "defaulted"
        if re.match(r"operator ?(==|<=>|!=|=)$", name):
            return "operator"
        if re.search(r"\boverride\b", outside_brackets(plain)):
            return "override"
        if name == around and re.match(rf"[\w ]*\b{around}\((const )?{around} ?&", plain):
            return "copy"
        before = self.names[-1] if self.names else None
        if before and before.name.endswith(f"::{name}") and (before.doc or before.exempt):
            return "overload"
        return ""


# ---- the public face -----------------------------------------------------------------


def is_public(file: str) -> bool:
    return "/detail/" not in file


class Face:
    """Every public name, with what the public headers take over from detail."""

    def __init__(self, root: pathlib.Path):
        self.names: list[Name] = []
        self.strays: list[Name] = []  # of the library's own namespace, in a header under detail/
        inner: dict[str, list[Name]] = {}
        for path in sorted((root / HEADERS).rglob("*.hpp")):
            reader = Reader(root, path)
            found = [one for one in reader.read() if one.name.startswith(OURS)]
            if is_public(reader.file):
                self.names += found
            else:
                self.strays += [one for one in found if one.kind not in ("forward", "using")]
                inner_reader = Reader(root, path)
                inner_reader.hide_detail = False
                for one in inner_reader.read():
                    inner.setdefault(one.name, []).append(one)
        defined = {one.name for one in self.names if one.kind != "forward"}
        self.names = [one for one in self.names if one.kind != "forward" or one.name not in defined]
        self.take_over(inner)
        self.names.sort(key=lambda one: (one.file, one.line))

    def take_over(self, inner: dict[str, list[Name]]) -> None:
        """`using detail::x;` makes x public, and its members."""
        for using in [one for one in self.names if one.kind == "using"]:
            around, _, named = using.name.partition("::detail::")
            if not named:
                continue
            for name, found in inner.items():
                if name == f"{around}::detail::{named}" or name.startswith(using.name + "::"):
                    self.names += found
        self.names = [one for one in self.names if one.kind != "using"]

    def undocumented(self) -> list[Name]:
        return [one for one in self.names if not one.doc and not one.exempt]


# ---- what clang says -----------------------------------------------------------------


def names_by_clang(root: pathlib.Path, compiler: str) -> set[str]:
    """The public names of the public headers, from the syntax tree of a unit that includes them."""
    headers = sorted(
        path.relative_to(root / "include").as_posix()
        for path in (root / HEADERS).rglob("*.hpp")
        if is_public(path.relative_to(root).as_posix()) and not path.stem.startswith("src")
        # Those need packages that may be absent.
        and "libraft" not in path.stem
    )
    unit = "".join(f'#include "{header}"\n' for header in headers)
    command = [*compiler.split(), "-std=c++20", "-DQUORLITE_SEPARATE_COMPILATION", "-fsyntax-only"]
    command += [f"-I{root / 'include'}", "-x", "c++", "-", "-Xclang", "-ast-dump=json"]
    command += ["-Xclang", "-ast-dump-filter=quorlite"]
    said = subprocess.run(command, input=unit, capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise RuntimeError(said.stderr.strip()[-2000:])
    tree, found = SyntaxTree(root), set()
    decoder, position = json.JSONDecoder(), 0
    text = said.stdout.strip()
    while position < len(text):
        one, position = decoder.raw_decode(text, position)
        tree.visit(one, "", True, found)
        while position < len(text) and text[position] != "{":
            position += 1
    return {name for name in found if name.startswith(OURS)}


class SyntaxTree:
    """Clang tells a file where it differs from the one told last, in the order of the text."""

    KINDS = {"CXXRecordDecl", "EnumDecl", "EnumConstantDecl", "FunctionDecl", "CXXMethodDecl",
             "FieldDecl", "VarDecl", "TypeAliasDecl", "ConceptDecl", "CXXConversionDecl"}

    def __init__(self, root: pathlib.Path):
        self.headers = (root / HEADERS).as_posix()
        self.file = ""
        self.named: dict[str, str] = {}  # by the number that clang gives a declaration
        self.hidden: set[str] = set()  # classes that were declared where nobody can name them

    def look(self, location: dict) -> None:
        for part in ("spellingLoc", "expansionLoc"):
            self.look(location[part]) if part in location else None
        self.file = location.get("file", self.file)

    def visit(self, node: dict, around: str, public: bool, found: set[str]) -> None:
        self.look(node.get("loc", {}))
        here = self.file
        for end in ("begin", "end"):
            self.look(node.get("range", {}).get(end, {}))
        kind, name = node.get("kind", ""), node.get("name", "")
        if kind == "CXXRecordDecl":  # defined apart from where it was declared
            around = self.named.get(node.get("parentDeclContextId"), around)
        inside = "::".join(filter(None, [around, name.replace(" *", "*")]))
        ours = here.startswith(self.headers) and is_public(here)
        skipped = node.get("isImplicit") or node.get("explicitlyDeleted") or (
            node.get("explicitlyDefaulted") or kind.endswith("SpecializationDecl")
        )
        if kind == "CXXRecordDecl" and not node.get("completeDefinition") and not public:
            self.hidden.add(inside)
        public = public and inside not in self.hidden
        if kind == "FunctionTemplateDecl" and "parentDeclContextId" in node:
            public = False  # the body of a member
        if kind == "NamespaceDecl":
            inside = around if node.get("isInline") else inside
            public = public and name != "detail"
        elif kind in self.KINDS and ours and public and name and not skipped:
            is_definition = kind != "CXXRecordDecl" or node.get("completeDefinition")
            if is_definition and ("parentDeclContextId" not in node or kind == "CXXRecordDecl"):
                found.add(inside)
        elif not kind.endswith("TemplateDecl") and kind not in self.KINDS:
            inside = around
        if kind.endswith("TemplateDecl"):
            inside = around
        self.named[node.get("id", "none")] = inside
        if kind in ("FunctionDecl", "CXXMethodDecl", "VarDecl", "FieldDecl", "FriendDecl"):
            public = False  # what is inside of it is its own business
        access = node.get("tagUsed") != "class"
        for child in node.get("inner", []):
            if child.get("kind") == "AccessSpecDecl":
                access = child.get("access") == "public"
            is_member = kind == "CXXRecordDecl"
            self.visit(child, inside, public and (access or not is_member) and not skipped, found)


# ---- all of it -----------------------------------------------------------------------


def faults_of(face: Face) -> list[str]:
    faults = [
        f"{one.file}:{one.line}: {one.name} has no docstring; write `///` above it"
        for one in face.undocumented()
    ]
    faults += [
        f"{one.file}:{one.line}: {one.name} stands in no public header; put it into detail"
        for one in face.strays
    ]
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent)
    parser.add_argument("--list", action="store_true", help="every name, with its docstring")
    parser.add_argument("--json", action="store_true", help="the same as one array of objects")
    parser.add_argument("--compare", metavar="CLANG", help="look for names that this one missed")
    options = parser.parse_args()
    root = options.root.resolve()

    face = Face(root)
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in face.names], indent=2))
        return 0
    if options.list:
        for one in face.names:
            print(f"{one.file}:{one.line}: {one.kind} {one.name}\n    {one.doc or one.exempt}")
        return 0
    faults = faults_of(face)
    if options.compare:
        known = {one.name for one in face.names}
        faults += [f"{HEADERS}: {name} was not found here, but by clang; mend the reader"
                   for name in sorted(names_by_clang(root, options.compare) - known)]
    for fault in faults:
        print(fault)
    print(f"{len(face.names)} public names, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
