#!/usr/bin/env python3
"""What `run` does: programs, where their data comes from, the download of MNIST, other systems.

A copy of the script runs in a folder of its own, with small files in MNIST's place, against a
local server, and with stand-ins for the tools that would build or install anything.
"""

import functools
import gzip
import hashlib
import http.server
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
DEAD_MIRROR = "http://127.0.0.1:1/"


class Handler(http.server.SimpleHTTPRequestHandler):
    requests = []

    def do_GET(self):
        self.requests.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


class RunScript(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.root = self.folder / "a clone"
        self.home = self.folder / "home"
        self.tools = self.folder / "tools"
        self.server_root = self.folder / "server"
        self.fashion = self.folder / "fashion"
        for path in (self.root, self.home, self.tools, self.server_root):
            path.mkdir()
        self.cache = self.home / ".cache/gradgraph/mnist"

        text = (ROOT / "run").read_text(encoding="utf-8")
        text = text.replace("/usr/share/datasets/fashion-mnist", str(self.fashion))
        for name in FILES:
            content = f"the content of {name}\n".encode() * 500
            sum_line = f"[{name}]={hashlib.sha256(content).hexdigest()}"
            text, count = re.subn(rf"\[{name}\]=[0-9a-f]{{64}}", sum_line, text)
            self.assertEqual(count, 1)
            self.serve("good", name, gzip.compress(content))
        self.script = self.root / "run"
        self.script.write_text(text, encoding="utf-8")
        self.script.chmod(0o755)

        for name in ("mnist_small", "other"):
            source = self.root / "graph_examples" / name / "main.cpp"
            source.parent.mkdir(parents=True)
            source.write_text(f"/// What {name} is.\nint main() {{}}\n", encoding="utf-8")
            program = self.root / "build/graph_examples" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            self.write_program(program, 'echo "started with [$*] in $(pwd)"')
        (self.root / "build/build.ninja").touch()
        self.tool("ninja", 'echo "ninja: no work to do."')
        self.tool("sudo", 'if [ "$1" != -v ]; then exec "$@"; fi')
        self.tool("dpkg-query", "shift 2; printf 'installed %s\\n' \"$@\" | grep -v fashion")
        self.tool("apt-cache", "exit 0")
        self.tool("apt-get", f'echo "$*" >>"{self.folder}/apt-get.log"; exit 100')

        Handler.requests = []
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(self.server_root)))
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.address = f"http://127.0.0.1:{server.server_port}/"

    def write_program(self, path, body):
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)

    def tool(self, name, body):
        self.write_program(self.tools / name, body)

    def serve(self, mirror, name, content):
        file = self.server_root / mirror / (name + ".gz")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)

    def serve_all_but(self, mirror, name, content):
        shutil.copytree(self.server_root / "good", self.server_root / mirror)
        self.serve(mirror, name, content)

    def good(self, name):
        return (self.server_root / "good" / (name + ".gz")).read_bytes()

    def run_script(self, *arguments, mirrors=("good",), path=None, cwd=None, **variables):
        mirrors = [m if m.startswith("http") else self.address + m for m in mirrors]
        environment = {
            "HOME": str(self.home),
            "PATH": f"{self.tools}:{path or os.environ['PATH']}",
            "GRADGRAPH_MNIST_MIRRORS": " ".join(mirrors),
            **variables,
        }
        return subprocess.run([str(self.script), *arguments], cwd=cwd or self.folder, text=True,
                              env=environment, capture_output=True, timeout=60, check=False)

    def check_cache_is_good(self):
        found = {file.name: file.read_bytes() for file in self.cache.iterdir()}
        self.assertEqual(found, {name + ".gz": self.good(name) for name in FILES})

    # --- download ---

    def test_good_files_are_downloaded_once(self):
        result = self.run_script("data")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.check_cache_is_good()
        self.assertEqual(len(Handler.requests), 4)
        self.assertEqual(self.run_script("data").returncode, 0)
        self.assertEqual(len(Handler.requests), 4)

    def test_cache_folder_follows_xdg(self):
        self.run_script("data", XDG_CACHE_HOME=str(self.folder / "xdg"))
        self.assertEqual(len(list((self.folder / "xdg/gradgraph/mnist").iterdir())), 4)

    def test_only_missing_files_are_downloaded(self):
        self.cache.mkdir(parents=True)
        for name in FILES[:3]:
            (self.cache / (name + ".gz")).write_bytes(self.good(name))
        self.assertEqual(self.run_script("data").returncode, 0)
        self.assertEqual(Handler.requests, [f"/good/{FILES[3]}.gz"])
        self.check_cache_is_good()

    def check_second_mirror_helps(self, first, message, **options):
        result = self.run_script("data", mirrors=(first, "good"), **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(message, result.stderr)
        self.check_cache_is_good()

    def test_wrong_file(self):
        self.serve_all_but("wrong", FILES[0], gzip.compress(b"something else"))
        self.check_second_mirror_helps("wrong", f"{FILES[0]}.gz is cut or not MNIST's")

    def test_cut_file(self):
        self.serve_all_but("cut", FILES[2], self.good(FILES[2])[:-9])
        self.check_second_mirror_helps("cut", f"{FILES[2]}.gz is cut or not MNIST's")

    def test_error_page_instead_of_file(self):
        self.serve_all_but("page", FILES[1], b"<html>Log in to this network</html>")
        self.check_second_mirror_helps("page", f"{FILES[1]}.gz is cut or not MNIST's")

    def test_missing_file(self):
        self.check_second_mirror_helps("nowhere", "could not get")

    def test_dead_mirror(self):
        self.check_second_mirror_helps(DEAD_MIRROR, "could not get")

    @unittest.skipUnless(shutil.which("wget"), "wget is not installed")
    def test_wget_serves_where_there_is_no_curl(self):
        without_curl = self.folder / "without_curl"
        without_curl.mkdir()
        for tool in pathlib.Path("/usr/bin").iterdir():
            if tool.name != "curl":
                (without_curl / tool.name).symlink_to(tool)
        self.check_second_mirror_helps("nowhere", "could not get", path=str(without_curl))

    def test_fashion_mnist_is_the_last_resort(self):
        self.tool("apt-get", f'echo "$*" >>"{self.folder}/apt-get.log"; mkdir "{self.fashion}"')
        result = self.run_script("data", mirrors=("nowhere", DEAD_MIRROR))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("Fashion-MNIST", result.stderr)
        self.assertIn("install --no-install-recommends dataset-fashion-mnist",
                      (self.folder / "apt-get.log").read_text())
        self.assertEqual(list(self.cache.iterdir()), [])

    def test_no_data_at_all_is_a_clear_error(self):
        self.serve_all_but("cut", FILES[2], self.good(FILES[2])[:100])
        result = self.run_script("data", mirrors=("cut",))
        self.assertEqual(result.returncode, 1)
        self.assertIn("there is no data to train on", result.stderr)
        self.assertIn("--data DIR or MNIST_DIR", result.stderr)
        self.assertNotIn(FILES[2] + ".gz", [file.name for file in self.cache.iterdir()])

    # --- programs and their data ---

    def test_program_downloads_what_it_misses(self):
        result = self.run_script("mnist_small", "--epochs", "1")
        self.assertEqual(result.stdout, f"started with [--epochs 1] in {self.folder}\n")
        self.check_cache_is_good()

    def test_program_with_data_downloads_nothing(self):
        (self.folder / "here/data/mnist").mkdir(parents=True)
        for arguments, options in ((("--data", "x"), {}), (("--data=x",), {}), (("--help",), {}),
                                   ((), {"MNIST_DIR": "x"}), ((), {"cwd": self.folder / "here"})):
            result = self.run_script("mnist_small", *arguments, **options)
            self.assertIn(f"started with [{' '.join(arguments)}]", result.stdout)
        self.assertIn("started with []", self.run_script("other").stdout)
        self.assertEqual(Handler.requests, [])

    def test_data_folder_of_the_clone_is_found_from_anywhere(self):
        (self.root / "data/mnist").mkdir(parents=True)
        result = self.run_script("mnist_small", "--quiet")
        self.assertIn(f"started with [--data {self.root}/data/mnist --quiet]", result.stdout)
        self.assertEqual(Handler.requests, [])

    def test_replay_starts_the_program_of_the_bundle(self):
        bundle = self.folder / "kept" / "step-00000007"
        bundle.mkdir(parents=True)
        (bundle / "manifest.json").write_text(
            '{\n "content": {\n  "program": "other",\n  "seed": 1\n }\n}\n', encoding="utf-8")
        result = self.run_script("replay", str(bundle))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f"started with [--replay {bundle}]", result.stdout)
        result = self.run_script("replay", "kept")
        self.assertEqual(result.returncode, 2)
        self.assertIn("kept", result.stderr)

    def test_status_of_the_program_is_passed_on(self):
        self.write_program(self.root / "build/graph_examples/other", "exit 7")
        self.assertEqual(self.run_script("other").returncode, 7)

    # --- commands ---

    def test_list_of_commands(self):
        result = self.run_script()
        self.assertEqual(result.returncode, 0)
        for part in ("setup", "test [FILTER]", "format", "gpu-accept", "What mnist_small is.",
                     "other"):
            self.assertIn(part, result.stdout)

    def test_unknown_name(self):
        result = self.run_script("mnist_smal")
        self.assertEqual(result.returncode, 2)
        self.assertIn("there is no command or program 'mnist_smal'", result.stderr)
        self.assertIn("mnist_small ", result.stderr)
        self.assertEqual(result.stdout, "")

    def test_unknown_flags(self):
        for command in ("test", "format", "install"):
            result = self.run_script(command, "--nonsense")
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"{command} knows", result.stderr)

    # --- compilers and their warnings ---

    def ninja_with(self, *lines):
        """There is something to build, and this is what Ninja prints."""
        log = self.folder / "ninja.log"
        text = "\\n".join(lines)
        self.tool("ninja", f"""case "$*" in
            *" -n "*) echo "[1/1] Compiling" ;;
            *) echo "$*" >>"{log}"; printf '{text}\\n' ;;
        esac""")
        return log

    def test_a_warning_is_shown_and_stops_no_program(self):
        warning = "src/a.cpp:1: warning: unused"
        self.ninja_with("[1/2] Compiling C++ object src/x.p/a.cpp.o", warning,
                        "[2/2] Compiling C++ object src/x.p/b.cpp.o")
        result = self.run_script("other")
        self.assertEqual((result.returncode, result.stdout),
                         (0, f"started with [] in {self.folder}\n"))
        self.assertIn(warning, result.stderr)
        self.assertNotIn("b.cpp.o", result.stderr)

    def test_a_warning_fails_the_tests_that_come_later(self):
        objects = self.root / "build/src/x.p"
        objects.mkdir(parents=True)
        for name in ("a.cpp.o", "b.cpp.o"):
            (objects / name).touch()
        listed = 3 * '<TestCase name="a case" filename="test_a.cpp" skipped="false"/>'
        for name, cases in (("gradgraph_tests", listed), ("cuda/cuda_tests", ""),
                            ("cuda_emulation/cuda_emulation_tests", "")):
            program = self.root / "build/tests" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            self.write_program(program, f"""case "$*" in
                *--list-test-cases*) echo '<doctest>{cases}</doctest>' ;;
                *) echo 'test cases: 3 | 3 passed | 0 failed | 0 skipped' ;;
            esac""")
        (self.root / "tests/running").mkdir(parents=True)
        shutil.copy(ROOT / "tests/running/side_by_side.py", self.root / "tests/running")
        step = "[1/2] Compiling C++ object src/x.p/a.cpp.o"
        self.ninja_with(step, "a.cpp:1: warning: unused",
                        "[2/2] Compiling C++ object src/x.p/b.cpp.o")
        self.run_script("other")
        self.ninja_with("[1/1] Linking target x")
        result = self.run_script("test")
        self.assertEqual(result.returncode, 0)
        self.assertIn("3 passed, 0 failed", result.stdout)
        # Compiled again, and only that.
        self.assertEqual([file.name for file in objects.iterdir()], ["b.cpp.o"])

        self.ninja_with(step, "a.cpp:1: warning: unused")
        result = self.run_script("test")
        self.assertEqual(result.returncode, 1)
        self.assertIn("FAILED warnings", result.stdout)
        self.assertIn("    src/x.p/a.cpp.o\n3 passed, 1 failed\n", result.stdout)

    def test_a_failing_build_is_an_error(self):
        self.tool("ninja", "echo '[1/1] Compiling a.o'; echo 'a.cpp:1: error: no'; exit 1")
        result = self.run_script("other")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("a.cpp:1: error: no", result.stderr)
        self.assertIn("the build failed", result.stderr)

    def test_another_compiler_has_a_folder_and_packages_of_its_own(self):
        for compiler, folder, package in (("clang++", "build-clang++", "clang"),
                                          ("ccache clang++-19", "build-clang++-19", "clang-19"),
                                          ("/usr/bin/g++-14", "build-g++-14", "g++-14")):
            program = self.root / folder / "graph_examples/other"
            program.parent.mkdir(parents=True)
            (self.root / folder / "build.ninja").touch()
            self.write_program(program, f"echo started {folder}")
            self.tool("dpkg-query", f"""shift 2
                case " $* " in *" {package} "*) ;; *) echo no {package}; exit ;; esac
                printf 'installed %s\\n' "$@" """)
            result = self.run_script("other", CXX=compiler)
            self.assertEqual(result.stdout, f"started {folder}\n", result.stderr)

    # --- formatting ---

    def test_another_clang_format_formats_nothing(self):
        self.tool("clang-format-14", "exit 127")
        self.tool("clang-format", "echo 'Debian clang-format version 19.1.7 (3)'")
        self.tool("apt-cache", "exit 100")
        for flags, status in ((["--check"], 77), ([], 1)):
            result = self.run_script("format", *flags)
            self.assertEqual(result.returncode, status)
            self.assertIn("formatted by clang-format 14, which this system does not have",
                          result.stderr)

    def test_the_right_clang_format_is_found_and_takes_files(self):
        version = "echo 'Debian clang-format version 14.0.6'"
        self.tool("clang-format", f'if [ "$1" = --version ]; then {version}; else echo "$@"; fi')
        self.tool("clang-format-14", "exit 127")
        result = self.run_script("format", "--check", "a.cpp", "b c.h")
        self.assertEqual(result.stdout, "--dry-run -Werror -- a.cpp b c.h\n", result.stderr)

    # --- installing ---

    def test_installing_builds_the_library_alone_and_says_what_to_set(self):
        pc = self.root / "build/meson-private/gradgraph.pc"
        pc.parent.mkdir()
        pc.write_text("libdir=${prefix}/lib\n", encoding="utf-8")
        log = self.ninja_with("[1/1] Linking target libgradgraph.so")
        self.tool("meson", """for tree; do :; done
            mkdir -p "$tree/opt/x/lib" && touch "$tree/opt/x/lib/libgradgraph.a" """)
        prefix = self.folder / "a prefix"
        result = self.run_script("install", "--prefix", str(prefix))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(log.read_text(), r"\A-j \d+ library\n\Z")
        self.assertTrue((prefix / "lib/libgradgraph.a").exists())
        done = subprocess.run(["bash", "-c", result.stdout +
                               'echo "$PKG_CONFIG_PATH:$CMAKE_PREFIX_PATH"'],
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, f"{prefix}/lib/pkgconfig:{prefix}\n")

    def test_what_is_tested_or_installed_has_code_for_other_processors_too(self):
        settings = self.root / "build/meson-private/cmd_line.txt"
        settings.parent.mkdir()
        self.tool("ninja", "exit 1")
        log = self.folder / "meson.log"
        self.tool("meson", f'echo "$*" >>"{log}"')
        for native in (True, False):
            settings.write_text("[options]\n" + "isa_levels = native\n" * native,
                                encoding="utf-8")
            for command in ("test", "bench", "install"):
                log.write_text("", encoding="utf-8")
                self.run_script(command)
                changes = log.read_text().count("-Disa_levels=all")
                self.assertEqual(changes, 1 if native else 0, (command, log.read_text()))

    # --- GPUs ---

    def test_a_pack_holds_what_another_machine_lacks(self):
        build, program = self.root / "build-gpu", shutil.which("ls")
        for name in ("graph_examples/mnist_mlp", "graph_examples/mnist_cnn",
                     "tests/cuda/gpu_tests", "bench/gpu_products", "bench/beyond_mnist"):
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(program, build / name)
        (build / "build.ninja").touch()
        for name in ("bench/peers", "bench/gpu", "tests/golden"):
            shutil.copytree(ROOT / name, self.root / name)
        for name in ("nvcc", "meson"):
            self.tool(name, f'echo "$*" >>"{self.folder}/{name}.log"')
        pack = self.folder / "a pack"
        result = self.run_script("gpu-accept", "--pack", str(pack), "--architectures", "sm_90")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f" MB in {pack}; on the machine with the GPU: python3 a pack/accept.py",
                      result.stderr)
        self.assertEqual((self.folder / "meson.log").read_text(),
                         f"configure {build} -Dcuda=enabled -Dgpu_architectures=sm_90\n")
        self.assertTrue((pack / "accept.py").exists())
        for module in ("common", "race", "pytorch_cuda", "jax_cuda", "beyond_torch"):
            self.assertTrue((pack / f"peers/{module}.py").exists())
        with tarfile.open(pack / "programs.tar.gz") as archive:
            names = archive.getnames()
        needed = subprocess.run(["ldd", program], capture_output=True, text=True,
                                check=True).stdout
        needed = set(re.findall(r"(\S+) => /", needed)) - {"libc.so.6"}
        self.assertEqual({name[6:] for name in names if name.startswith("./lib/")}, needed)
        for name in ("./bin/mnist_mlp", "./bin/gpu_tests", "./golden/op_values.json"):
            self.assertIn(name, names)

    def test_a_pack_checks_nothing_itself(self):
        result = self.run_script("gpu-accept", "--pack", "x", "--only", "start")
        self.assertEqual(result.returncode, 1)
        self.assertIn("gpu-accept: --pack does not go with --only", result.stderr)

    # --- other systems ---

    def test_other_systems_take_root(self):
        self.folder.chmod(0o755)
        become = []
        if os.geteuid() == 0:
            become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        result = subprocess.run([*become, str(self.script), "test-systems"], capture_output=True,
                                text=True, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr, "run: test-systems makes roots of other systems and "
                         "enters them, which takes root: sudo ./run test-systems\n")

    @unittest.skipUnless(os.geteuid() == 0, "test-systems takes root")
    def test_a_system_that_fails_does_not_stop_the_others(self):
        script = self.root / "tests/systems/run.py"
        script.parent.mkdir(parents=True)
        shutil.copy(ROOT / "tests/systems/run.py", script)
        self.tool("apt-get", "echo 'Debian main http://mirror.invalid/debian'")
        self.tool("debootstrap", f"""echo "$@" >>"{self.folder}/debootstrap.log"
            [ "$2" = bookworm ] || exit 1
            mkdir -p "$3/root" "$3/etc/apt/apt.conf.d" """)
        self.tool("git", 'for clone; do :; done; [ "$1" != clone ] || mkdir -p "$clone"')
        self.tool("chroot", "echo 1.2.3")
        self.tool("unshare", """case "$*" in
            *clang++*./run\\ test)
                echo 'FAILED tests/x.py'
                echo '7 passed, 1 failed'
                exit 1 ;;
            *./run\\ test) echo '8 passed, 0 failed' ;;
        esac""")
        data = self.folder / "mnist"
        data.mkdir()
        for _ in range(2):
            result = self.run_script("test-systems", MNIST_DIR=str(data))
            self.assertEqual(result.returncode, 1, result.stderr)
            rows = [re.split("  +", line) for line in result.stdout.splitlines()]
            self.assertEqual([[re.sub(r" \(\d+:\d\d\)", "", cell) for cell in row]
                              for row in rows if row[0] in ("Debian 12", "Debian 13")], [
                ["Debian 12", "g++ 1.2.3", "1.2.3", "passed", "passed: 8 passed, 0 failed"],
                ["Debian 12", "clang++ 1.2.3", "1.2.3", "passed", "FAILED: 7 passed, 1 failed"],
                ["Debian 13", "g++", "-", "FAILED: no root", "not run"],
                ["Debian 13", "clang++", "-", "FAILED: no root", "not run"]])
            self.assertIn("  FAILED tests/x.py\n", result.stdout)
            log = self.root / "build-systems/bookworm-clang++.log"
            self.assertIn("7 passed", log.read_text(encoding="utf-8"))
        # A root is made once, from the mirror that apt names.
        made = (self.folder / "debootstrap.log").read_text().splitlines()
        self.assertEqual(sum("bookworm" in line for line in made), 1)
        self.assertTrue(all(line.endswith(" http://mirror.invalid/debian") for line in made))

    def test_missing_package_that_cannot_be_installed(self):
        self.tool("dpkg-query", "shift 2; printf 'installed %s\\n' \"$@\" | grep -v meson")
        result = self.run_script("other")
        self.assertEqual(result.returncode, 1)
        self.assertIn("installing with apt-get, to build gradgraph: meson\n", result.stderr)
        self.assertIn("cannot install packages", result.stderr)
        self.assertIn("update", (self.folder / "apt-get.log").read_text())

    def test_it_runs_through_a_link(self):
        link = self.folder / "link"
        link.symlink_to(self.script)
        self.script = link
        self.assertIn("started with []", self.run_script("other").stdout)


if __name__ == "__main__":
    unittest.main()
