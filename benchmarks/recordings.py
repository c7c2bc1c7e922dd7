"""Print how many allocations of recorded runs the simulated allocator puts at the recorded address.

    python benchmarks/recordings.py FILE_OR_FOLDER [...]

A file is a snapshot of `torch.cuda.memory._dump_snapshot`, or a stripped recording (*.json.gz); a folder may
hold many. A recording that begins mid-run is rewound from its end first.
"""

from __future__ import annotations

import sys
from pathlib import Path

from actprof.snapshots.recording import open_recording
from actprof.snapshots.verify import verify


def main() -> None:
    """Print one row for each recording that is not matched in everything, and the sums."""
    paths = [Path(argument) for argument in sys.argv[1:]]
    files = [file for path in paths for file in (sorted(path.glob("*")) if path.is_dir() else [path])]
    files = [file for file in files if file.name.endswith((".pickle", ".json.gz"))]
    if not files:
        sys.exit(__doc__)
    totals = {"allocations": 0, "segment_allocs": 0, "segment_frees": 0}
    matching, exact = dict.fromkeys(totals, 0), 0
    for file in files:
        found = verify(open_recording(file)).to_json()
        for name in totals:
            totals[name] += found[name]
            matching[name] += found[f"{name}_matching"]
        counts_alike = all(found[name] == found[f"{name}_matching"] for name in totals)
        alike = counts_alike and found["final_state_equal"]
        exact += alike
        if not alike:
            why = "its start is ambiguous" if found["ambiguous_start"] else found["first_mismatch"]
            share = f"{found['allocations_matching']} of {found['allocations']} allocations"
            print(f"{file.name}: {share}; {why}")
    print(f"{exact} of {len(files)} recordings alike in everything")
    for name, total in totals.items():
        print(f"{name}: {matching[name]:,} of {total:,}")


if __name__ == "__main__":
    main()
