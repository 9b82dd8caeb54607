#!/bin/sh
# Runs the Node that the project's packages bring (24), whatever the machine's own is: sh scripts/with-node.sh FILE [ARGUMENT ...]
here=$(cd "$(dirname "$0")/.." && pwd) || exit 1
if [ ! -x "$here/node_modules/.bin/node" ]; then
  printf 'with-node: the packages are not installed\n  cure: sh scripts/setup.sh\n' >&2
  exit 5
fi
exec "$here/node_modules/.bin/node" "$@"
