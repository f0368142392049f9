"""Nothing here calls anybody: a scan's program works without a network and tells nobody that it ran."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "CMEDLSegment"

CONVERT = """
import torch
from CMEDLSegmentLib.networks import create_network
from CMEDLSegmentLib.inference.runtimes.openvino_runtime import _convert
class Logits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = create_network("unet", width=2).eval()
    def forward(self, image):
        return self.network(image)[0]
_convert(Logits(), torch.zeros(1, 1, 32, 32))
print("converted")
"""


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="the extra 'fast' is not installed")
def test_the_faster_runtime_calls_nobody(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        # A fresh user without continuous integration, every way out leading to this server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITHUB"))}
        environment.update(dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy))
        environment.update(PYTHONPATH=str(PACKAGE), HOME=str(tmp_path), LOCALAPPDATA=str(tmp_path), no_proxy="")
        ended = subprocess.run(
            [sys.executable, "-c", CONVERT],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert ended.stdout == "converted\n", ended.stderr
        server.settimeout(1.0)
        with pytest.raises(TimeoutError):
            server.accept()
    assert list(tmp_path.iterdir()) == []
