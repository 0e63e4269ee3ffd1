# Sourced by scripts that run several things and end with the sum of what they counted:
# stage NAME COMMAND…, counted NAME COMMAND…, done_or_failed NAME COMMAND…, sum_of_stages.

stage_logs=$(mktemp -d)
passed=0
failed=0
skipped=0

# Sets processor_seconds to what all commands so far have taken of the processors. Not to be called
# in a subshell, which has run none of them.
count_processor_seconds() {
  times >"$stage_logs/times"
  processor_seconds=$(awk -F '[ms ]' \
    'NR == 2 { printf "%d", ($1 + $4) * 60 + $2 + $5 }' "$stage_logs/times")
}

# stage NAME COMMAND…: runs it, shows it, and remembers its output, that of a failure to the end.
# What it took of the processors says more than its time where other work goes on beside it.
stage() {
  local name=$1 status began_stage=$SECONDS before
  shift
  count_processor_seconds
  before=$processor_seconds
  echo "==== $name"
  "$@" 2>&1 | tee "$stage_logs/last"
  status=${PIPESTATUS[0]}
  count_processor_seconds
  if [ "$status" -ne 0 ]; then
    {
      echo "---- $name"
      sed -n '/^failed: /,$p' "$stage_logs/last" | grep . || tail -n 40 "$stage_logs/last"
    } | head -n 200 >>"$stage_logs/failures"
  fi
  echo "==== $name: $([ "$status" -eq 0 ] && echo ok || echo failed)," \
    "$((SECONDS - began_stage)) s, $((processor_seconds - before)) s of the processors"
  return "$status"
}

# counted NAME COMMAND…: a stage that ends with its own `N passed, N failed`.
counted() {
  local status=0 line
  stage "$@" || status=$?
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$stage_logs/last" |
    tail -n 1)
  if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
    if [ "$status" -ne 0 ] && [ "${BASH_REMATCH[2]}" -eq 0 ]; then
      failed=$((failed + 1))
    fi
  else
    failed=$((failed + 1))
  fi
}

# done_or_failed NAME COMMAND…: a stage that counts as one.
done_or_failed() {
  if stage "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
}

# What failed, again, since whoever reads may have the end only; the last line; and whether all is
# well.
sum_of_stages() {
  local line="$passed passed, $failed failed"
  if [ "$skipped" -gt 0 ]; then
    line+=", $skipped skipped"
  fi
  if [ -s "$stage_logs/failures" ]; then
    echo "==== what failed"
    cat "$stage_logs/failures"
  fi
  rm -rf "$stage_logs"
  echo "$line"
  [ "$failed" -eq 0 ] && [ "$((passed + skipped))" -gt 0 ]
}
