#!/usr/bin/env bash
# Every check that a change must pass, for people and for machines; it needs no root.
#
#   tests/check.sh             the quick steps, which need nothing but Rust
#   tests/check.sh all         every step
#   tests/check.sh STEP...     only these
#   tests/check.sh -STEP...    all but these
#   tests/check.sh list        what each step does
#
# With KILOCHAT_SEED, the folder of the Python programs that the protocol comes from, the tests
# talk to those too. It needs bash 4.4 or later.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH+=:/usr/local/sbin:/usr/sbin # where servers are

# Each step with what it does.
quick_steps=(
    "format: rustfmt finds nothing to change"
    "unsafe: no unsafe code but in the files that may have it"
    "clippy: clippy warns of nothing"
    "docs: rustdoc warns of nothing"
    "tests: every test that needs nothing but Rust"
)
slow_steps=(
    "ignored: the tests that need other programs, network namespaces or QEMU"
    "browser: the page in chromium and firefox-esr"
    "portable: the relay with what systems other than Linux have"
    "release: the memory of the program as people build it, under load"
    "load: the load benchmark in its short form, beside other servers"
    "instructions: limits of the instructions that the core takes"
    "planted: the tests find the bugs that are planted in a copy"
    "cortex-m3: core and the embedded library compile for a microcontroller"
    "tap: the program on a TAP interface, in network namespaces"
    "firmware: the firmware compiles with each set of features"
    "proof: the core links only if no panic can be reached"
    "systems: the workspace compiles for Windows, macOS and Arm Linux"
    "oldest: what ships compiles with the Rust that the manifests name"
    "packaging: systemd and Prometheus accept the example files"
)
# They run only when they are named.
named_steps=(
    "fuzz: new inputs for a minute each, or KILOCHAT_FUZZ_S seconds"
)

# The systems that are not at hand, where the workspace must compile: Windows, macOS, Arm Linux.
systems=(x86_64-pc-windows-gnu aarch64-apple-darwin armv7-unknown-linux-gnueabihf)

# The only files that may use it; at most four.
unsafe_files=(tests/proof/src/main.rs embedded/tap/src/logger.rs embedded/firmware/src/board/chip.rs)

# fail REASON...
fail() {
    printf 'check.sh: %s\n' "$@" >&2
    exit 1
}

# need COMMAND HOW-TO-GET-IT
need() {
    command -v "$1" >/dev/null || fail "$1 is missing: $2"
}

# need_target TARGET
need_target() {
    [[ -d $(rustc --print sysroot)/lib/rustlib/$1/lib ]] ||
        fail "no standard library for $1: rustup target add $1"
}

# rust_files prints all, also those of workspaces within this one.
rust_files() {
    find . -name target -prune -o -name '*.rs' -print | sort
}

step_format() {
    cargo fmt --version >/dev/null || fail "rustup component add rustfmt"
    cargo fmt --all --check
}

step_unsafe() {
    [[ ${#unsafe_files[@]} -le 4 ]] || fail "more than four files may use unsafe code"
    # where the word is in code and not behind a comment (of attributes, too) that says SAFETY
    rust_files | xargs awk -v allowed=" ${unsafe_files[*]/#/./} " '
        FNR == 1 { explained = 0 }
        /^[ \t]*\/\// { if (/SAFETY:/) explained = 1; next }
        {
            code = $0
            sub(/[ \t]\/\/.*/, "", code)
            if (code ~ /(^|[^A-Za-z0-9_])unsafe([^A-Za-z0-9_]|$)/) {
                if (!index(allowed, " " FILENAME " ")) complain("unsafe code")
                else if (!explained) complain("no SAFETY comment")
            }
        }
        !/^[ \t]*#\[/ { explained = 0 }
        function complain(what) { print FILENAME ":" FNR ": " what; bad = 1 }
        END { exit bad }
    '
}

step_clippy() {
    cargo clippy --version >/dev/null || fail "rustup component add clippy"
    cargo clippy --all-targets -- -D warnings
    # alone, as it is built: the logs that it turns on hide the tests that have no logger
    cargo clippy --package kilochat-tap --all-targets -- -D warnings
    # with panic = "abort", without which it would need more of the language
    cargo clippy --package kilochat-proof --bins --features proof --profile proof -- -D warnings
}

step_docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
}

step_tests() {
    cargo test --no-fail-fast
}

# Those that need more than Rust, or more time.
step_ignored() {
    need nc "apt install netcat-openbsd"
    need python3 "apt install python3"
    need ip "apt install iproute2"
    need tc "apt install iproute2"
    need tmux "apt install tmux"
    need prometheus "apt install prometheus"
    need unshare "apt install util-linux"
    need qemu-system-arm "apt install qemu-system-arm"
    need_target thumbv7m-none-eabi
    local -a left_out=()
    if [[ -z ${KILOCHAT_SEED:-} ]]; then
        echo "left out: the tests of the Python programs, because KILOCHAT_SEED is not set"
        left_out=(--skip _python_)
    fi
    cargo test --no-fail-fast -- --ignored --skip browsers:: "${left_out[@]}"
}

# The page in real browsers, one after the other, in a network from which nothing gets out.
step_browser() {
    need chromium "apt install chromium"
    need firefox-esr "apt install firefox-esr"
    need node "apt install nodejs"
    [[ -d tests/browser/node_modules ]] ||
        fail "what drives the browsers is missing: npm ci --prefix tests/browser --ignore-scripts"
    cargo test --package kilochat --test web -- --ignored --test-threads 1 --nocapture browsers::
}

# The relay with no more than it has on systems other than Linux, in the chat and under load.
step_portable() {
    local -a portable=(--package kilochat --features std-sockets)
    cargo clippy "${portable[@]}" --all-targets -- -D warnings
    cargo test "${portable[@]}" --lib --test relay_program --test relay_addresses --test relay_load \
        --test chat_framed
}

# The program as people build it: its memory, and the whole under load.
step_release() {
    cargo test --release --package kilochat --test relay_load
}

# What the core costs in instructions, which do not depend on how busy the machine is.
step_instructions() {
    need valgrind "apt install valgrind"
    local version
    version=$(awk '/^name = "gungraun"$/ { getline; gsub(/[^0-9.]/, ""); print }' Cargo.lock)
    # the runner must be of the very version of the library
    [[ $(gungraun-runner --version 2>/dev/null) == *" $version" ]] ||
        cargo install --locked --version "$version" gungraun-runner
    cargo clippy --package kilochat-tests --features instructions --bench instructions -- -D warnings
    cargo bench --package kilochat-tests --features instructions --bench instructions
}

# The relay under load, beside a bare loop and what else is there, in its short form. It must lose,
# double and hand to its author nothing; ratios, which a busy machine can change, are only shown.
step_load() {
    need mosquitto "apt install mosquitto"
    need nats-server "apt install nats-server"
    need ncat "apt install ncat"
    cargo bench --package kilochat --bench load -- --short
}

# The simulators find each of the bugs that are planted in a copy of the workspace.
step_planted() {
    cargo run --package kilochat-tests --bin planted
}

step_cortex-m3() {
    need_target thumbv7m-none-eabi
    RUSTFLAGS="-D warnings" cargo build --package kilochat-core --target thumbv7m-none-eabi
    # the families alone, and everything
    local features
    for features in ipv4 ipv6 ipv4,ipv6,dhcp,slaac,mdns,defmt; do
        RUSTFLAGS="-D warnings" cargo build --package kilochat-embedded \
            --no-default-features --features "$features" --target thumbv7m-none-eabi
    done
}

# The program on a TAP interface, in network namespaces that its tests make.
step_tap() {
    need nc "apt install netcat-openbsd"
    need ip "apt install iproute2"
    need unshare "apt install util-linux"
    cargo test --package kilochat-tap --test tap -- --include-ignored --test-threads 1
}

# Its size, and what it does on the board, are checked by a test.
step_firmware() (
    need_target thumbv7m-none-eabi
    cd embedded/firmware
    cargo fmt --check
    cargo clippy --release --locked -- -D warnings
    local features
    for features in ipv4 ipv6 ipv4,ipv6,dhcp,defmt; do
        cargo clippy --release --locked --no-default-features --features "$features" -- -D warnings
    done
    cargo build --release --locked
)

step_proof() {
    need_target thumbv7m-none-eabi
    tests/proof/prove.sh
}

# Looks for more than the corpora hold, which are played by a test; what it finds stays in
# target/fuzz. No sanitizer: without unsafe code it would find nothing.
step_fuzz() {
    command -v cargo-fuzz >/dev/null || fail "cargo-fuzz is missing: cargo install cargo-fuzz"
    cargo +nightly --version >/dev/null ||
        fail "no nightly compiler: rustup toolchain install nightly --profile minimal"
    (cd tests/fuzz && cargo fmt --check)
    local target
    for target in client frame head relay; do
        mkdir -p "target/fuzz/corpus/$target"
        cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none \
            "$target" "target/fuzz/corpus/$target" "tests/fuzz/corpus/$target" -- \
            -seed=1 -max_total_time="${KILOCHAT_FUZZ_S:-60}" -max_len=1024 -timeout=10 \
            -artifact_prefix=target/fuzz/ -print_final_stats=1
    done
}

step_systems() {
    local system
    for system in "${systems[@]}"; do
        need_target "$system"
        echo "$system"
        RUSTFLAGS="-D warnings" cargo check --workspace --target "$system"
    done
}

# With the Rust that rust-version promises, and the dependencies of the lock file.
step_oldest() {
    local version
    version=$(awk -F '"' '/^rust-version/ { print $2 }' Cargo.toml)
    cargo "+$version" --version >/dev/null ||
        fail "no Rust $version: rustup toolchain install $version --profile minimal"
    cargo "+$version" check --locked --package kilochat --package kilochat-core \
        --package kilochat-embedded --package kilochat-tap
}

# The unit is exposed by at most 1.5 (of 10), and the alerts are understood.
step_packaging() {
    need systemd-analyze "apt install systemd"
    need promtool "apt install prometheus"
    systemd-analyze security --offline=true --threshold=15 --no-pager \
        host/packaging/kilochat.service
    promtool check rules host/packaging/alerts.yml
}

# list prints the steps.
list() {
    echo "quick, without arguments:"
    printf '  %s\n' "${quick_steps[@]}"
    echo "the others, with \"all\":"
    printf '  %s\n' "${slow_steps[@]}"
    echo "only when named:"
    printf '  %s\n' "${named_steps[@]}"
}

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) ||
    fail "this is bash $BASH_VERSION, and 4.4 or later is needed (macOS: brew install bash)"
quick=("${quick_steps[@]%%:*}")
all=("${quick[@]}" "${slow_steps[@]%%:*}")
known=" ${all[*]} ${named_steps[*]%%:*} "
case ${1-} in
list | help | --help | -h)
    list
    exit
    ;;
'') set -- "${quick[@]}" ;;
all)
    [[ $# -eq 1 ]] || fail "all: no other step can be named"
    set -- "${all[@]}"
    ;;
-*)
    left_out=" ${*#-} "
    for argument; do
        [[ $argument == -* && $known == *" ${argument#-} "* ]] ||
            fail "no step '${argument#-}' to leave out; tests/check.sh list shows all"
    done
    set --
    for step in "${all[@]}"; do
        [[ $left_out == *" $step "* ]] || set -- "$@" "$step"
    done
    ;;
esac
for step; do
    [[ $known == *" $step "* ]] || fail "no step '$step'; tests/check.sh list shows all"
done

need cargo "https://rustup.rs"
took=()
for step; do
    echo "== $step"
    start=$SECONDS
    "step_$step"
    took+=("$step $((SECONDS - start)) s")
    echo "== ${took[-1]}"
done
printf 'all well:'
printf ' %s,' "${took[@]}"
printf ' together %s s\n' "$SECONDS"
