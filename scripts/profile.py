#!/usr/bin/env python3
"""usage: profile.py BENCH [FILTER…]

Where the time of a bench's items goes: samples of `perf` on one thread, by the file in which the sampled code was written.
Needs perf and binutils. BENCH is `side_by_side`, built with the lines of its code:

    CARGO_PROFILE_BENCH_DEBUG=line-tables-only CARGO_PROFILE_BENCH_STRIP=none \\
        cargo bench --bench side_by_side --no-run --target-dir target/profile
    scripts/profile.py target/profile/release/deps/side_by_side-0123456789abcdef step/digits,
"""

import collections
import os
import re
import subprocess
import sys
import tempfile

# What other files call to do their work; the caller is named instead.
HELPERS = {"nn/real.rs", "nn/sums.rs", "nn/exponential.rs", "nn/buffer.rs", "nn/scratch.rs", "nn/softmax.rs"}


def output(*command, given=None):
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


def samples(data, bench):
    """Counts of addresses in the bench's file, and of functions elsewhere."""
    own, elsewhere, start = collections.Counter(), collections.Counter(), 0
    script = output("perf", "script", "-i", data, "-F", "ip,sym,dso", "--show-mmap-events")
    for line in script.splitlines():
        mapped = re.search(r"\[0x([0-9a-f]+)\(\S+\) @ (\S+) .*?\]: (\S+) (\S+)", line)
        if "PERF_RECORD_MMAP" in line:
            if mapped and mapped[4] == bench and "x" in mapped[3]:
                start = int(mapped[1], 16) - int(mapped[2], 16)
            continue
        address, _, place = line.strip().partition(" ")
        if os.path.basename(bench) in place:
            own[int(address, 16) - start] += 1
        elif place:
            elsewhere[re.sub(r"\(.*", "", place).strip()] += 1
    return own, elsewhere


def addresses(bench):
    """Parts of the file with the addresses at which they are linked."""
    fields = (line.split() for line in output("readelf", "-lW", bench).splitlines())
    return [(int(f[1], 16), int(f[2], 16), int(f[4], 16)) for f in fields if f and f[0] == "LOAD"]


def frames(bench, offsets):
    """For each offset in the file the files of the functions that were inlined there, innermost first."""
    parts = addresses(bench)

    def linked(offset):
        return next((at + offset - start for start, at, size in parts if start <= offset < start + size), offset)

    asked = "\n".join(hex(linked(offset)) for offset in offsets)
    answer = output("addr2line", "-e", bench, "-i", "-f", "-C", "-a", given=asked)
    blocks = []
    for line in answer.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", line):
            blocks.append([])
        else:
            blocks[-1].append(line)
    return [[place.split(":")[0] for place in block[1::2]] for block in blocks]


def kind(files):
    # A folder of a folder is one part.
    ours = ["/".join(file.split("gpu/src/")[1].split("/")[:2]) for file in files if "gpu/src/" in file]
    if not ours:
        return "candle" if any("candle-core" in file for file in files) else "the rest"
    if "nn/panels.rs" in ours:
        return "packing and transposes"
    if ours[0] == "nn/product":
        return "products"
    named = [file for file in ours if file not in HELPERS] or ours
    return "products" if named[0] == "nn/product" else named[0]


def main():
    if len(sys.argv) < 2 or not os.path.isfile(sys.argv[1]):
        sys.exit(__doc__)
    bench = os.path.realpath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "perf.data")
        timed = [bench, "--bench", "--threads", "1", "--clock", "cpu", "--rounds", "2", "--seconds", "2"]
        output("perf", "record", "-o", data, *timed, *sys.argv[2:])
        own, elsewhere = samples(data, bench)
    shares = collections.Counter()
    for count, files in zip(own.values(), frames(bench, own)):
        shares[kind(files)] += count
    for name, count in elsewhere.items():
        shares[f"[{name}]"] += count
    total = sum(shares.values())
    for name, count in shares.most_common(20):
        print(f"{100 * count / total:5.1f} %  {name}")


main()
