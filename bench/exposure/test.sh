#!/bin/sh
# The harness's own test: every peer against sample.py's brute force, and answers that are wrong must be found. About a minute.
# test.sh [ROWS [DIR]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
rows=${1:-100000}
dir=${2:-$(mktemp -d)}
[ -n "${2:-}" ] || trap 'rm -rf "$dir"' EXIT

. "$here/venv.sh"
"$python" -m unittest discover --quiet --start-directory "$here"
"$python" "$here/sample.py" --rows "$rows" --dir "$dir"
"$python" "$here/compare.py" "$dir" --ours 'brute force in numpy'
"$python" "$here/compare.py" "$dir" --answers-only duckdb >"$dir/checksums.txt"

# One bit of one row.
"$python" - "$dir/answers/q1.bin" <<'END'
import sys
with open(sys.argv[1], "r+b") as answer:
    answer.seek(8 * 10 + 4)
    value = answer.read(1)[0]
    answer.seek(8 * 10 + 4)
    answer.write(bytes([value ^ 1]))
END
for mode in '' '--answers-only duckdb'; do
    # shellcheck disable=SC2086
    if "$python" "$here/compare.py" "$dir" $mode >/dev/null 2>"$dir/said.txt"; then
        echo "a wrong answer was not found ($mode)" >&2
        exit 1
    fi
    grep -q 'q1: .* row 10 of\|answers differ.*: q1$' "$dir/said.txt" || { cat "$dir/said.txt"; exit 1; }
done
echo 'the harness finds what it should'
