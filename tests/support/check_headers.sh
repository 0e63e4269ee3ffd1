#!/usr/bin/env bash
# Compiles the public headers as a strict user would: many warnings, all of them errors, and no
# RTTI. Each alone, in separate compilation; then header-only all of them in one unit, for with its
# bodies one header takes nearly as long as all. The last line is `N passed, N failed`.
# usage: tests/support/check_headers.sh COMPILER…    e.g. clang++-19, or ccache g++
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../../include"
if [ $# -eq 0 ]; then
  sed -n '2,5s/^# //p' "../tests/support/check_headers.sh" >&2
  exit 2
fi

flags=(-std=c++20 -fsyntax-only -I. -fno-rtti -Werror
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow)

# check MODE HEADERS COMPILER…
check() {
  local mode=$1 headers=$2
  shift 2
  [[ $mode == separate ]] && set -- "$@" -DQUORLITE_SEPARATE_COMPILATION
  # shellcheck disable=SC2086  # several headers
  if printf '#include "%s"\n' $headers | "$@" "${flags[@]}" -x c++ -; then
    echo "checked: $mode ${headers//$'\n'/ }"
  else
    echo "not clean: $mode ${headers//$'\n'/ }"
  fi
}
export -f check

headers=$(find quorlite -name '*.hpp' ! -path '*/detail/*' | sort)
# The adapter for libraft needs its headers; which version it takes, meson.build says.
if ! pkg-config --exists 'raft < 0.16' libuv 2>/dev/null; then
  echo "skipped: the headers of the adapter for libraft: libraft 0.15 or libuv is not here"
  headers=$(grep -v libraft <<<"$headers")
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{
  # The longest first. src*.hpp are the bodies of the other mode.
  printf '%s\0' header-only "$(grep -v '^quorlite/src' <<<"$headers")"
  for header in $headers; do
    printf '%s\0' separate "$header"
  done
} | FLAGS="${flags[*]}" xargs -0 -n 2 -P "$(nproc)" bash -c '
  read -r -a flags <<<"$FLAGS"
  check "${@:(-2):1}" "${@:(-1)}" "${@:1:$#-2}"
' check "$@" 2>&1 | tee "$log"
clean=$(grep -c '^checked: ' "$log" || true)
unclean=$(grep -c '^not clean: ' "$log" || true)
echo "$clean passed, $unclean failed"
[ "$unclean" -eq 0 ] && [ "$clean" -gt 0 ]
