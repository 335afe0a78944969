#!/usr/bin/env bash
# Proves that no call of the core can panic: builds a program that links only then (src/main.rs),
# and builds it with a planted panic, which must be refused.
#
#   prove.sh [TARGET...]    x86_64-unknown-linux-gnu and thumbv7m-none-eabi unless told otherwise
#
# If it is refused, find the panic: build once more with `-C link-arg=--unresolved-symbols=ignore-all
# -C strip=none -C debuginfo=1` and look who calls core::panicking (objdump -dC, addr2line -i).
set -euo pipefail
cd "$(dirname "$0")"

refusal='undefined symbol: the_core_can_panic'

# build TARGET PROFILE FEATURES
build() {
    local arguments=(-nostartfiles -nostdlib -static -no-pie -e_start) name
    # the program is never run: these need an address, no more
    for name in memcpy memmove memset memcmp bcmp; do
        arguments+=("-Wl,--defsym=$name=_start")
    done
    # here the linker is called without a compiler, and compiler-builtins has them
    [[ $1 = *-none-* ]] && arguments=(-e_start)
    cargo rustc --quiet --package kilochat-proof --bin kilochat-proof \
        --target "$1" --profile "$2" --features "$3" \
        -- -C relocation-model=static "${arguments[@]/#/-Clink-arg=}"
}

[[ $# -gt 0 ]] || set -- x86_64-unknown-linux-gnu thumbv7m-none-eabi
for target; do
    # no board links its relay with others
    [[ $target = *-none-* ]] && features=proof || features=proof,link
    for profile in proof proof-small; do
        build "$target" "$profile" "$features"
        if output=$(build "$target" "$profile" "$features,planted" 2>&1); then
            echo "$target, $profile: a planted panic was not found"
            exit 1
        elif [[ $output != *"$refusal"* ]]; then
            printf '%s\n' "$output" "$target, $profile: refused for another reason than the planted panic"
            exit 1
        fi
        echo "$target, $profile: no call can panic; a planted panic is refused"
    done
done
