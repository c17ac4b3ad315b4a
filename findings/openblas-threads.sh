#!/usr/bin/env bash
# OpenBLAS gives other bits with two threads than with one, on the same machine and for the same matrix: of 300 × 300 doubles the eigenvalues, R of QR, singular vectors and the product of matrices differ in their last digits in numpy and scipy.
# OpenBLAS 0.3.31 in numpy 2.4.6 and 0.3.30 in scipy 1.17.1 (wheels of PyPI, x86-64; 2026-11-30), with each of its kernels from Prescott to Cooperlake (OPENBLAS_CORETYPE). In Debian's 0.3.21 eigenvalues differ from 3 × 3 on.
# Whoever compares runs byte for byte, on machines with other numbers of cores or other OPENBLAS_NUM_THREADS. One thread in both gives the same bits. Needs two cores.
set -euo pipefail

if [ "$(nproc)" -lt 2 ]; then
    echo "one core: OpenBLAS will not start a second thread, and nothing can be seen" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 scipy==1.17.1 threadpoolctl==3.6.0
cat > "$folder/bits.py" <<'PYTHON'
import hashlib
import sys

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info

for library in threadpool_info():
    print(library["prefix"], library["version"], library["architecture"], "threads", library["num_threads"], file=sys.stderr)
random = np.random.default_rng(7)
for n in [64, 256, 300]:
    a = random.standard_normal((n, n))
    s = a + a.T
    answers = {
        "numpy eigvalsh": np.linalg.eigvalsh(s),
        "scipy eigh (dsyev)": scipy.linalg.eigh(s, driver="ev")[0],
        "numpy qr": np.linalg.qr(a)[1],
        "scipy svd": scipy.linalg.svd(a)[0],
        "numpy product": a @ a,
    }
    for name, answer in answers.items():
        print(n, name, hashlib.sha256(np.ascontiguousarray(answer).tobytes()).hexdigest()[:16], sep="\t")
PYTHON
for run in 1 1-again 2; do
    OPENBLAS_NUM_THREADS=${run%-*} "$folder/venv/bin/python" "$folder/bits.py" > "$folder/$run"
done
cmp "$folder/1" "$folder/1-again"
echo "one thread twice: the same bits"
echo "one thread (<) and two (>):"
diff "$folder/1" "$folder/2" || true
for what in "numpy eigvalsh" "scipy eigh (dsyev)" "numpy qr" "scipy svd" "numpy product"; do
    if grep -F "300	$what" "$folder/1" | grep -qF -f - "$folder/2"; then
        echo "this is no longer what was found: $what of 300 × 300 has the same bits" >&2
        exit 1
    fi
done
