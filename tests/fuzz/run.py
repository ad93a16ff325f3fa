"""Fuzzes one target with atheris until the time is over; inputs that find something new are kept in a corpus.

    python tests/fuzz/run.py safetensors --seconds 600 --corpus FOLDER

pip install atheris; without it `tests/fuzz/test_fuzz.py` still tries the seeds, the kept corpus and plain mutations.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["spar_engine", "targets", "PIL"]):
    import targets

    for data in targets.seeds(sys.argv[1]) if sys.argv[1:2] and sys.argv[1] in targets.TARGETS else ():
        targets.once(sys.argv[1], data)  # what is imported within, to be instrumented too


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz one target.")
    parser.add_argument("target", choices=targets.TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, required=True, help="folder for inputs; seeds are added to it")
    arguments = parser.parse_args()
    arguments.corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(targets.seeds(arguments.target)):
        (arguments.corpus / f"seed-{number}").write_bytes(data)
    options = [f"-max_total_time={arguments.seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=65536",
               f"-artifact_prefix={arguments.corpus}/finding-", "-print_final_stats=1"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(arguments.corpus)], lambda data: targets.once(arguments.target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
