"""Short training runs that differ from one baseline in one choice each: what every choice is worth at this scale.

    python -m benchmarks.ablations [--only NAME ...] [--seeds 0 1] [--steps 300]

Each run is `python -m training fit --config configs/training/ablation.yaml` with the overrides shown. Prints a table
and, last, one JSON line. A run whose result is already in `runs/ablations/`, from the same configuration, base
model and code, is not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

CONFIG = Path("configs/training/ablation.yaml")
RESULTS = Path("runs/ablations")
BASE = Path("checkpoints/tiny/base")
CODE = ("hypernet/hypernetworks/*.py", "hypernet/models/*.py", "training/*.py", "training/world/**/*.*")

_MODEL, _ARCHITECTURE, _DATA = "--model.init_args.", "--model.init_args.architecture.init_args.", "--data.init_args."

_MLP_MODULES = '["gate_proj","up_proj","down_proj"]'
_ALL_MODULES = '["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj","down_proj"]'

VARIANTS: dict[str, list[str]] = {
    "baseline": [],
    "distillation for supervised": [f"{_MODEL}supervised_weight=0", f"{_MODEL}distillation_weight=1"],
    "distillation and supervised": [f"{_MODEL}distillation_weight=1"],
    "rank 4": [f"{_ARCHITECTURE}rank=4"],
    "rank 8": [f"{_ARCHITECTURE}rank=8"],
    "rank 32": [f"{_ARCHITECTURE}rank=32"],
    "target modules: all of the MLP": [f"{_MODEL}target_modules={_MLP_MODULES}"],
    "target modules: all linear layers": [f"{_MODEL}target_modules={_ALL_MODULES}"],
    "latents shared by all layers": [f"{_ARCHITECTURE}shared_latents=true"],
    "no bias adapter": [f"{_ARCHITECTURE}bias_rank=0"],
    "no gate": [f"{_ARCHITECTURE}gated=false"],
    "no retention": [f"{_MODEL}retention_weight=0"],
    "no negatives": [f"{_DATA}mixture.negatives=0"],
    "no negatives, no retention": [f"{_DATA}mixture.negatives=0", f"{_MODEL}retention_weight=0"],
    "no L1": [f"{_MODEL}l1_weight=0"],
    "100 distinct people": [f"{_DATA}distinct_people=100"],
    "1,000 distinct people": [f"{_DATA}distinct_people=1000"],
    "10,000 distinct people": [f"{_DATA}distinct_people=10000"],
}
"""The choices; the baseline has rank 16, `down_proj`, latents of each layer's own, a new person for every document."""

_SHOWN = (
    "loss/own",
    "loss/mean",
    "exact/own/closed",
    "exact/own/open",
    "exact/own/unseen-closed",
    "exact/own/unseen-open",
    "exact/other",
    "exact/own/general",
)


def run(name: str, *, seed: int, steps: int) -> dict[str, float]:
    """The last validation of the run of one variant; taken from disk if it is there."""
    slug = "".join(c if c.isalnum() else "-" for c in name).strip("-")
    path = RESULTS / f"{slug}.seed{seed}.steps{steps}.{same(name)}.json"
    if path.is_file():
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return found
    started = time.monotonic()
    command = [sys.executable, "-m", "training", "fit", "--config", str(CONFIG), "--trainer.enable_progress_bar=false"]
    command += [f"--trainer.max_steps={steps}", f"--trainer.val_check_interval={steps}"]
    command += [f"--seed_everything={seed}", f"{_DATA}seed={seed}"]
    log = RESULTS / f"{slug}.seed{seed}"
    command += [f"--trainer.default_root_dir={log}", *VARIANTS[name]]
    # Each run writes its validation to a logger of its own.
    command += [
        '--trainer.logger=[{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": '
        f'{{"save_dir": "{RESULTS}", "name": "{log.name}", "version": 0}}}}]'
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{slug}.seed{seed}.log").open("w", encoding="utf-8") as output:
        subprocess.run(  # noqa: S603  (our own program with our own arguments)
            command, check=True, stdout=output, stderr=subprocess.STDOUT, env=os.environ
        )
    result = _last_validation(log / "version_0" / "metrics.csv") | {"seconds": time.monotonic() - started}
    path.write_text(json.dumps(result), encoding="utf-8")
    return result


def same(name: str) -> str:
    """A digest of what decides the result beside seed and steps: the choice, the configuration, base model and code."""
    sources = [CONFIG, *sorted(BASE.iterdir()), *sorted(path for pattern in CODE for path in Path().glob(pattern))]
    digest = sha256(json.dumps(VARIANTS[name]).encode())
    for path in sources:
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _last_validation(path: Path) -> dict[str, float]:
    import csv

    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("exact/own")]
    return {name: float(value) for name, value in rows[-1].items() if value}


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), help="variants to run; all by default")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0], help="seeds of every variant")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps of every run")
    options = parser.parse_args()
    table = []
    for name in options.only or VARIANTS:
        for seed in options.seeds:
            result = run(name, seed=seed, steps=options.steps)
            table.append({"variant": name, "seed": seed, **result})
            cells = "  ".join(f"{key.removeprefix('exact/')} {result.get(key, float('nan')):.3f}" for key in _SHOWN)
            print(f"{name:36} seed {seed}  {cells}  {result['seconds']:.0f} s", flush=True)
    print(json.dumps({"benchmark": "ablations", "steps": options.steps, "runs": table}))


if __name__ == "__main__":
    main()
