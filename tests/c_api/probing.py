"""Runs spar_probe, which shows one piece of the C library at a time."""

from __future__ import annotations

import struct
import subprocess
import threading
from pathlib import Path

import numpy as np


class Refused(Exception):
    """The words of an error."""


class Probe:
    def __init__(self, program: Path):
        self.program = program

    def all(self, command: str, records: list[bytes], argument: str = "") -> list[bytes | Refused]:
        """What the program answers to each record; AssertionError where it ends before the last one."""
        running = subprocess.Popen([self.program, command, argument], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)  # fmt: skip

        def feed() -> None:
            try:
                for record in records:
                    running.stdin.write(struct.pack("<I", len(record)) + record)
                running.stdin.close()
            except BrokenPipeError:
                pass

        feeder = threading.Thread(target=feed)
        feeder.start()
        output, errors = running.stdout.read(), running.stderr.read()
        feeder.join()
        code = running.wait()
        found, at = [], 0
        while at < len(output):
            (size,) = struct.unpack_from("<I", output, at)
            text = output[at + 4 : at + 4 + size]
            found.append(text[1:] if text[:1] == b"+" else Refused(text[1:].decode()))
            at += 4 + size
        assert code == 0, f"exit {code} after {len(found)} of {len(records)} records: {errors.decode()[-2000:]}"
        assert len(found) == len(records)
        return found

    def one(self, command: str, record: bytes | str, argument: str = "") -> bytes:
        """The answer to one record; raises Refused."""
        (found,) = self.all(command, [record.encode() if isinstance(record, str) else record], argument)
        if isinstance(found, Refused):
            raise found
        return found

    def array(self, command: str, numbers: str, array: np.ndarray, dtype: type) -> np.ndarray:
        return np.frombuffer(self.one(command, f"{numbers}\n".encode() + array.tobytes()), dtype)
