"""Write down the flags of `lerobot-train` of the lerobot that is installed, for the tables in the wheel.

    python benchmarks/write_flags.py            # in an environment with that lerobot and its extra `eo1`

Asks lerobot's own config classes and parser for types, defaults and checks (`describe_fields`) of every
policy that registers itself, and writes `actprof/preflight_check/flags/VERSION.json.gz`. What depends on the
machine (processors, video decoders) is as on one with nothing.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from actprof.policies.train_command import describe_fields
from actprof.quiet import quiet_imports
from actprof.versions import package_version

FOLDER = Path(__file__).parent.parent / "actprof" / "preflight_check" / "flags"


def main() -> None:
    """Write the file and say how large it is."""
    with quiet_imports():
        import lerobot.policies  # noqa: F401 - registers the policies
        from lerobot.configs.policies import PreTrainedConfig
    tables = {policy: describe_fields(policy) for policy in sorted(PreTrainedConfig.get_known_choices())}
    for table in tables.values():
        if "recording" in table["defaults"]["eval"]:
            table["defaults"]["eval"]["batch_size"] = 0  # as many as processors allow, from 0.6.0 on
        table["defaults"]["dataset"]["video_backend"] = "pyav"
    path = FOLDER / f"{package_version('lerobot')}.json.gz"
    path.write_bytes(gzip.compress(json.dumps(tables, separators=(",", ":")).encode(), mtime=0))
    print(f"{path}: {len(tables)} policies, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
