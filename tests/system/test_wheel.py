"""The wheel for the running Python, in a fresh environment from which no compiler can be found.

Libraries are those of the environment that runs the tests; the inspector is the wheel's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
TRACE: Final = ROOT / "tests" / "golden" / "traces" / "mapper-original-case-inner.pcapng"
SUFFIX: Final = sysconfig.get_config_var("EXT_SUFFIX")
# Reads a trace as the command does, then prints where the engine came from: a line for each.
READ: Final = f"""
import sys
from inspector import cli, decode
assert cli.main(["read", "--json", {str(TRACE)!r}]) == 0
engine = sys.modules.get("inspector.decode.engine")
print(decode.is_compiled(), engine and engine.__file__)
"""

# Compiling takes a quarter of a minute, and several on a busy machine.
pytestmark = pytest.mark.timeout(900)


class Installed(NamedTuple):
    """A wheel, and the environment in which it is installed."""

    wheel: Path
    environment: Path

    def read(self) -> tuple[str, str, str]:
        """Return the finding of a trace, whether the decoder is compiled, and the engine's file."""
        folder = self.environment / "bin"
        command = [str(folder / "python"), "-c", READ]
        done = subprocess.run(command, cwd="/", env={"PATH": str(folder)}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        finding, said = done.stdout.splitlines()
        compiled, _, engine = said.partition(" ")
        return finding, compiled, engine


def install(folder: Path, compiler: str | None = None) -> Installed:
    """Build the wheel, with another C compiler if one is named, and install it in a new environment."""
    environ = os.environ | ({"CC": compiler} if compiler else {})
    command = ["packaging/wheel.sh", sys.executable, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    [packages] = environment.glob("lib/python3*/site-packages")
    # Only as a place to import from: what is installed there in a way of its own, as the project, is not.
    (packages / "libraries.pth").write_text("".join(f"{sysconfig.get_path(name)}\n" for name in ("purelib", "platlib")))
    return Installed(wheel, environment)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel as it is built here."""
    return install(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel as it is built where the compiler fails."""
    return install(tmp_path_factory.mktemp("plain"), "/bin/false")


def test_every_compiled_module_is_in_the_wheel(compiled: Installed) -> None:
    """Each module with C types beside it is there, for this Python; of the sources none is left out or left over."""
    names = zipfile.ZipFile(compiled.wheel).namelist()
    wanted = {path.relative_to(ROOT) for path in ROOT.glob("inspector/**/*.pxd") if path.with_suffix(".py").exists()}
    built = {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}
    # What has C functions in place of its own, constants and packages are not compiled.
    others = {"hints", "layout", "__init__"}
    assert built == {str(path.with_suffix("")) for path in wanted if path.stem not in others}
    sources = {str(path.relative_to(ROOT)) for path in ROOT.glob("inspector/**/*.py")}
    assert {name for name in names if name.endswith(".py")} == sources


def test_it_reads_with_the_compiled_decoder(compiled: Installed) -> None:
    """Neither a compiler nor the sources are needed where it is installed."""
    finding, is_compiled, engine = compiled.read()
    assert '"verdict":"mismatch"' in finding
    assert is_compiled == "True"
    assert engine.startswith(str(compiled.environment))
    assert engine.endswith(SUFFIX)


def test_without_a_compiler_it_is_built_all_the_same(compiled: Installed, plain: Installed) -> None:
    """It has no compiled module, and finds the same with the interpreted decoder."""
    assert not [name for name in zipfile.ZipFile(plain.wheel).namelist() if name.endswith(".so")]
    finding, is_compiled, engine = plain.read()
    assert finding == compiled.read()[0]
    assert is_compiled == "False"
    assert not engine.endswith(".so")
