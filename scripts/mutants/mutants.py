#!/usr/bin/env python3
"""Mutants of the whole program from one build.

`cargo mutants` builds the program once for each mutant: hours for a hundred. Here every mutant of a run is compiled
into one program, each behind `on(k)`, and the environment variable SADM_MUTANT chooses the one that is active. A first
run of all tests, with none active, records which tests reach which mutant; then each mutant is judged by the tests that
reach it, the quick ones first, until one fails.

    mutants.py by-hand                       the mistakes of by-hand.toml
    mutants.py sample --count 400 --seed 1   a random sample of what `cargo mutants --list` finds in PATHS below

The results are one JSON line a mutant in target/mutants/NAME/results.jsonl; a run that was stopped goes on there.
Needs cargo-nextest; `sample` needs cargo-mutants and the Python packages tree-sitter and tree-sitter-rust.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What connects the formulas, and what checks them.
PATHS = [
    "gpu/src/train/*", "gpu/src/run/*", "gpu/src/sampler/*", "gpu/src/evaluation/*", "gpu/src/data/*",
    "gpu/src/optim/*", "gpu/src/coupling/*", "gpu/src/method/*", "src/commands/*", "oracle/src/*", "tests/src/*",
    "reference/src/bound/*", "reference/src/metrics/*",
]
# The root modules of each crate: `on` must be in the crate of the mutant.
CRATES = {"gpu/": ["gpu/src/lib.rs"], "reference/": ["reference/src/lib.rs"], "theory/": ["theory/src/lib.rs"],
          "oracle/": ["oracle/src/lib.rs"],
          "tests/": ["tests/src/lib.rs"], "src/": ["src/main.rs", "src/lib.rs"]}
GUARD = """
#[allow(warnings, clippy::all, clippy::pedantic, missing_docs)]
pub(crate) mod mutant_guard {
    use std::{io::Write, sync::{OnceLock, atomic::{AtomicBool, Ordering}}};
    static ACTIVE: OnceLock<Option<usize>> = OnceLock::new();
    static HITS: OnceLock<Option<String>> = OnceLock::new();
    static SEEN: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];
    pub(crate) fn on(k: usize) -> bool {
        if let Some(folder) = HITS.get_or_init(|| std::env::var("SADM_MUTANT_HITS").ok()) {
            if !SEEN[k].swap(true, Ordering::Relaxed) {
                let test = format!("{} {}", std::env::var("NEXTEST_BINARY_ID").unwrap_or_default(),
                    std::env::var("NEXTEST_TEST_NAME").unwrap_or_default());
                let path = format!("{folder}/{}", std::process::id());
                let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
                let _ = file.and_then(|mut f| f.write_all(format!("{k}\\t{test}\\n").as_bytes()));
            }
        }
        *ACTIVE.get_or_init(|| std::env::var("SADM_MUTANT").ok()?.parse().ok()) == Some(k)
    }
}
"""
# A mutant that never ends is seen by the clock.
NEXTEST = """
[profile.mutant]
fail-fast = true
slow-timeout = { period = "60s", terminate-after = 3 }
"""


@dataclass
class Mutant:
    """A change of one expression: `file[start:end]` becomes `text` when it is active."""

    name: str
    file: str
    start: int
    end: int
    text: str
    # `{on}` stands for the condition and `{same}` for what is there now.
    form: str = "(if {on} {{ {text} }} else {{ {same} }})"
    number: int = -1
    reached: list = field(default_factory=list)


def render(source: str, mutants: list[Mutant]) -> str:
    """The source with every mutant behind its number. Mutants that overlap without one holding the other are refused before."""
    order = sorted(mutants, key=lambda m: (m.start, -m.end, m.number))

    def part(start: int, end: int, inside: list[Mutant]) -> str:
        out, at, i = "", start, 0
        while i < len(inside):
            outer = inside[i]
            j = i + 1
            while j < len(inside) and inside[j].start < outer.end or j < len(inside) and inside[j].end <= outer.end:
                j += 1
            on = f"crate::mutant_guard::on({outer.number})"
            if "{same}" in outer.form:
                same = part(outer.start, outer.end, inside[i + 1:j])
                changed = outer.form.format(on=on, text=outer.text, same=same)
            else:
                changed = within(outer.form.format(on=on), inside[i + 1:j])
            out += source[at:outer.start] + changed
            at, i = outer.end, j
        return out + source[at:end]

    def within(text: str, inside: list[Mutant]) -> str:
        """A text that holds its own condition, with the mutants of what it repeats."""
        i = 0
        while i < len(inside):
            inner, j = inside[i], i + 1
            while j < len(inside) and inside[j].end <= inner.end:
                j += 1
            same = source[inner.start:inner.end]
            if text.count(same) != 1:
                sys.exit(f"{inner.name}: `{same}` must be once in what another mutant puts there")
            text = text.replace(same, part(inner.start, inner.end, inside[i:j]))
            i = j
        return text

    return part(0, len(source), order)


def by_hand() -> list[Mutant]:
    """The mistakes of by-hand.toml. Where `new` says `ON` it holds its own condition."""
    found, faults = [], []
    for entry in tomllib.loads((Path(__file__).parent / "by-hand.toml").read_text())["mutant"]:
        file = ROOT / entry["file"]
        source = file.read_text() if file.is_file() else ""
        places = [m.start() for m in re.finditer(re.escape(entry["old"]), source)]
        if len(places) != 1:
            faults.append(f"{entry['name']}: `{entry['old']}` is {len(places)} times in {entry['file']}, must be once")
            continue
        start, new = places[0], entry["new"]
        mutant = Mutant(entry["name"], entry["file"], start, start + len(entry["old"]), new)
        if re.search(r"\bON\b", new):
            mutant.form = re.sub(r"\bON\b", "{on}", new.replace("{", "{{").replace("}", "}}"))
        found.append(mutant)
    if faults:
        sys.exit("\n".join(faults))
    return found


class Syntax:
    """The syntax tree of a file, for the ends of an operator's operands."""

    def __init__(self, source: str):
        import tree_sitter
        import tree_sitter_rust
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))
        self.bytes = source.encode()
        self.root = parser.parse(self.bytes).root_node
        self.lines = [0]
        for line in source.split("\n"):
            self.lines.append(self.lines[-1] + len(line) + 1)

    def offset(self, place: dict) -> int:
        return self.lines[place["line"] - 1] + place["column"] - 1

    def characters(self, byte: int) -> int:
        return len(self.bytes[:byte].decode())

    def holding(self, start: int, end: int, kinds: set[str], source: str):
        """The smallest node of these kinds that holds the characters."""
        first, last = len(source[:start].encode()), len(source[:end].encode())
        node = self.root.named_descendant_for_byte_range(first, last)
        while node is not None and node.type not in kinds:
            node = node.parent
        return node


def schema(entry: dict, source: str, syntax: Syntax) -> Mutant | None:
    """What `cargo mutants` lists, as a change that can be switched on; nothing for the rare kinds that cannot."""
    start, end = syntax.offset(entry["span"]["start"]), syntax.offset(entry["span"]["end"])
    name, genre, new = entry["name"], entry["genre"], entry["replacement"]
    mutant = Mutant(name, entry["file"], start, end, new)

    def bounds(node):
        return syntax.characters(node.start_byte), syntax.characters(node.end_byte)

    if genre == "FnValue":
        node = syntax.holding(start, end, {"function_item"}, source)
        body = node and node.child_by_field_name("body")
        if body is None or re.search(r"\bconst\s+fn\b", source[bounds(node)[0]:bounds(body)[0]]):
            return None
        mutant.start = mutant.end = bounds(body)[0] + 1
        mutant.form = " if {on} {{ return {text}; }} {same}"
        return mutant
    if genre == "BinaryOperator":
        node = syntax.holding(start, end, {"binary_expression", "compound_assignment_expr"}, source)
        if node is None:
            return None
        left, right = bounds(node)
        mutant.start, mutant.end, mutant.text = left, right, f"{source[left:start]}{new}{source[end:right]}"
        return mutant
    if genre == "UnaryOperator":
        node = syntax.holding(start, end, {"unary_expression"}, source)
        if node is None:
            return None
        left, right = bounds(node)
        mutant.start, mutant.end, mutant.text = left, right, f"{source[left:start]}{new}{source[end:right]}"
        return mutant
    if genre == "MatchArmGuard":
        # The guard's characters, or `if guard`: keep the word `if` outside.
        if source[start:end].startswith("if "):
            mutant.start += 3
        mutant.text = new.removeprefix("if ").strip()
        return mutant
    if genre == "MatchArm":
        node = syntax.holding(start, end, {"match_arm"}, source)
        pattern = node and node.child_by_field_name("pattern")
        if pattern is None:
            return None
        left, right = bounds(pattern)
        guard = pattern.child_by_field_name("condition")
        if guard is not None:
            left, right = bounds(guard)
            mutant.form = "!{on} && ({same})"
        else:
            left = right
            mutant.form = "{same} if !{on}"
        mutant.start, mutant.end = left, right
        return mutant
    return None


def sample(count: int, seed: int) -> list[Mutant]:
    """A random sample of the mutants of PATHS."""
    listed = subprocess.run(["cargo", "mutants", "--no-config", "--list", "--json", "--workspace"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        sys.exit(f"cargo mutants --list failed:\n{listed.stderr}")
    entries = [e for e in json.loads(listed.stdout) if any(fnmatch.fnmatch(e["file"], p) for p in PATHS)]
    random.Random(seed).shuffle(entries)
    sources, trees, found, without = {}, {}, [], collections.Counter()
    for entry in entries:
        if len(found) == count:
            break
        file = entry["file"]
        if file not in sources:
            sources[file] = (ROOT / file).read_text()
            trees[file] = Syntax(sources[file])
        mutant = schema(entry, sources[file], trees[file])
        if mutant is None:
            without[entry["genre"]] += 1
        else:
            found.append(mutant)
    print(f"{len(entries)} mutants in all; {len(found)} drawn with seed {seed}; passed over because they cannot be "
          f"switched on while the program runs: {dict(without) or 'none'}")
    return found


def tree(folder: Path, mutants: list[Mutant]) -> None:
    """The program with the mutants in it, in `folder`; what has not changed keeps its time."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    by_file = collections.defaultdict(list)
    for mutant in mutants:
        by_file[mutant.file].append(mutant)
    roots = {root for crate, files in CRATES.items() if any(f.startswith(crate) for f in by_file) for root in files}
    names = set(tracked.split("\0")) - {""}
    for old in folder.rglob("*"):
        if old.is_file() and str(old.relative_to(folder)) not in names and "target" not in old.relative_to(folder).parts:
            old.unlink()
    for name in sorted(names):
        if not (ROOT / name).is_file():
            continue
        content = (ROOT / name).read_bytes()
        if name in by_file:
            content = render(content.decode(), by_file[name]).encode()
        if name in roots:
            content += GUARD.replace("COUNT", str(max(m.number for m in mutants) + 1)).encode()
        if name == ".config/nextest.toml":
            content += NEXTEST.encode()
        path = folder / name
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        shutil.copymode(ROOT / name, path)


def lines_of(text: str) -> dict[int, set[int]]:
    """The numbers of the mutants on each line of a file."""
    return {i: {int(k) for k in re.findall(r"mutant_guard::on\((\d+)\)", line)} for i, line in enumerate(text.split("\n"), 1)}


def build(folder: Path, mutants: list[Mutant], command: list[str]) -> list[Mutant]:
    """Builds what can be built: a mutant that the compiler refuses is dropped, as `cargo mutants` drops it."""
    left = list(mutants)
    for _ in range(30):
        tree(folder, left)
        run = subprocess.run(command + ["--message-format=json"], cwd=folder, capture_output=True, text=True)
        if run.returncode == 0:
            return left
        refused, near = set(), set()
        for line in run.stdout.splitlines():
            message = json.loads(line).get("message") if line.startswith("{") else None
            if not isinstance(message, dict) or message.get("level") != "error":
                continue
            for span in message["spans"] + [s for c in message["children"] for s in c["spans"]]:
                path = folder / span["file_name"]
                if not path.is_file():
                    continue
                numbers = lines_of(path.read_text())
                for line_number in range(span["line_start"], span["line_end"] + 1):
                    refused |= numbers.get(line_number, set())
                # A value returned early may be of another `impl Trait` than the one at the end, where the error is shown.
                before = [n for n, found in numbers.items() if found and n <= span["line_start"]]
                near |= numbers[max(before)] if before else set()
        refused = refused or near
        if not refused:
            sys.exit(f"the program with the mutants does not build, and no mutant is to blame:\n{run.stderr[-4000:]}")
        print(f"{len(refused)} refused by the compiler", flush=True)
        left = [m for m in left if m.number not in refused]
    sys.exit("still refused after 30 rounds")


def nextest(folder: Path, work: Path, arguments: list[str], environment: dict):
    """Runs tests of what is built, without asking cargo whether it still is."""
    command = ["cargo", "nextest", "run", "--profile", "mutant", "--binaries-metadata", str(work / "binaries.json"),
               "--cargo-metadata", str(work / "metadata.json"), "--color", "never", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | {"PROPTEST_RNG_SEED": "1"} | environment, capture_output=True,
                          text=True)


def outcomes(text: str) -> dict[str, tuple[str, float]]:
    """Result and seconds of each test of a run."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s+(PASS|FAIL|TIMEOUT|SIG\w+|ABORT|LEAK)\s+\[\s*>?\s*([\d.]+)s\]\s+(?:\(\s*\d+/\d+\)\s+)?(\S+)\s+(\S+)", line)
        if match:
            found[f"{match[3]} {match[4]}"] = (match[1], float(match[2]))
    return found


def commands(work: Path) -> dict[str, tuple[str, str]]:
    """Program and folder of each test binary, by nextest's name of it."""
    packages = {p["id"]: Path(p["manifest_path"]).parent for p in json.loads((work / "metadata.json").read_text())["packages"]}
    binaries = json.loads((work / "binaries.json").read_text())["rust-binaries"]
    return {name: (b["binary-path"], str(packages[b["package-id"]])) for name, b in binaries.items()}


def judge(binaries: dict[str, tuple[str, str]], mutant: Mutant, seconds: dict[str, float]) -> dict:
    """The tests that reach the mutant, the quick ones first, each in a process of its own, until one fails."""
    tests = sorted(mutant.reached, key=lambda t: seconds.get(t, 0.0))
    began, killed = time.time(), []
    environment = os.environ | {"PROPTEST_RNG_SEED": "1", "SADM_MUTANT": str(mutant.number)}

    def run(test: str) -> None:
        if killed:
            return
        binary, name = test.split(" ")
        program, folder = binaries[binary]
        # A mutant that never ends is seen by the clock.
        most = 60.0 + 10.0 * seconds.get(test, 0.0)
        try:
            done = subprocess.run([program, "--exact", name], cwd=folder, env=environment, capture_output=True, timeout=most)
        except subprocess.TimeoutExpired:
            killed.append(("TIMEOUT", test))
            return
        if done.returncode != 0:
            killed.append(("FAIL", test))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(run, tests))
    result = {"name": mutant.name, "killed": bool(killed), "reached": len(tests), "seconds": round(time.time() - began, 1)}
    # A failure says more than a test that was stopped by the clock, which a busy machine may be to blame for.
    for how, by in sorted(killed)[:1]:
        result |= {"how": how, "by": by}
    return result


def coverage(folder: Path, work: Path, name: str, viable: list[Mutant]) -> tuple[dict[str, float], dict[int, set[str]]]:
    """Seconds of each test that passes without a mutant, and the tests that reach each mutant; kept until a source changes."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*.rs") if "target" not in p.relative_to(folder).parts):
        digest.update(path.read_bytes())
    kept = work / name / "coverage.json"
    if kept.is_file():
        found = json.loads(kept.read_text())
        if found["sources"] == digest.hexdigest():
            return found["seconds"], {int(k): set(tests) for k, tests in found["reached"].items()}
    hits = work / name / "hits"
    shutil.rmtree(hits, ignore_errors=True)
    hits.mkdir(parents=True)
    began = time.time()
    first = nextest(folder, work, ["--no-fail-fast"], {"SADM_MUTANT_HITS": str(hits)})
    passed = outcomes(first.stdout + first.stderr)
    broken = [t for t, (how, _) in passed.items() if how not in ("PASS", "LEAK")]
    if broken:
        print(f"fail without any mutant, and judge nothing: {', '.join(broken)}")
    seconds = {t: s for t, (how, s) in passed.items() if t not in broken}
    reached = {m.number: set() for m in viable}
    for file in hits.iterdir():
        for line in file.read_text().splitlines():
            number, test = line.split("\t")
            if test in seconds and int(number) in reached:
                reached[int(number)].add(test)
    print(f"{len(seconds)} tests in {time.time() - began:.0f} s", flush=True)
    found = {"sources": digest.hexdigest(), "seconds": seconds, "reached": {k: sorted(tests) for k, tests in reached.items()}}
    kept.write_text(json.dumps(found))
    return seconds, reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["by-hand", "sample"])
    parser.add_argument("--count", type=int, default=400, help="mutants to draw (sample)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (sample)")
    parser.add_argument("--only", default="", help="only mutants whose name holds this text")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--limit", type=float, default=float("inf"), help="stop after this many minutes of judging")
    parser.add_argument("--most", type=float, default=float("inf"), help="leave out tests that take longer than so many seconds")
    given = parser.parse_args()

    mutants = by_hand() if given.what == "by-hand" else sample(given.count, given.seed)
    mutants = [m for m in mutants if given.only in m.name]
    for number, mutant in enumerate(mutants):
        mutant.number = number
    if given.list:
        print("\n".join(f"{m.file}: {m.name}" for m in mutants))
        return 0
    name = given.what if given.what == "by-hand" else f"sample-{given.seed}-{given.count}"
    work = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutants"
    folder, results = work / "tree", work / name / "results.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    # A folder of its own: what is built here is not the program.
    os.environ["CARGO_TARGET_DIR"] = str(work / "target")
    os.environ["CARGO_TERM_COLOR"] = "never"

    folder.mkdir(parents=True, exist_ok=True)
    viable = build(folder, mutants, ["cargo", "check", "--quiet", "--workspace", "--all-targets"])
    viable = build(folder, viable, ["cargo", "test", "--no-run", "--quiet", "--workspace", "--lib", "--bins", "--tests"])
    print(f"{len(viable)} of {len(mutants)} mutants can be built", flush=True)
    if given.what == "by-hand" and len(viable) < len(mutants):
        refused = {m.name for m in mutants} - {m.name for m in viable}
        sys.exit(f"these of by-hand.toml do not compile: {', '.join(sorted(refused))}")
    for what, command in {
        "binaries.json": ["cargo", "nextest", "list", "--workspace", "--list-type", "binaries-only", "--message-format", "json"],
        "metadata.json": ["cargo", "metadata", "--format-version", "1"],
    }.items():
        (work / what).write_text(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)

    seconds, reached = coverage(folder, work, name, viable)
    binaries = commands(work)

    done = {}
    if results.is_file():
        done = {r["name"]: r for r in map(json.loads, results.read_text().splitlines())}
    began = time.time()
    for mutant in viable:
        if mutant.name in done and done[mutant.name]["killed"]:
            continue
        if time.time() - began > given.limit * 60:
            print("the time is over; the same command goes on here")
            break
        mutant.reached = sorted(t for t in reached[mutant.number] if seconds[t] <= given.most)
        result = judge(binaries, mutant, seconds)
        done[mutant.name] = result
        with results.open("a") as file:
            file.write(json.dumps(result) + "\n")
        if not result["killed"]:
            print(f"survives ({result['reached']} tests reach it): {mutant.file}: {mutant.name}", flush=True)
    judged = [done[m.name] for m in viable if m.name in done]
    survivors = [r for r in judged if not r["killed"]]
    print(f"{len(judged) - len(survivors)} of {len(judged)} die; {len(survivors)} survive")
    return 1 if survivors or len(judged) < len(viable) else 0


if __name__ == "__main__":
    sys.exit(main())
