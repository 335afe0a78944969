#!/bin/sh
# What `cargo run` runs: boots the program in QEMU, with its logs decoded on this terminal.
#
# KILOCHAT_HOST_PORT is the UDP port of this machine's loopback that leads to the board.
set -eu

# need COMMAND HOW-TO-GET-IT
need() {
    command -v "$1" >/dev/null || {
        printf '%s is missing: %s\n' "$1" "$2" >&2
        exit 1
    }
}
need qemu-system-arm "apt-get install qemu-system-arm (macOS: brew install qemu)"
need defmt-print "cargo install defmt-print"

port=${KILOCHAT_HOST_PORT:-20888}
inside=${KILOCHAT_PORT:-10888}
ip=${KILOCHAT_IP:-10.0.2.15/24}
cat <<END
The relay is at 127.0.0.1:$port; Ctrl-C ends it. Join it from another terminal:
    kilochat chat 127.0.0.1:$port
    nc -u 127.0.0.1 $port
END
# of a pipeline, the terminal's Ctrl-C ends every part
trap 'exit 0' INT TERM
qemu-system-arm -M lm3s6965evb -kernel "$1" -display none -monitor none -serial stdio \
    -nic "user,net=$ip,hostfwd=udp:127.0.0.1:$port-${ip%/*}:$inside" </dev/null |
    defmt-print -e "$1"
