"""Does a shared library export the API, all of it, and nothing else of ours? Has it its soname?

usage: check_exports.py NM READELF VERSION INCLUDE LIBRARY OBJECTS

The soname ends with the number of the interface: of VERSION, the project's, the major number, and
the minor one too while that is 0. INCLUDE is the folder of the headers, OBJECTS an archive of what
LIBRARY was made of. What is not in a namespace `detail` is API; of the rest, what a header marks
QUORLITE_API. (Templates of the standard library that ours instantiates are exported as weak
symbols, as from any C++ library.)
"""

import pathlib
import re
import subprocess
import sys

MARKED = re.compile(
    r"\b(?:class|struct) QUORLITE_API (\w+)|\bQUORLITE_API QUORLITE_DECL [^;{]*?(\w+)\("
)
NAME = re.compile(
    r"quorlite::(?:testing::)?v\d+::(detail::)?(?:native::)?(?:\w+::(?=detail::))?(\w+)"
)


def symbols(nm: str, library: str, *options: str) -> set[str]:
    """The strong functions of ours that it defines, without what the compiler adds to them."""
    command = [nm, "--demangle", "--defined-only", *options, library]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.findall(r"^[0-9a-f]+ T (quorlite::.*)$", result.stdout, re.MULTILINE)
    return {re.sub(r" \[clone .*", "", symbol) for symbol in found}


def sonames(readelf: str, library: str) -> list[str]:
    command = [readelf, "--dynamic", "--wide", library]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return re.findall(r"\(SONAME\).*\[(.*)\]", result.stdout)


def expected_soname(version: str, library: str) -> str:
    numbers = version.split(".")
    interface = numbers[:2] if numbers[0] == "0" else numbers[:1]
    return pathlib.Path(library).name.split(".so")[0] + ".so." + ".".join(interface)


def main() -> int:
    nm, readelf, version, include, library, objects = sys.argv[1:]
    marked = set()
    for header in pathlib.Path(include).rglob("*.hpp"):
        for names in MARKED.findall(header.read_text(encoding="utf-8")):
            marked.update(filter(None, names))

    defined, exported = symbols(nm, objects), symbols(nm, library, "--dynamic")
    faults = []
    for symbol in sorted(defined):
        if "::detail::" not in symbol.split("(")[0] and symbol not in exported:
            faults.append(f"hidden: {symbol}; mark its class QUORLITE_API")
    for symbol in sorted(exported):
        inside, name = NAME.match(symbol).groups()
        if inside and name not in marked:
            faults.append(f"exported: {symbol}; it is not marked QUORLITE_API")
    soname = expected_soname(version, library)
    if sonames(readelf, library) != [soname]:
        faults.append(f"soname: {sonames(readelf, library)}; it is to be {soname}")
    for fault in faults:
        print(fault)
    print(f"{len(defined)} functions, {len(exported)} exported, {len(faults)} faults")
    return 1 if faults or not exported else 0


if __name__ == "__main__":
    sys.exit(main())
