"""Runs the compiler over a source that must be refused, and reads what it says.

The source holds one or more lines `// expected-error: REGEX`; each must match somewhere in the
diagnostics. Write the expressions so that they fit both g++ and clang++: the name of the concept
that is not satisfied is a good choice.

A source may keep its fault inside `#ifndef QUORLITE_WITHOUT_THE_FAULT`. It is then compiled a
second time with that macro defined, and must pass: so it fails for its fault and nothing else.
"""

import argparse
import pathlib
import re
import subprocess
import sys

CONTROL = "QUORLITE_WITHOUT_THE_FAULT"


def compile_source(command: list[str], source: pathlib.Path) -> subprocess.CompletedProcess:
    # Both compilers know this spelling.
    return subprocess.run(
        [*command, "-fsyntax-only", "-fdiagnostics-color=never", str(source)],
        capture_output=True,
        text=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("command", nargs="+", help="after --: the compiler and its flags")
    options = parser.parse_args()

    text = options.source.read_text(encoding="utf-8")
    expected = re.findall(r"//\s*expected-error:\s*(.+?)\s*$", text, re.MULTILINE)
    if not expected:
        print(f"{options.source}: has no line `// expected-error: REGEX`; add one")
        return 1

    faults = []
    result = compile_source(options.command, options.source)
    if result.returncode == 0:
        faults.append("it compiled, and must not")
    for expression in expected:
        if not re.search(expression, result.stderr):
            faults.append(f"no diagnostic matches: {expression}")
    if CONTROL in text:
        control = compile_source([*options.command, f"-D{CONTROL}"], options.source)
        if control.returncode != 0:
            faults.append("it does not compile without its fault either:\n" + control.stderr)

    for fault in faults:
        print(f"{options.source}: {fault}")
    if faults:
        print("--- the compiler said:")
        print(result.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
