#!/bin/sh
# rustc.sh RUSTC ARGUMENT...: calls the compiler so that the places that panics name, which are in
# flash, are short: the folder of their package and the file within its src.
if [ -n "$CARGO_MANIFEST_DIR" ]; then
    set -- "$@" --remap-path-prefix "$CARGO_MANIFEST_DIR/src=${CARGO_MANIFEST_DIR##*/}"
fi
exec "$@"
