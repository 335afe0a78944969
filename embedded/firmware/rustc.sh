#!/bin/sh
# rustc.sh RUSTC ARGUMENT...: calls the compiler so that the places that panics name, which are in
# flash, begin with the folder of their package and not with how this machine comes there.
if [ -n "$CARGO_MANIFEST_DIR" ]; then
    set -- "$@" --remap-path-prefix "${CARGO_MANIFEST_DIR%/*}="
fi
exec "$@"
