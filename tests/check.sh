#!/usr/bin/env bash
# Every check that a change must pass, for people and for machines; it needs no root.
#
#   tests/check.sh             the quick steps, which need nothing but Rust
#   tests/check.sh all         every step
#   tests/check.sh STEP...     only these
#   tests/check.sh -STEP...    all but these
#   tests/check.sh list        what each step does
#
# If KILOCHAT_SEED is the folder of the Python programs that the protocol comes from, their tests
# are run, too. The script needs bash 4.4 or later.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH+=:/usr/local/sbin:/usr/sbin # where servers are
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR # steps look for programs where cargo puts them by default

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
    "link: one room over several relays, with servers that are killed, stopped, wiped and cut off"
    "release: the memory of the program as people build it, under load"
    "load: the load benchmarks in their short form, next to other servers"
    "instructions: limits of the instructions that the core takes"
    "planted: the tests find the bugs that are planted in a copy"
    "cortex-m3: core and the embedded library compile for a microcontroller"
    "tap: the program on a TAP interface, in network namespaces"
    "firmware: the firmware compiles with each set of features"
    "proof: the core links only if no panic can be reached"
    "systems: the workspace compiles for Windows, macOS and Arm Linux"
    "oldest: what ships compiles with the Rust that the manifests name"
    "packaging: systemd and Prometheus accept the example files"
    "crates: licences and sources of what ships, and the packages for the registry"
    "packages: the Debian package on a clean machine, upgraded and killed; the container; as root"
    "foreign: the programs for Windows, Arm and s390x run, under wine and QEMU"
)
# These steps run only when they are named.
named_steps=(
    "fuzz: new inputs for a minute each, or KILOCHAT_FUZZ_S seconds"
    "dist: all files of a release, as host/packaging/release.sh makes them, and that the programs run"
)

# Other systems for which the workspace must compile: Windows, macOS, Arm Linux.
systems=(x86_64-pc-windows-gnu aarch64-apple-darwin armv7-unknown-linux-gnueabihf)

# The only files that may use unsafe code; at most four.
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

# rust_files prints all Rust files, including those of workspaces within this one.
rust_files() {
    find . -name target -prune -o -name '*.rs' -print | sort
}

step_format() {
    cargo fmt --version >/dev/null || fail "rustup component add rustfmt"
    cargo fmt --all --check
}

step_unsafe() {
    [[ ${#unsafe_files[@]} -le 4 ]] || fail "more than four files may use unsafe code"
    # finds the word in code without a SAFETY comment before it; attributes may come between
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
    # alone, as it is built: it turns on the feature for logs, which leaves out tests without a logger
    cargo clippy --package kilochat-tap --all-targets -- -D warnings
    # in a profile with panic = "abort", because it has no unwinding
    cargo clippy --package kilochat-proof --bins --features proof --profile proof -- -D warnings
}

step_docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
}

step_tests() {
    cargo test --no-fail-fast
}

# The tests that need more than Rust, or more time.
step_ignored() {
    need nc "apt install netcat-openbsd"
    need python3 "apt install python3"
    need ip "apt install iproute2"
    need tc "apt install iproute2"
    need tmux "apt install tmux"
    need prometheus "apt install prometheus"
    need unshare "apt install util-linux"
    need avahi-daemon "apt install avahi-daemon"
    need avahi-browse "apt install avahi-utils"
    need nft "apt install nftables"
    need qemu-system-arm "apt install qemu-system-arm"
    need_target thumbv7m-none-eabi
    local -a left_out=()
    if [[ -z ${KILOCHAT_SEED:-} ]]; then
        echo "left out: the tests of the Python programs, because KILOCHAT_SEED is not set"
        left_out=(--skip _python_)
    fi
    cargo test --no-fail-fast -- --ignored --skip browsers:: --skip packaged:: --skip foreign_ \
        "${left_out[@]}"
}

# The page in real browsers, one after the other, in a network without a connection to the outside.
step_browser() {
    need chromium "apt install chromium"
    need firefox-esr "apt install firefox-esr"
    need node "apt install nodejs"
    [[ -d tests/browser/node_modules ]] ||
        fail "what drives the browsers is missing: npm ci --prefix tests/browser --ignore-scripts"
    cargo test --package kilochat --test web -- --ignored --test-threads 1 --nocapture browsers::
}

# The relay with the sockets that it uses on systems other than Linux, in the chat and under load.
step_portable() {
    local -a portable=(--package kilochat --features std-sockets)
    cargo clippy "${portable[@]}" --all-targets -- -D warnings
    cargo test "${portable[@]}" --lib --test relay_program --test relay_addresses --test relay_load \
        --test chat_framed
}

# unlinked OPTION... finds no crate and no feature of the link among the dependencies that cargo tree lists.
unlinked() {
    local tree
    tree=$(cargo tree --locked --edges normal --prefix none --format '{p} [{f}]' "$@")
    if grep -E '^(async-nats|tokio|futures-util) |^kilochat.*[[,]link[],]' <<<"$tree"; then
        fail "a part of the link is in: cargo tree $*"
    fi
}

# Relays that are linked by real servers: a feature that is off by default.
step_link() {
    need nats-server "apt install nats-server"
    need openssl "apt install openssl"
    need ip "apt install iproute2"
    need unshare "apt install util-linux"
    local -a linked=(--package kilochat --features link)
    # the default program and the firmware have nothing of the link
    unlinked --package kilochat
    unlinked --manifest-path embedded/firmware/Cargo.toml
    cargo test --package kilochat --test relay_program nothing_of_the_link
    cargo clippy "${linked[@]}" --all-targets -- -D warnings
    cargo test "${linked[@]}" --lib
    cargo test "${linked[@]}" --test link -- --include-ignored
}

# The program as people build it: its memory, also under load.
step_release() {
    cargo test --release --package kilochat --test relay_load
}

# The core's cost in instructions, which does not depend on how busy the machine is.
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

# The short forms of the load benchmark, next to a bare loop and other servers, and of that of linked relays.
# The relay must not lose or duplicate a line, or send it to its author. Ratios are only shown: a busy machine
# changes them.
step_load() {
    need mosquitto "apt install mosquitto"
    need nats-server "apt install nats-server"
    need ncat "apt install ncat"
    cargo bench --package kilochat --bench load -- --short
    cargo bench --package kilochat --features link --bench link -- --short
}

# The simulators find each of the bugs that are planted in a copy of the workspace.
step_planted() {
    cargo run --package kilochat-tests --bin planted
}

step_cortex-m3() {
    need_target thumbv7m-none-eabi
    RUSTFLAGS="-D warnings" cargo build --package kilochat-core --target thumbv7m-none-eabi
    # IPv4 alone, IPv6 alone, and all features
    local features
    for features in ipv4 ipv6 ipv4,ipv6,dhcp,slaac,mdns,defmt; do
        RUSTFLAGS="-D warnings" cargo build --package kilochat-embedded \
            --no-default-features --features "$features" --target thumbv7m-none-eabi
    done
}

# The program on a TAP interface, in network namespaces that its tests create.
step_tap() {
    need nc "apt install netcat-openbsd"
    need ip "apt install iproute2"
    need unshare "apt install util-linux"
    need avahi-daemon "apt install avahi-daemon"
    need avahi-browse "apt install avahi-utils"
    cargo test --package kilochat-tap --test tap -- --include-ignored --test-threads 1
}

# A test (`board`) checks its size, and what it does on the board.
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

# Looks for new inputs, which stay in target/fuzz; tests run those in the corpora. Without unsafe code a
# sanitizer would find nothing.
step_fuzz() {
    command -v cargo-fuzz >/dev/null || fail "cargo-fuzz is missing: cargo install cargo-fuzz"
    cargo +nightly --version >/dev/null ||
        fail "no nightly compiler: rustup toolchain install nightly --profile minimal"
    (cd tests/fuzz && cargo fmt --check)
    local target
    for target in client codes frame head orders relay rules; do
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

# With the oldest Rust that the manifests permit, and the dependencies of the lock file.
step_oldest() {
    local version
    version=$(awk -F '"' '/^rust-version/ { print $2 }' Cargo.toml)
    cargo "+$version" --version >/dev/null ||
        fail "no Rust $version: rustup toolchain install $version --profile minimal"
    cargo "+$version" check --locked --package kilochat --package kilochat-core \
        --package kilochat-embedded --package kilochat-tap
    cargo "+$version" check --locked --package kilochat --features link
}

# The unit is exposed by at most 1.5 (of 10), and the alerts are understood.
step_packaging() {
    need systemd-analyze "apt install systemd"
    need promtool "apt install prometheus"
    systemd-analyze security --offline=true --threshold=15 --no-pager \
        host/packaging/kilochat.service
    promtool check rules host/packaging/alerts.yml
}

# Advisories are left out: their database is elsewhere.
step_crates() {
    need cargo-deny "cargo install --locked cargo-deny"
    cargo deny --locked --config tests/deny.toml check licenses bans sources
    # cargo does not unpack a package again whose version is the same
    rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/kilochat-*
    cargo package --locked --allow-dirty --package kilochat-core --package kilochat-embedded \
        --package kilochat
}

# The commit of the last release but this one; there is no tag before the first.
last_release() {
    git describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null || echo cf04b1d
}

# What people install, on a machine that has nothing else, beside the programs of the last release.
step_packages() {
    need dpkg-deb "apt install dpkg-dev"
    need lintian "apt install lintian"
    need mmdebstrap "apt install mmdebstrap"
    need systemd-nspawn "apt install systemd-container"
    need buildah "apt install buildah"
    need_target x86_64-unknown-linux-musl
    [[ $EUID -eq 0 ]] || fail "packages: only root can start a machine"
    local target=x86_64-unknown-linux-musl folder=$PWD/target/packages release
    release=$(last_release)
    mkdir -p "$folder/$release"
    if [[ ! -x $folder/$release/kilochat ]]; then
        git archive "$release" | tar -x -C "$folder/$release" ||
            fail "no commit $release, with which this version is compared: git fetch --unshallow"
        host/packaging/release.sh program $target "$folder/old" "$folder/$release"
        cp "$folder/old" "$folder/$release/kilochat"
    fi
    cp "$folder/$release/kilochat" "$folder/old"
    host/packaging/release.sh program $target "$folder/new"
    local of
    for of in "old 0.0.1-1" "new 0.1.0-1"; do
        host/packaging/release.sh deb "$folder/${of% *}" amd64 "${of#* }" "$folder"
        mv "$folder/kilochat_${of#* }_amd64.deb" "$folder/${of% *}.deb"
    done
    lintian --allow-root --fail-on error,warning "$folder/new.deb"
    [[ -f $folder/machine.tar ]] || {
        mmdebstrap --variant=minbase --include=systemd-sysv bookworm "$folder/new.tar"
        mv "$folder/new.tar" "$folder/machine.tar"
    }
    KILOCHAT_PACKAGES=$folder cargo test --package kilochat --test packages -- \
        --ignored --nocapture --test-threads 1
}

# make_wine FOLDER makes a Windows in the folder, for the program in its folder `windows`.
make_wine() {
    # wine 8 does not have the library from which Rust takes its random numbers
    if [[ ! -f $1/windows/bcryptprimitives.dll ]]; then
        x86_64-w64-mingw32-gcc -shared -o "$1/windows/bcryptprimitives.dll" -x c - -ladvapi32 <<'C'
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
    return RtlGenRandom(data, length);
}
C
    fi
    # its first start makes a Windows, without browser and .NET
    WINEPREFIX=$1/wine WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=" wine wineboot --init
}

# Windows under wine, two Arms and a big-endian machine under QEMU.
step_foreign() {
    need wine "apt install wine64"
    need x86_64-w64-mingw32-gcc "apt install gcc-mingw-w64-x86-64"
    need qemu-arm-static "apt install qemu-user-static"
    need arm-linux-gnueabihf-gcc "apt install gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"
    need s390x-linux-gnu-gcc "apt install gcc-s390x-linux-gnu libc6-dev-s390x-cross"
    local folder=$PWD/target/foreign target
    mkdir -p "$folder/windows"
    for target in x86_64-pc-windows-gnu aarch64-unknown-linux-musl armv7-unknown-linux-gnueabihf \
        s390x-unknown-linux-gnu; do
        need_target "$target"
        CARGO_PROFILE_DEV_DEBUG=false \
            CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
            CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc \
            CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc \
            cargo build --locked --package kilochat --target "$target"
    done
    cp target/x86_64-pc-windows-gnu/debug/kilochat.exe "$folder/windows/kilochat.exe"
    for target in aarch64-unknown-linux-musl armv7-unknown-linux-gnueabihf s390x-unknown-linux-gnu; do
        cp "target/$target/debug/kilochat" "$folder/kilochat-${target%%-*}"
    done
    make_wine "$folder"
    KILOCHAT_FOREIGN=$folder cargo test --package kilochat --test foreign -- --ignored
}

# The files of a release, of which those for other systems run, too.
step_dist() {
    need dpkg-deb "apt install dpkg-dev"
    need lintian "apt install lintian"
    need wine "apt install wine64"
    need x86_64-w64-mingw32-gcc "apt install gcc-mingw-w64-x86-64"
    need qemu-aarch64-static "apt install qemu-user-static"
    local files=target/release-files folder=$PWD/target/dist target
    for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl x86_64-pc-windows-gnu; do
        need_target "$target"
    done
    host/packaging/release.sh
    (cd "$files" && sha256sum --check --strict --quiet SHA256SUMS)
    lintian --allow-root --fail-on error,warning "$files"/*.deb
    mkdir -p "$folder/windows"
    cp "$files/kilochat-aarch64-linux" "$folder/kilochat-aarch64"
    cp "$files/kilochat.exe" "$folder/windows/kilochat.exe"
    make_wine "$folder"
    KILOCHAT_FOREIGN=$folder cargo test --package kilochat --test foreign -- --ignored \
        foreign_aarch64 foreign_windows
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
