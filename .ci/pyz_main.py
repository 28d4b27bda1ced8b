"""The `__main__.py` of oculus.pyz: says plainly why it can't run here, or hands over to shiv's loader.

It runs on whatever Python the host has, so it keeps to the syntax of Python 3.6 and to the standard
library.
"""

import os
import stat
import sys
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

# How the compiled packages of this archive end; .ci/pyz.py fills it in.
SUFFIX = "@SUFFIX@"


def refusal() -> str:
    """Return why this Python can't run the archive, or nothing."""
    if SUFFIX not in EXTENSION_SUFFIXES:
        return (
            f"oculus.pyz was built for a Python that loads *{SUFFIX}, not *{EXTENSION_SUFFIXES[0]}.\n"
            "Run it with a Python of that version, or run ./build.sh in a checkout on this host."
        )
    try:
        import_module("lzma")
    except ImportError:
        return "oculus.pyz needs a Python that was built with lzma: install liblzma-dev and build it again."
    return ""


def usable(folder: Path) -> bool:
    """Tell whether this user can write in the folder, or can make it."""
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def home_is_usable() -> bool:
    """Tell whether shiv can unpack to its own folder, ~/.shiv."""
    try:
        home = Path("~").expanduser()
        return home.is_absolute() and usable(home / ".shiv")
    except (OSError, RuntimeError):  # no home in the password file either, or one that can't be looked into
        return False


def fallback() -> str:
    """Return a folder to unpack to for a user without a home, as many a service's account is."""
    # systemd names it to a unit with CacheDirectory=, and keeps it.
    cache = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if cache:
        return cache
    # Not /tmp, which is often in memory. What lies in the folder is executed, so nobody else may own it.
    folder = Path(f"/var/tmp/oculus-{os.getuid()}")  # noqa: S108 - checked below
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            sys.exit(f"{folder} is not this user's own: set SHIV_ROOT to a folder to unpack oculus.pyz to.")
    except OSError as error:
        sys.exit(f"{error}: set SHIV_ROOT to a folder to unpack oculus.pyz to.")
    return str(folder)


if __name__ == "__main__":
    reason = refusal()
    if reason:
        sys.exit(reason)
    if not os.environ.get("SHIV_ROOT") and not home_is_usable():
        os.environ["SHIV_ROOT"] = fallback()
    # A pool of compilers saves 0.2 s once, needs /dev/shm, and leaves a helper process behind from 3.12 on.
    os.environ.setdefault("SHIV_COMPILE_WORKERS", "1")
    import_module("_bootstrap").bootstrap()
