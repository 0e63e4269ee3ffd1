#!/usr/bin/env bash
# Fuzzes one target with clang's libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/fuzz/run.sh TARGET SECONDS [LIBFUZZER_OPTION]...

  TARGET   a source tests/fuzz/TARGET_fuzz.cpp: go_dqlite_command, go_dqlite_snapshot,
           native_command, native_snapshot or libraft_log (needs the headers of libraft)

Starts from tests/fuzz/corpus/TARGET and leaves it as it is. What is found goes to the work folder:
new inputs to found/, those that break something to crash-*, leak-*, oom-*, timeout-*.

environment:
  FUZZ_DIR   the work folder (default: build-fuzz/TARGET)
  CXX        the compiler (default: clang++)
TEXT
}

if [ $# -lt 2 ]; then
  usage >&2
  exit 2
fi
target=$1
seconds=$2
shift 2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ ! -f "$here/${target}_fuzz.cpp" ]; then
  echo "no such target: $target" >&2
  usage >&2
  exit 2
fi
work=${FUZZ_DIR:-$root/build-fuzz/$target}
mkdir -p "$work/found"

"${CXX:-clang++}" -std=c++20 -O1 -g -fno-omit-frame-pointer \
  -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
  -I"$root/include" -I"$root/tests" "$here/${target}_fuzz.cpp" -o "$work/fuzz"

# Memory is bounded by the input, not by what it declares: 512 MiB are far too many.
exec "$work/fuzz" -max_total_time="$seconds" -rss_limit_mb=512 -malloc_limit_mb=128 -timeout=10 \
  -print_final_stats=1 -artifact_prefix="$work/" "$@" "$work/found" "$here/corpus/$target"
