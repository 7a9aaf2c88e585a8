#!/bin/sh
# Exposure questions: our index, DuckDB and ClickHouse (chdb) on the same rows. Needs Python 3.11 with venv.
# run.sh ROWS [DIR] [--answers-only duckdb]; DIR keeps the rows and the databases, 0.2 KB a row; SEED=N for other rows.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
rows=${1:?ROWS}
shift
dir=$here/data
case ${1:-} in '' | --*) ;; *) dir=$1; shift ;; esac

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

. "$here/venv.sh"
cd "$here/../.."
# The profile that is shipped.
cargo build --quiet --profile dist --package portcullis
target/dist/portcullis bench exposure --rows "$rows" --dir "$dir" --seed "${SEED:-1}" --json
exec "$python" "$here/compare.py" "$dir" --ours "$(target/dist/portcullis --version)" "$@"
