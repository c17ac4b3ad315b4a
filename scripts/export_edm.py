#!/usr/bin/env python3
"""Writes the weights of a snapshot of EDM as safetensors, which sadm reads.

A snapshot (network-snapshot-*.pkl, or training-state-*.pt) holds the source text of EDM's classes, which Python runs when it is opened.
sadm runs nothing, so this is done here, where EDM's code is:

    cd edm && python .../scripts/export_edm.py network-snapshot-200000.pkl edm.safetensors

Open only files that you trust. Needs torch and safetensors, and EDM's folder (its torch_utils) as the current one or as --edm.
"""

import argparse
import hashlib
import json
import pickle
import sys
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot", type=Path, help="network-snapshot-*.pkl or training-state-*.pt")
    parser.add_argument("out", type=Path, help="the file to write, *.safetensors")
    parser.add_argument("--edm", type=Path, default=Path(), help="folder of EDM's code [default: the current one]")
    parser.add_argument("--key", help="which network of the file [default: ema, else net]")
    return parser.parse_args()


def plain(value):
    """A value as JSON has it; what JSON does not know, by its text."""
    return json.dumps(value, default=str, sort_keys=True)


def described(thing):
    """The class of an object of EDM, and the arguments that it was made with."""
    return {"class": type(thing).__name__, "args": getattr(thing, "init_args", []), "kwargs": dict(getattr(thing, "init_kwargs", {}))}


def main():
    args = arguments()
    sys.path.insert(0, str(args.edm.resolve()))
    import safetensors.torch
    import torch

    content = args.snapshot.read_bytes()
    if content[:2] == b"PK":
        data = torch.load(args.snapshot, map_location="cpu", weights_only=False)
    else:
        with args.snapshot.open("rb") as file:
            data = pickle.load(file)
    key = args.key or next((key for key in ("ema", "net") if key in data), None)
    if key not in data or not isinstance(data[key], torch.nn.Module):
        sys.exit(f"error: {args.snapshot} holds no network under {args.key or '`ema` or `net`'}, but: {', '.join(map(str, data))}")
    network = data[key]
    state = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    facts = {"format": "pt", "network": plain(described(network)), "averaged": json.dumps(key == "ema"),
             "source_sha256": hashlib.sha256(content).hexdigest()}
    inner = getattr(network, "model", None)
    if inner is not None:
        facts["model"] = plain(described(inner))
    if data.get("augment_pipe") is not None:
        facts["augment"] = plain(described(data["augment_pipe"]))
    if data.get("dataset_kwargs") is not None:
        facts["dataset"] = plain(dict(data["dataset_kwargs"]))
    unfinished = args.out.with_name(f".{args.out.name}.part")
    try:
        safetensors.torch.save_file(state, unfinished, metadata=facts)
        unfinished.replace(args.out)
    finally:
        unfinished.unlink(missing_ok=True)
    print(f"{len(state)} tensors of {facts['network']} written to {args.out}")


if __name__ == "__main__":
    main()
