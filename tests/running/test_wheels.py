"""The wheels work outside the checkout: the client beside another `app`, the service from an empty folder."""

import ast
import os
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app import VERSION
from tests.conftest import TOKEN
from tests.running.conftest import TLS, environment, wait_until_ready

_ROOT = Path(__file__).parents[2]
_README = _ROOT / "app" / "client" / "README.md"


def build(folder: Path, source: Path) -> Path:
    """Return the wheel that is built from a folder of the checkout."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpack(wheel: Path, target: Path) -> Path:
    """Return the folder that a wheel is installed in, beside nothing else."""
    zipfile.ZipFile(wheel).extractall(target)
    return target


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the installed client."""
    folder = tmp_path_factory.mktemp("client")
    return unpack(build(folder, _ROOT / "app" / "client"), folder / "installed")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of the service, installed from its wheel and started in an empty folder."""
    folder = tmp_path_factory.mktemp("service")
    installed = unpack(build(folder, _ROOT), folder / "installed")
    empty = folder / "empty"
    empty.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**environment(admin_token=TOKEN), "PYTHONPATH": str(installed)}
    where = "import app; print(app.__file__)"
    printed = subprocess.check_output([sys.executable, "-c", where], env=variables, cwd=empty, text=True)
    assert Path(printed.strip()).is_relative_to(installed)
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=variables, cwd=empty, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(url)
            yield url
        finally:
            process.terminate()


def test_the_service_serves_its_api_and_its_pages(service: str) -> None:
    for path in ("/readyz", "/", "/docs", "/openapi.json", "/ui/ask"):
        assert httpx.get(f"{service}{path}", verify=TLS).status_code == 200, path
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.put(f"{service}/vendors/vendor-a.com", json={}, headers=headers, verify=TLS).status_code == 201


def test_the_client_needs_httpx_and_pydantic_alone_unless_it_verifies(client: Path) -> None:
    package = client / "profile_registry_client"
    assert (package / "py.typed").exists()
    imported = set()
    # What runs inside a scheduler imports the scheduler, too.
    adapter = package / "adapters" / "nova.py"
    assert adapter.exists()
    for file in set(package.rglob("*.py")) - {adapter}:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module or "")
    foreign = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert foreign == {"cryptography", "httpx", "profile_registry_client", "pydantic", "pydantic_core"}
    (metadata,) = client.glob("*.dist-info/METADATA")
    required = re.findall(r"^Requires-Dist: ([a-z]+)(.*)", metadata.read_text(), flags=re.MULTILINE)
    assert [name for name, condition in required if "extra ==" not in condition] == ["httpx", "pydantic"]
    assert [name for name, condition in required if "extra == 'trust'" in condition] == ["cryptography"]
    program = "import sys; sys.modules['cryptography'] = None; import profile_registry_client"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(client)}, check=True)
    assert f"\nVersion: {VERSION}\n" in metadata.read_text()


def test_the_clients_example_runs_beside_another_package_called_app(client: Path, service: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text('NAME = "another program"\n')
    (example,) = re.findall(r"```python\n(.*?)```", _README.read_text(), flags=re.DOTALL)
    program = tmp_path / "example.py"
    program.write_text(f"import app\nassert app.NAME\n{example.replace('http://127.0.0.1:8000', service)}")
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{client}", "MYPYPATH": str(client)}
    ran = subprocess.run([sys.executable, program], env=variables, check=False, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("False\n", "")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file=", str(program)]
    checked = subprocess.run(command, env=variables, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
