#!/usr/bin/env python3
"""Start the service of an image as its configuration says, with a root that cannot be written, and ask it a question.

Run it in namespaces of its own: unshare --mount --net .ci/start_image.py ROOT IMAGE.json
"""

import fcntl
import json
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

_TOKEN = secrets.token_hex(16)
_READY_SECONDS = 60
_STOP_SECONDS = 20
_URL = "http://127.0.0.1:8000"
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41
_NIC = {"variables": {"queues": {"type": "int", "init_value": 4, "off_value": 1, "allowed_values": ["1-8"]}}}


def main(root: Path, image: Any) -> None:
    """Start the service, publish a release, ask about it, and stop the service."""
    configuration = image["Docker"]["config"]
    user, *_ = configuration["User"].split(":")
    expect(user.isdecimal() and int(user) > 0, f"its user {user!r} is not a number, or is root")
    mount(root)
    raise_loopback()
    with TemporaryFile() as log:
        words = [*configuration["Entrypoint"], *configuration["Cmd"]]
        server = subprocess.Popen(inside(root, configuration, words), stderr=log)
        try:
            exercise(root, configuration, server)
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            server.kill()


def exercise(root: Path, configuration: Any, server: subprocess.Popen[bytes]) -> None:
    """Wait for the service, ask it, run the health check and the command beside it, and stop it."""
    wait(server)
    kind, *check = configuration["Healthcheck"]["Test"]
    expect(kind == "CMD", "its health check needs a shell")
    run(root, configuration, check)
    ask()
    question = ["--model", "ci.example/nic", "--source", "ci.example/fw@1", "--destination", "ci.example/fw@1"]
    run(root, configuration, ["profile-registry", "check", *question])
    server.terminate()
    code = server.wait(_STOP_SECONDS)
    # uvicorn raises the signal once more when everything has ended.
    expect(code in {0, -signal.SIGTERM}, f"the service ended with {code} after SIGTERM")


def mount(root: Path) -> None:
    """Make the root read-only, with the mounts that a container has."""
    mounts: list[list[str | Path]] = [
        ["--bind", root, root],
        ["-o", "remount,bind,ro", root],
        ["-t", "proc", "proc", root / "proc"],
        ["--rbind", "/dev", root / "dev"],
        ["-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp"],
        ["-t", "tmpfs", "-o", "mode=755,uid=10001,gid=10001", "tmpfs", root / "registry" / "var"],
    ]
    for arguments in mounts:
        subprocess.run(["mount", *arguments], check=True)


def raise_loopback() -> None:
    """Raise the loopback interface, which is down in a new network namespace."""
    with socket.socket() as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh22x", b"lo", _UP_AND_RUNNING))


def inside(root: Path, configuration: Any, words: list[str]) -> list[str]:
    """Return the command that runs other words in the image, as its configuration says."""
    variables = [*configuration["Env"], f"REGISTRY_ADMIN_TOKEN={_TOKEN}", f"REGISTRY_URL={_URL}"]
    # The working directory of an image is not that of chroot.
    shell = ["sh", "-c", 'cd "$0" && exec "$@"', configuration["WorkingDir"], *words]
    return ["chroot", f"--userspec={configuration['User']}", str(root), "env", "-i", *variables, *shell]


def run(root: Path, configuration: Any, words: list[str]) -> None:
    """Run a command in the image; end if it fails."""
    done = subprocess.run(inside(root, configuration, words), capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{words[0]} failed: {done.stdout}{done.stderr}")


def wait(server: subprocess.Popen[bytes]) -> None:
    """Wait until the service is ready."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        expect(server.poll() is None, "the service did not start")
        try:
            call("GET", "/readyz")
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"The image does not work: /readyz did not answer within {_READY_SECONDS} seconds.")


def ask() -> None:
    """Publish a release and ask about it over HTTP."""
    call("PUT", "/vendors/ci.example", {"name": "CI"})
    call("PUT", "/releases/ci.example/fw@1", {"models": {"ci.example/nic": _NIC}})
    answer = call("GET", "/compatibility?model=ci.example/nic&source=ci.example/fw@1&destination=ci.example/fw@1")
    expect(answer["results"][0]["compatible"] is True, f"the answer is {answer}")


def call(method: str, path: str, document: Any = None) -> Any:
    """Return the answer to a request."""
    headers = {"Authorization": f"Bearer {_TOKEN}", "Content-Type": "application/json"}
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(_URL + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def expect(is_met: bool, otherwise: str) -> None:
    """End with a message unless a condition is met."""
    if not is_met:
        sys.exit(f"The image does not work: {otherwise}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
