"""Build dist/oculus.pyz: the wheel, the packages of requirements.lock and shiv's loader in one file.

`./build.sh` runs it in the project's `.venv`. The same sources and lock file give the same bytes. Compiled
packages are those of this machine, so the file runs on the same kind of processor and Python.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "dist" / "oculus.pyz"

# 1980-01-01, the first day a zip archive can name: the file must not depend on the day of its build.
EPOCH = "315532800"

# What the running program never reads. Package metadata and licences stay.
UNUSED = (
    *("bin", "include", "share"),
    # types
    *("_duckdb-stubs", "**/*.pyi", "**/py.typed"),
    # tests; gevent/testing serves gevent's only
    *("**/test", "**/tests", "gevent/testing"),
    # what the compiled modules were compiled from
    *("**/*.c", "**/*.cpp", "**/*.h", "**/*.hpp", "**/*.pxd", "**/*.pxi", "**/*.pyx", "greenlet/platform"),
    # needs cffi, which isn't installed; gevent runs on libev
    *("gevent/libuv", "gevent/libev/_corecffi*"),
    # DuckDB in the clothes of Spark
    "duckdb/experimental",
    # another way to look names up, which only an environment variable would choose
    "gevent/resolver/*.so",
    # speed for guessing the encoding of texts, which nothing here does; the same is there in Python
    "charset_normalizer/*.so",
    # speed for a debugger, which is not used; the same is there in Python
    "gevent/_gevent_c_tracer*.so",
    # tables of zones by country, and all rules once more in one text: nothing here reads them
    *(f"pytz/zoneinfo/{name}" for name in ("*.tab", "*.zi", "leapseconds")),
    # requests in a browser, and answers of other servers than ours
    "urllib3/contrib/emscripten",
    *(f"prometheus_client/{name}" for name in ("aiohttp", "bridge", "django", "twisted")),
    # what the style sheet was made from
    "oculus/static/css/src",
    # other systems
    *(f"psutil/_ps{system}.py" for system in ("aix", "bsd", "osx", "sunos", "windows")),
    # pip's notes about the installation, some of which name the folder of the build
    *("*.dist-info/INSTALLER", "*.dist-info/RECORD", "*.dist-info/REQUESTED", "*.dist-info/direct_url.json"),
)


def python(*arguments: str | Path) -> None:
    """Run a module of this environment in the project's folder; show what it says only when it fails."""
    command = [sys.executable, "-m", *map(str, arguments)]
    environment = {"SOURCE_DATE_EPOCH": EPOCH, **os.environ}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}oculus.pyz was not built: {arguments[0]} failed.")


def install(site_packages: Path, scratch: Path) -> None:
    """Fill `site_packages` with the locked packages and with Oculus itself."""
    python(
        *("pip", "install", "--no-compile", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--requirement", ROOT / "requirements.lock", "--target", site_packages),
    )
    python("hatchling", "build", "--target", "wheel", "--directory", scratch)
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)


def prune(site_packages: Path) -> None:
    """Delete what the running program never reads, and debugging symbols when binutils is at hand."""
    for path in [path for pattern in UNUSED for path in site_packages.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            # Gone already when its folder was deleted.
            path.unlink(missing_ok=True)
    for path in site_packages.glob("*.dist-info/METADATA"):
        # The fields; what follows them is the package's page for people, 70 kB in all.
        path.write_bytes(path.read_bytes().partition(b"\n\n")[0] + b"\n")
    if strip := shutil.which("strip"):
        # Saves 1 MB, mostly of pyyaml, gevent and greenlet.
        subprocess.run([strip, "--strip-unneeded", *site_packages.rglob("*.so")], check=True)


def bundle(site_packages: Path, bundled: Path) -> None:
    """Let shiv write the archive; uncompressed, because `compress` rewrites it anyway."""
    python(
        *("shiv", "--site-packages", site_packages, "--output-file", bundled),
        *("--entry-point", "oculus.__main__:main", "--python", "/usr/bin/env python3"),
        *("--reproducible", "--uncompressed"),
        # Compiled once while unpacking, so that even the first start of another user is quick.
        "--compile-pyc",
    )


def compress(bundled: Path, target: Path) -> None:
    """Copy shiv's archive with its packages in LZMA, a quarter smaller than deflate.

    shiv unpacks the packages with `zipfile`, which reads LZMA; Python itself loads all the rest from
    the archive, and knows only deflate.
    """
    with zipfile.ZipFile(bundled) as source, target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w") as archive:
            for member in source.infolist():
                content = source.read(member)
                if member.filename == "__main__.py":
                    content = loader()
                packed = member.filename.startswith("site-packages/")
                member.compress_type = zipfile.ZIP_LZMA if packed else zipfile.ZIP_DEFLATED
                # The builder's umask must not show: it would change the bytes.
                executable = (member.external_attr >> 16) & stat.S_IXUSR
                member.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
                archive.writestr(member, content)
    target.chmod(0o755)


def loader() -> bytes:
    """Return the `__main__.py` of the archive, which refuses Pythons that can't load its packages."""
    text = (ROOT / ".ci" / "pyz_main.py").read_text(encoding="utf-8")
    return text.replace("@SUFFIX@", EXTENSION_SUFFIXES[0]).encode()


def main() -> None:
    """Build the archive beside its final name, and put it there only when it is complete."""
    TARGET.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TARGET.parent, prefix=".pyz-") as folder:
        scratch = Path(folder)
        site_packages = scratch / "site-packages"
        install(site_packages, scratch)
        prune(site_packages)
        bundle(site_packages, scratch / "bundled.pyz")
        compress(scratch / "bundled.pyz", scratch / "oculus.pyz")
        # A running Oculus keeps the old file: it is replaced, not overwritten.
        (scratch / "oculus.pyz").replace(TARGET)
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
