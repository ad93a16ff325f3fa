"""The Triton kernels on the CPU, through Triton's interpreter; it must be chosen before a kernel is imported."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"
