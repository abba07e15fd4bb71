"""Makes a folder that checks a GPU where there is no more than a driver, cuBLAS and Python:
accept.py, the peers' scripts, and programs with the libraries of Debian that they need.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# The C library's own parts come with every system.
EVERYWHERE = re.compile(r"lib(c|m|dl|rt|pthread)\.so|ld-linux")
PEERS = ("common.py", "race.py", "pytorch_cuda.py", "jax_cuda.py", "beyond.py",
         "beyond_torch.py", "beyond_jax.py")


def libraries_of(programs):
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    if missing := re.findall(r"(\S+) => not found", listed):
        sys.exit(f"not found: {', '.join(missing)}")
    paths = set(re.findall(r"=> (/.*) \(", listed))
    return sorted(path for path in paths if not EVERYWHERE.match(pathlib.Path(path).name))


def pack(folder, programs):
    (folder / "peers").mkdir(parents=True, exist_ok=True)
    for name in PEERS:
        shutil.copy(ROOT / "bench/peers" / name, folder / "peers")
    shutil.copy(ROOT / "bench/gpu/accept.py", folder)
    with tempfile.TemporaryDirectory() as scratch:
        tree = pathlib.Path(scratch)
        for name, files in (("bin", programs), ("lib", libraries_of(programs))):
            (tree / name).mkdir()
            for file in files:
                shutil.copy(file, tree / name)
                subprocess.run(["strip", tree / name / pathlib.Path(file).name], check=True)
        shutil.copytree(ROOT / "tests/golden", tree / "golden")
        subprocess.run(["tar", "-C", tree, "-czf", folder / "programs.tar.gz", "."], check=True)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{size / 1e6:.0f} MB in {folder}; on the machine with the GPU: "
          f"python3 {folder.name}/accept.py --data DIR", file=sys.stderr)


build = pathlib.Path(sys.argv[2])
pack(pathlib.Path(sys.argv[1]), [build / program for program in sys.argv[3:]])
