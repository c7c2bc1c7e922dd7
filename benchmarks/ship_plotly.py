"""Make the chart library that comes with actprof (`actprof/report/vendor/`), and print its size.

    python benchmarks/ship_plotly.py

plotly.js from npm with the kinds of traces that our pages draw and no others, made small by esbuild and
packed as gzip: pages hold that file as it is, and unpack it in the browser. Needs npm; the same versions
give the same bytes.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import actprof.report
from actprof.files import write_whole
from actprof.units import format_bytes

PLOTLY, ESBUILD = "4.1.1", "0.28.2"
TRACES = ("bar", "heatmap", "icicle")  # beside scatter, which is always in it
VENDOR = Path(actprof.report.__file__).parent / "vendor"
BANNER = f"/* plotly.js v{PLOTLY} (scatter, {', '.join(TRACES)}). MIT licence, Copyright Plotly, Inc. */"


def main() -> None:
    """Fetch, bundle, pack, and put library and licence in their place."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is not installed; it comes with Node.js")
    with TemporaryDirectory() as name:
        folder = Path(name)
        packages = (f"plotly.js@{PLOTLY}", f"esbuild@{ESBUILD}")
        subprocess.run((npm, "install", "--no-audit", "--no-fund", *packages), cwd=folder, check=True)
        library = _bundle(folder)
        licence = folder / "node_modules" / "plotly.js" / "LICENSE"
        write_whole(VENDOR / "LICENSE", licence.read_bytes())
    packed = gzip.compress(library, 9, mtime=0)
    write_whole(VENDOR / "plotly.js.gz", packed)
    print(f"plotly.js {PLOTLY}: {format_bytes(len(library))}, packed {format_bytes(len(packed))}")


def _bundle(folder: Path) -> bytes:
    """Return the library as one script that sets `Plotly`."""
    kinds = ", ".join(f'require("plotly.js/lib/{kind}")' for kind in TRACES)
    lines = (
        'const Plotly = require("plotly.js/lib/core");', f"Plotly.register([{kinds}]);",
        "module.exports = Plotly;",
    )  # fmt: skip
    (folder / "entry.js").write_text("\n".join(lines), encoding="utf-8")
    options = (
        "--bundle", "--minify", "--format=iife", "--global-name=Plotly", "--target=es2020",
        "--define:global=window", "--legal-comments=eof", "--charset=utf8", f"--banner:js={BANNER}",
        "--outfile=plotly.js",
    )  # fmt: skip
    esbuild = folder / "node_modules" / ".bin" / "esbuild"
    subprocess.run((esbuild, "entry.js", *options), cwd=folder, check=True)
    return (folder / "plotly.js").read_bytes()


if __name__ == "__main__":
    main()
