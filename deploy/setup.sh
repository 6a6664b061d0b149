# shellcheck shell=bash
# What ./demo, ./test and ./bench have in common: installing what is missing and building. Sourced, never run.

say() { printf '%s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Installs the given Debian packages where a command or file of theirs is missing: `need COMMAND PACKAGE` for each.
missing_packages=()
need() {
    command -v "$1" >/dev/null 2>&1 || missing_packages+=("$2")
}

install_missing() {
    [ "${#missing_packages[@]}" -gt 0 ] || return 0
    say "Installing: ${missing_packages[*]}"
    command -v apt-get >/dev/null 2>&1 ||
        fail "this machine has no apt-get; install ${missing_packages[*]} by hand and run this again"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 ||
            fail "installing packages needs root: run 'apt-get install ${missing_packages[*]}' as root, then this again"
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -q
    # RUNLEVEL=1: a package that brings a service does not start it.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -q -y --no-install-recommends "${missing_packages[@]}"
    missing_packages=()
}

# The compilers that the build needs: C for the cryptography, Rust for the rest.
install_compilers() {
    need cc gcc
    need make make
    need pkg-config pkg-config
    need git git
    need curl curl
    [ -e /usr/include/openssl/ssl.h ] || missing_packages+=(libssl-dev)
    [ -e /usr/include/stdio.h ] || missing_packages+=(libc6-dev)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing_packages+=(ca-certificates)
    install_missing
    install_rust
}

# Rust of the version that Cargo.toml asks for, by rustup where there is none or an older one.
install_rust() {
    local wanted present
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    [ -d "$HOME/.cargo/bin" ] && PATH="$HOME/.cargo/bin:$PATH"
    present=$(rust_present)
    if [ -n "$present" ] && at_least "$present" "$wanted"; then
        return 0
    fi
    say "Rust $wanted is needed; ${present:+$present is here, }installing it with rustup"
    if command -v rustup >/dev/null 2>&1; then
        rustup toolchain install stable --profile minimal ||
            fail "rustup cannot download Rust $wanted; open https://static.rust-lang.org, or install it by hand"
        rustup default stable
    else
        local installer
        installer=$(mktemp)
        curl --proto '=https' --tlsv1.2 --silent --show-error --fail --max-time 60 -o "$installer" https://sh.rustup.rs || {
            rm -f "$installer"
            fail "https://sh.rustup.rs cannot be reached; install Rust $wanted or later by hand (https://rustup.rs) and run this again"
        }
        sh "$installer" -y --profile minimal --default-toolchain stable --no-modify-path ||
            fail "Rust $wanted cannot be downloaded; install it by hand (https://rustup.rs) and run this again"
        rm -f "$installer"
    fi
    PATH="$HOME/.cargo/bin:$PATH"
    present=$(rust_present)
    at_least "${present:-0}" "$wanted" || fail "Rust $wanted or later is needed, and ${present:-none} is what there is"
}

# The version that is here; nothing where there is none, which is no failure.
rust_present() {
    { cargo --version 2>/dev/null || true; } | sed -n 's/^cargo \([0-9][0-9.]*\).*/\1/p'
}

# Whether version $1 is $2 or later.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Builds the daemon and the programs of integration-tests: `build release` or `build debug`.
build() {
    local profile=()
    if [ "$1" = release ]; then
        profile=(--release)
        [ -x target/release/sekisho ] || say "Building with optimisation; the first time this takes several minutes"
    fi
    cargo build --locked --quiet "${profile[@]}" -p daemon -p integration-tests --bins ||
        fail "the build failed; see above"
}
