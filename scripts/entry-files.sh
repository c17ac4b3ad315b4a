#!/usr/bin/env bash
# Counts the files of the product that an entry of a registry touches: its own on either side, and the two lists that name it.
#     scripts/entry-files.sh structure/relation laplacian
# Fails if the name stands in any other file of reference, gpu, theory or the program.
set -euo pipefail
cd "$(dirname "$0")/.."
slot=$1 name=$2
module=${name//-/_}

want=$(for side in reference gpu; do
    printf '%s\n' "$side/src/$slot/$module.rs" "$side/src/$slot/mod.rs"
done | sort)
# The name as text, its constant, its module.
pattern="\"$name\"|\\b${module^^}\\b|\\b$module::|\\bmod $module;"
got=$(grep -rlE "$pattern" --include='*.rs' reference/src gpu/src theory/src oracle/src src | sort)
if [ "$got" != "$want" ]; then
    echo "$name should stand in the files on the left, and stands in those on the right:" >&2
    diff --side-by-side <(echo "$want") <(echo "$got") >&2
    exit 1
fi
for side in reference gpu; do
    lines=$(grep -ciE "\\b$module\\b" "$side/src/$slot/mod.rs")
    # `mod name;` and its line in the list.
    [ "$lines" = 2 ] || { echo "$side/src/$slot/mod.rs names $name in $lines lines, not 2" >&2; exit 1; }
done
echo "$name: two files of its own, two lines in each registry"
