#!/usr/bin/env bash
# Installs what the build needs and this machine lacks: a C compiler, make, pkg-config, OpenBLAS, NumPy.
# Asks apt only for what is missing and says nothing where nothing is.
set -euo pipefail

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v make >/dev/null || missing+=(make)
command -v pkg-config >/dev/null || missing+=(pkg-config)
# Without pkg-config nothing is known about the library; asking apt for one that is there does no harm.
pkg-config --exists openblas 2>/dev/null || missing+=(libopenblas-dev)
# The package for Python is tested with it.
{ python3 -c 'import numpy' || /usr/bin/python3 -c 'import numpy'; } 2>/dev/null || missing+=(python3 python3-numpy)

if ((${#missing[@]})); then
    install="apt-get install -y --no-install-recommends ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "setup: missing: ${missing[*]} (Debian's names); this machine has no apt-get, please install them yourself." >&2
        exit 1
    elif ((EUID == 0)); then
        root=()
    elif command -v sudo >/dev/null; then
        root=(sudo)
    else
        echo "setup: missing: ${missing[*]}; please run as root: apt-get update && $install" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    as_root() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive "$@"; }
    # The lists may be fresh enough; where they are not, fetch them and try again.
    # shellcheck disable=SC2086
    as_root $install >/dev/null 2>&1 || {
        as_root apt-get update -q && as_root $install
    }
fi

if ! command -v cargo >/dev/null && [[ ! -x $HOME/.cargo/bin/cargo ]]; then
    echo "setup: Rust is missing; get it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" >&2
    exit 1
fi
