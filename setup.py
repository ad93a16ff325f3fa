"""Folder X/ installs as package spar_X."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
FOLDERS = ("engine", "export", "bench", "train")


def packages() -> dict[str, str]:
    """Package name -> folder, for every folder that holds Python files."""
    found = {}
    for folder in FOLDERS:
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            parts = init.parent.relative_to(ROOT).parts
            found[".".join((f"spar_{parts[0]}", *parts[1:]))] = "/".join(parts)
    return found


setup(name="spar-engine", version="0.1.0", packages=sorted(packages()), package_dir=packages())
