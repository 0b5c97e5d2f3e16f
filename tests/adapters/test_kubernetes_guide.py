"""The guide for Kubernetes, followed by copy and paste: its commands are run and print what it shows."""

import re
from pathlib import Path

from tests.adapters.conftest import demonstration
from tests.adapters.kubernetes import extending
from tests.running.conftest import ROOT
from tests.test_guides import run_commands

_PAGE = (ROOT / "docs" / "pages" / "adapters" / "kubernetes.md").read_text(encoding="utf-8")
_EXTENDER = "http://127.0.0.1:8888"
_RUN = re.compile(
    r"<!-- run: kubernetes -->\n```sh\n(?P<script>.*?)```\n"
    r"(?:\n(?!<!--)[^\n]+\n)?(?:\n<!-- printed -->\n```[a-z]+\n(?P<printed>.*?)```)?",
    re.DOTALL,
)


def test_the_commands_of_the_guide_print_what_it_shows(tmp_path: Path) -> None:
    blocks = list(_RUN.finditer(_PAGE))
    assert len(blocks) == _PAGE.count("<!-- run: kubernetes -->")
    assert sum(block["printed"] is not None for block in blocks) == _PAGE.count("<!-- printed -->") > 0
    with demonstration(tmp_path) as server, extending(server.url, tmp_path) as extender:
        for block in blocks:
            script = block["script"].replace(_EXTENDER, extender.url)
            printed = run_commands(script, {"REGISTRY_URL": server.url}, tmp_path)
            assert block["printed"] in {None, printed}
        # The guide ends this part with what it logs once the registry is stopped.
        server.kill()
        script = blocks[0]["script"].replace(_EXTENDER, extender.url)
        assert '"NodeNames": []' in run_commands(script, {}, tmp_path)
    said = " ".join(_PAGE.split())
    (line,) = re.findall(r"the extender logs `([^`]+)`", said)
    assert line in (tmp_path / "log").read_text(encoding="utf-8")
