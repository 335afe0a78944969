#!/usr/bin/env bash
# Makes the files of a release, in target/release-files:
#
#   host/packaging/release.sh                    programs, packages, licences and their checksums
#   host/packaging/release.sh program TARGET FILE [SOURCE]
#                                                only a program, of a workspace within this folder if
#                                                one is named
#   host/packaging/release.sh deb PROGRAM ARCHITECTURE VERSION FOLDER
#                                                only a Debian package of a program that is there
#
# Programs for Linux are static; that for Arm is linked by the linker that comes with Rust. Nothing in
# them names a folder of the machine that built them. Needed: rustup target add for each of `targets`,
# apt install dpkg-dev gcc-mingw-w64-x86-64. DEBFULLNAME and DEBEMAIL are the maintainer's.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Each target with the name of its program.
targets=(
    "x86_64-unknown-linux-musl kilochat-x86_64-linux"
    "aarch64-unknown-linux-musl kilochat-aarch64-linux"
    "x86_64-pc-windows-gnu kilochat.exe"
)
out=$PWD/target/release-files
version=$(awk -F '"' '/^version/ { print $2; exit }' Cargo.toml)
# files have the time of the commit, so that the same commit gives the same package
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

fail() {
    printf 'release.sh: %s\n' "$@" >&2
    exit 1
}

# build TARGET FILE [SOURCE]
build() {
    local target=$1 file=$2 source=${3:-$PWD} built=target/$1/release/kilochat
    [[ $target != *windows* ]] || built+=.exe
    local crates=${CARGO_HOME:-$HOME/.cargo}/registry/src folder
    local -a flags=("--remap-path-prefix=$PWD=/kilochat")
    cargo fetch --quiet --locked --target "$target"
    for folder in "$crates"/*; do
        flags+=("--remap-path-prefix=$folder=/crates")
    done
    # flags may contain spaces, so this byte separates them
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && printf %s "${flags[*]}") \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
        CARGO_PROFILE_RELEASE_STRIP=symbols \
        cargo build --release --locked --package kilochat --target "$target" \
        --manifest-path "$source/Cargo.toml" --target-dir target
    cp "$built" "$file"
    # the standard library's own paths begin with /rustc
    if grep -aq -e "$HOME/" -e "$PWD/" "$file"; then
        fail "$file names a folder of this machine: $(strings -a "$file" | grep -m 1 -e "$HOME/" -e "$PWD/")"
    fi
}

# pages FOLDER writes manual pages and completions.
pages() {
    cargo run --quiet --locked --package kilochat --example pages -- "$1"
}

# licences writes what is in the programs, and under which conditions.
licences() {
    cargo run --quiet --locked --package kilochat --example licences -- "${targets[@]%% *}"
}

# install_files ROOT PROGRAM puts all but the package's own papers where Debian has them.
install_files() {
    local root=$1 program=$2 page
    local packaging=host/packaging share=$1/usr/share
    install -D -m 755 "$program" "$root/usr/bin/kilochat"
    install -D -m 644 $packaging/kilochat.service "$root/lib/systemd/system/kilochat.service"
    install -D -m 644 $packaging/kilochat.default "$root/etc/default/kilochat"
    install -D -m 644 $packaging/kilochat.sysctl.conf "$root/usr/lib/sysctl.d/50-kilochat.conf"
    for page in "$made"/man/*.1; do
        install -D -m 644 "$page" "$share/man/man1/${page##*/}"
        gzip -9n "$share/man/man1/${page##*/}"
    done
    install -D -m 644 "$made/completions/kilochat.bash" "$share/bash-completion/completions/kilochat"
    install -D -m 644 "$made/completions/_kilochat" "$share/zsh/vendor-completions/_kilochat"
    install -D -m 644 "$made/completions/kilochat.fish" \
        "$share/fish/vendor_completions.d/kilochat.fish"
    install -D -m 644 $packaging/alerts.yml "$share/doc/kilochat/examples/alerts.yml"
    install -D -m 644 $packaging/dashboard.json "$share/doc/kilochat/examples/dashboard.json"
}

# install_papers ROOT ARCHITECTURE VERSION adds what Debian asks of each package.
install_papers() {
    local root=$1 architecture=$2 version=$3 file
    local papers=host/packaging/debian doc=$1/usr/share/doc/kilochat
    local maintainer="${DEBFULLNAME:-kilochat developers} <${DEBEMAIL:-kilochat@packages.invalid}>"
    install -D -m 644 $papers/copyright "$doc/copyright"
    install -D -m 644 "$made/licences.txt" "$doc/licences.txt"
    install -D -m 644 host/CHANGELOG.md "$doc/changelog"
    install -D -m 644 $papers/lintian-overrides "$root/usr/share/lintian/overrides/kilochat"
    printf 'kilochat (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
        "$version" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$doc/changelog.Debian"
    gzip -9n "$doc/licences.txt" "$doc/changelog" "$doc/changelog.Debian"
    mkdir -p "$root/DEBIAN"
    echo /etc/default/kilochat >"$root/DEBIAN/conffiles"
    for file in postinst prerm postrm; do
        install -m 755 $papers/$file "$root/DEBIAN/$file"
    done
    (cd "$root" && find . -path ./DEBIAN -prune -o -path ./etc -prune -o -type f -printf '%P\0' |
        sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    local size
    size=$(du -sk --apparent-size --exclude DEBIAN "$root")
    sed -e "s/@ARCHITECTURE@/$architecture/; s/@VERSION@/$version/; s/@SIZE@/${size%%[!0-9]*}/" \
        -e "s/@MAINTAINER@/$maintainer/" $papers/control >"$root/DEBIAN/control"
}

# deb PROGRAM ARCHITECTURE VERSION FOLDER
deb() {
    local program=$1 architecture=$2 version=$3 folder=$4 root
    root=$(mktemp -d)
    chmod 755 "$root"
    umask 022
    install_files "$root" "$program"
    install_papers "$root" "$architecture" "$version"
    mkdir -p "$folder"
    find "$root" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz --build "$root" "$folder/kilochat_${version}_$architecture.deb"
    rm -r "$root"
}

# make_pages makes what all packages have, in the folder $made.
make_pages() {
    made=$(mktemp -d)
    trap 'rm -r "$made"' EXIT
    pages "$made"
    licences >"$made/licences.txt"
}

case ${1-} in
'')
    rm -rf "$out"
    mkdir -p "$out"
    make_pages
    for target in "${targets[@]}"; do
        build "${target% *}" "$out/${target#* }"
    done
    deb "$out/kilochat-x86_64-linux" amd64 "$version-1" "$out"
    deb "$out/kilochat-aarch64-linux" arm64 "$version-1" "$out"
    cp "$made/licences.txt" "$out"
    (cd "$out" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
    ;;
deb)
    [[ $# -eq 5 ]] || fail "usage: release.sh deb PROGRAM ARCHITECTURE VERSION FOLDER"
    make_pages
    deb "${@:2}"
    ;;
program)
    [[ $# -eq 3 || $# -eq 4 ]] || fail "usage: release.sh program TARGET FILE [SOURCE]"
    build "${@:2}"
    ;;
*) fail "usage: release.sh [program ...|deb ...]; see its first lines" ;;
esac
