"""Make static/css/oculus.css with Tailwind: `./build.sh styles`, after a change of templates or styles.

It needs npm. The sheet tells in its first line what it was made from, and a test whether that is current.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".ci" / "styles"
TARGET = ROOT / "static" / "css" / "oculus.css"

# What decides how the result looks: the sheets, the version of Tailwind, and where its utilities are named.
SOURCES = (
    ".ci/styles/oculus.css",
    ".ci/styles/package-lock.json",
    "static/css/src/*.css",
    "static/js/*.js",
    "views/**/*.html",
)


def sources(root: Path = ROOT) -> str:
    """Return the digest of everything that the sheet is made from."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in root.glob(pattern)):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def header(body: str, root: Path = ROOT) -> str:
    """Return the first line of a sheet: a note to readers, and the digests of its sources and of itself."""
    own = hashlib.sha256(body.encode()).hexdigest()[:16]
    return f"/* Made by ./build.sh styles from static/css/src; sources {sources(root)}, content {own}. */\n"


def main() -> None:
    """Install Tailwind where it is not, and write the sheet."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is needed to make the styles (Debian's package is called npm)")
    lock = TOOLS / "package-lock.json"
    installed = TOOLS / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=TOOLS, check=True)
        installed.touch()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.css"
        program = TOOLS / "node_modules" / ".bin" / "tailwindcss"
        command: list[str | Path] = [program, "--input", TOOLS / "oculus.css", "--output", made, "--minify"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode or not made.exists():
            sys.exit(f"{done.stdout}{done.stderr}The styles were not made.")
        body = made.read_text(encoding="utf-8")
    TARGET.write_text(header(body) + body, encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
