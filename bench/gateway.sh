#!/bin/sh
# Processor time per request: nginx as a bare proxy, our bare hop, the whole path. Debian or Ubuntu; needs two cores.
# Arguments go to `portcullis bench gateway`: --rounds, --requests, --ours hop, --json, ...
set -eu
cd "$(dirname "$0")/.."

if [ ! -x /usr/sbin/nginx ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get install --yes --no-install-recommends nginx-light >&2
fi

# The profile that is shipped.
cargo build --quiet --profile dist --package portcullis
exec target/dist/portcullis bench gateway "$@"
