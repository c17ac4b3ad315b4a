"""Runs tiny configurations with two programs and compares what they wrote; see same-run.sh.

usage: same_run.py BASE_PROGRAM HEAD_PROGRAM FOLDER [CONFIGURATION ...]
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

STEPS = 24
# Every phase gets steps, every step is logged and saved.
COMMON = [
    f"train.steps={STEPS}",
    "phases.encoder=6",
    "phases.denoise=6",
    "phases.guided=6",
    "phases.adversarial=6",
    "train.batch=8",
    "train.log_every=1",
    "train.tensorboard=false",
    "encoder.widths=[8,8]",
    "encoder.groups=4",
    "encoder.dim=8",
    "encoder.batch=8",
    "sample.every=0",
    "sample.count=2",
    "sample.steps=2",
    "shadow.every=4",
    "checkpoint.every=1",
    "checkpoint.keep=1000",
]
UNET = [
    "model.unet.channels=[8,8]",
    "model.unet.blocks=1",
    "model.unet.attention=[1]",
    "model.unet.heads=2",
    "model.unet.groups=4",
    "model.unet.emb_dim=16",
    "model.unet.time_dim=8",
]
DIT = ["model.dit.dim=16", "model.dit.depth=2", "model.dit.heads=2", "model.dit.time_dim=8"]

# Name: preset, keys that differ from COMMON.
CONFIGURATIONS = {
    "unet": ("digits", UNET),
    "dit": ("digits-dit", DIT),
    "phi-first": ("digits", UNET + ["adversarial.update_order=phi-first"]),
    "two-phi-steps": ("digits", UNET + ["adversarial.phi_steps=2"]),
    "balance": (
        "digits",
        UNET
        + [
            "adversarial.until=balance",
            "adversarial.balance_window=2",
            "adversarial.balance_tolerance=0.9",
        ],
    ),
    "bf16": ("digits-dit", DIT + ["train.compute=bf16", "shadow.every=0"]),
    "cosine": ("digits", UNET + ["structure.relation=cosine"]),
    "inner-product": ("digits", UNET + ["structure.relation=inner-product"]),
    "squared-euclidean": ("digits", UNET + ["structure.relation=squared-euclidean"]),
    "euclidean": ("digits", UNET + ["structure.relation=euclidean", "structure.distance=huber"]),
    "rbf": ("digits", UNET + ["structure.relation=rbf(2)", "structure.distance=absolute"]),
    "no-clipping": ("digits", UNET + ["train.clip_norm=0"]),
    "mirrored": ("digits", UNET + ["data.flip=true"]),
    "soft-truncation": ("digits", UNET + ["objective.time=soft-truncation", "objective.time_sharing=per-sample"]),
    "eps-constant": ("digits", UNET + ["objective.parametrisation=eps", "objective.weight=constant"]),
    "no-structure": ("digits", UNET + ["structure.method=none"]),
}

# Keys of metrics.jsonl that are times.
TIMES = {"seconds", "images_per_second", "shadow_seconds"}
# What the shadow check finds is no number of the run: a resumed run has been looked at less, and a newer program judges more.
LOOKS = {"shadow", "shadow_quantity"}


class Unknown(SystemExit):
    """A program's refusal of a key or value that it does not know."""


def train(program, folder, arguments):
    command = [program, "train", "--threads=1", "--out", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if last.startswith("error: ") and "unknown" in last:
            raise Unknown(last)
        raise SystemExit(f"same-run: {' '.join(command)}\nended with {done.returncode}: {last}")


# Files of format 1 by what they are called now.
FORMAT_1 = {"model": "theta", "ema": "theta.average", "encoder": "phi"}


def tensors(file):
    """SHA-256 of each tensor of a safetensors file, with its type and shape, by file and name as they are now."""
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    of = file.name.removesuffix(".safetensors")
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        digest = hashlib.sha256(data[start + begin : start + end]).hexdigest()
        player, _, moment = name.partition(".")
        place = (f"{player}.optimizer", moment) if of == "optimizer" else (FORMAT_1.get(of, of), name)
        yield "/".join(place), f"{entry['dtype']} {entry['shape']} {digest}"


def digests(folder):
    """The digest of every tensor of every checkpoint."""
    found = {}
    for checkpoint in sorted(folder.glob("checkpoints/*")):
        for file in sorted(checkpoint.glob("*.safetensors")):
            found.update({f"{checkpoint.name}/{name}": digest for name, digest in tensors(file)})
    return found


def metrics(folder, without):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    kept = []
    for line in lines:
        kept.append({key: value for key, value in json.loads(line).items() if key not in without})
    return kept


def differences(base, head, without):
    """The first differences of two runs, in words; none where they are equal."""
    found = []
    ours, theirs = digests(head), digests(base)
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            found.append(f"{path} differs" if path in ours and path in theirs else f"{path} is on one side only")
    pairs = zip(metrics(base, without), metrics(head, without))
    if len(metrics(base, without)) != len(metrics(head, without)):
        found.append("metrics.jsonl has another number of lines")
    for was, now in pairs:
        if was != now:
            found.append(f"metrics.jsonl: {was} became {now}")
            break
    return found


def middle_steps(folder):
    """A step within each phase, from the log: the phase's name and a step that is not its last."""
    steps = {}
    for line in metrics(folder, TIMES):
        if "loss" in line:
            steps.setdefault(line["phase"], []).append(line["step"])
    return {phase: of[len(of) // 2 - 1] for phase, of in steps.items() if len(of) > 1}


def resumed(head, base_run, folder, step):
    """A copy of BASE's run as it was at `step`, continued by HEAD."""
    shutil.copytree(base_run, folder)
    for checkpoint in (folder / "checkpoints").iterdir():
        if int(checkpoint.name) > step:
            shutil.rmtree(checkpoint)
    train(head, folder, ["--resume"])


def main():
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    base, head, folder, *names = sys.argv[1:]
    unknown = [name for name in names if name not in CONFIGURATIONS]
    if unknown:
        raise SystemExit(f"same-run: no configuration {', '.join(unknown)}; there are {', '.join(CONFIGURATIONS)}")
    folder = pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    failed, compared = 0, 0
    for name in names or CONFIGURATIONS:
        preset, keys = CONFIGURATIONS[name]
        arguments = [f"--preset={preset}", *(f"--set={key}" for key in COMMON + keys)]
        runs = {side: folder / name / side for side in ("base", "head")}
        try:
            train(base, runs["base"], arguments)
        except Unknown as refusal:
            print(f"{name:18} newer than BASE, {refusal}", flush=True)
            continue
        train(head, runs["head"], arguments)
        compared += 1
        found = [("whole", differences(runs["base"], runs["head"], TIMES | LOOKS))]
        for phase, step in middle_steps(runs["base"]).items():
            run = folder / name / f"resumed-{phase}"
            resumed(head, runs["base"], run, step)
            found.append(
                (f"resumed at step {step}, {phase}", differences(runs["base"], run, TIMES | LOOKS))
            )
        for what, differing in found:
            failed += bool(differing)
            print(f"{name:18} {what:34} {'differs' if differing else 'same'}", flush=True)
            for line in differing[:3]:
                print(f"    {line}")
    if failed:
        raise SystemExit(f"same-run: {failed} comparisons differ")
    if not compared:
        raise SystemExit("same-run: BASE knows none of the configurations")
    print(f"same-run: {compared} configurations, all the same, bit for bit")


if __name__ == "__main__":
    main()
