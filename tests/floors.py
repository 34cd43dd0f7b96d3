"""
Prints the oldest libraries that the project allows, and the newest test tools, one requirement a line.

    python tests/floors.py > floors.txt
"""

import re
import tomllib
from pathlib import Path

TESTING = ("fakeredis", "hypothesis", "pytest", "pytest-timeout", "pyyaml")


def requirements(project: dict[str, object], groups: dict[str, list[str]]) -> list[str]:
    oldest = [re.sub(r">=([^,]+).*", r"==\1", line) for line in project["dependencies"]]  # type: ignore[attr-defined]
    embedded = project["optional-dependencies"]["embedded"]  # type: ignore[index]
    testing = [line for line in groups["dev"] if line.startswith(TESTING)]
    return [*oldest, *embedded, *testing]


if __name__ == "__main__":
    top = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists())
    document = tomllib.loads((top / "pyproject.toml").read_text(encoding="utf-8"))
    print("\n".join(requirements(document["project"], document["dependency-groups"])))
