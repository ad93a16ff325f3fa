"""The stages that a command line asks for, in every process that shares the work."""

from __future__ import annotations

import argparse

import torch

from .lab import Lab
from .loop import Trainer
from .stages import SHARES, STAGES


def stages(args: argparse.Namespace) -> None:
    """Runs one stage, or all that have budget left."""
    torch.set_num_threads(args.threads)
    for name in STAGES if args.command == "all" else [args.command]:
        share = SHARES[name] / sum(SHARES.values()) if args.command == "all" else 1.0
        lab = Lab(args.out, list(STAGES), without=args.without)
        if name == lab.without or not share:
            continue
        Trainer(lab, STAGES[name](lab), args.budget_minutes * share).run()
