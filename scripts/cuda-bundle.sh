#!/usr/bin/env bash
# usage: cuda-bundle.sh TARGET
# Packs what `make cuda` built in TARGET, with benchmarks and what they need, into TARGET/sadm-cuda.tar.xz: it runs
# on a machine that has a GPU and its driver, but no network and no Rust. See run.sh in it.
set -euo pipefail

target=$(realpath "${1:?usage: cuda-bundle.sh TARGET}")
root=$(realpath "$(dirname "$(readlink -f "$0")")/..")
stage=$target/sadm-cuda
limit=$((60 * 1024 * 1024))

rm -rf "$stage"
mkdir -p "$stage/bin" "$stage/lib"

# The newest executable of each benchmark: cargo says which it made.
benches=$(cd "$root" && cargo bench --no-run --features cudnn --target-dir "$target" --message-format json |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and "bench" in message["target"]["kind"]:
        print(message["target"]["name"], message["executable"])')
while read -r name executable; do
    strip -o "$stage/bin/bench-$name" "$executable"
done <<<"$benches"
strip -o "$stage/bin/sadm" "$target/release/sadm"

# OpenBLAS and the Fortran it was built with; everything else it links is part of every Linux.
ldd "$stage/bin/sadm" | awk '/openblas|gfortran|quadmath/ { print $3 }' | xargs -I{} cp -L {} "$stage/lib/"
cp "$root/scripts/cuda-run.sh" "$stage/run.sh"
cp "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$stage/"
{
    echo "commit $(git -C "$root" rev-parse HEAD)$(git -C "$root" diff --quiet HEAD || echo ' with changes')"
    echo "packed $(date -u +%F)"
    echo "glibc $(ldd --version | head -1 | awk '{ print $NF }') or newer"
} >"$stage/BUILD"

archive=$target/sadm-cuda.tar.xz
tar -C "$target" -cf - sadm-cuda | xz -T0 -6 >"$archive.part"
mv "$archive.part" "$archive"
size=$(stat -c %s "$archive")
((size <= limit)) || { echo "cuda-bundle: $archive has $size bytes, more than $limit" >&2; exit 1; }
echo "cuda-bundle: $archive, $((size / 1024)) KiB. Where the GPU is:"
echo "    tar xf sadm-cuda.tar.xz && sadm-cuda/run.sh"
