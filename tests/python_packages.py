"""Python packages that tests need and systems rarely have."""

import os
import pathlib
import subprocess
import sys

SKIPPED = 77


def provide(*packages, **others):
    """Makes the packages importable, from the user's cache or from PyPI; where neither has them,
    ends the test as skipped, with the reason. Of `others` the module has another name."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "gradgraph" / version
    modules = {name: name for name in packages} | others
    missing = [name for name, module in modules.items() if not (folder / module).exists()]
    if missing:
        install = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:",
             "--upgrade", "--disable-pip-version-check", "--target", folder, *missing],
            capture_output=True, text=True, check=False)
        if install.returncode != 0:
            reason = (install.stderr.strip().splitlines() or ["pip failed"])[-1]
            print(f"{', '.join(missing)}: neither here nor to be had: {reason}")
            sys.exit(SKIPPED)
    sys.path.insert(0, str(folder))
