"""Real processes on this machine: CPU, gloo."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.trainer import forked

# An example may be kept waiting by what else this machine does: its time says nothing.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parent.parent.parent


def environment(**more: str) -> dict[str, str]:
    """Bytecode is kept whatever the caller's setting: torch's and scikit-learn's imports take 2 s with it and 7 s without."""
    own = {"PYTHONPATH": str(ROOT / "trainer_image"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    return {**os.environ, **own, **more}


def launcher(processes: int) -> list[str]:
    """Python, or torchrun with this many processes; a script or ``-m MODULE`` follows."""
    torchrun = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    return [sys.executable, *(torchrun if processes > 1 else [])]


def written_by(script: str, processes: int, folder: Path) -> Any:
    """The JSON that a script of this folder writes, run by so many processes."""
    output = folder / "written.json"
    done = forked.run([str(Path(__file__).with_name(script)), str(output)], processes, environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(output.read_text(encoding="utf-8"))


def run_recipe(output: Path, recipe: str, params: dict[str, Any], processes: int, **env: str) -> dict[str, Any]:
    """Runs a recipe to its end; its manifest, report and output."""
    what = ["--recipe", recipe, "--params", json.dumps(params), "--output", str(output)]
    done = forked.run(["-m", "paceline_trainer.run", *what], processes, environment(**env))
    assert done.returncode == 0, done.stdout + done.stderr
    read = {name: json.loads((output / f"{name}.json").read_text(encoding="utf-8")) for name in ("manifest", "report")}
    return {**read, "stdout": done.stdout}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A recipe's result by name, trained by three processes, whose shards are uneven; each is run once."""
    results: dict[str, dict[str, Any]] = {}

    def get(recipe: str) -> dict[str, Any]:
        if recipe not in results:
            output = tmp_path_factory.mktemp(recipe) / "output"
            params = {"epochs": 3, "batch_size": 50, "seed": 7}
            results[recipe] = {**run_recipe(output, recipe, params, 3), "output": output}
        return results[recipe]

    return get


@pytest.fixture(scope="session")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What losses.py writes, by the number of processes; each is run once (10 to 30 s)."""
    results: dict[int, dict[str, list[float]]] = {}

    def get(processes: int) -> dict[str, list[float]]:
        if processes not in results:
            results[processes] = written_by("losses.py", processes, tmp_path_factory.mktemp("losses"))
        return results[processes]

    return get


@pytest.fixture(scope="session")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What distilled_losses.py writes, by the number of processes; each is run once (10 to 30 s)."""
    results: dict[int, dict[str, Any]] = {}

    def get(processes: int) -> dict[str, Any]:
        if processes not in results:
            results[processes] = written_by("distilled_losses.py", processes, tmp_path_factory.mktemp("distilled"))
        return results[processes]

    return get


@pytest.fixture(scope="session")
def digits() -> Any:
    """The recipe's data, as compression takes them."""
    from tests.trainer import compressing  # torch: other tests of this folder need not wait for it

    return compressing.digits()


@pytest.fixture(scope="session")
def cnn(digits: Any) -> Any:
    """A small CNN that has been trained; not to be changed."""
    from tests.trainer import compressing

    return compressing.trained_cnn(digits)


@pytest.fixture(scope="session")
def source(cnn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, as a run would leave it."""
    from tests.trainer import compressing

    return compressing.saved(tmp_path_factory.mktemp("source") / "model", cnn, {"accuracy": 0.9, "loss": 0.5})


@pytest.fixture
def operator(tmp_path) -> Iterator[tuple[dict[str, str], list[dict[str, Any]]]]:
    """(environment, reports): who listens to progress."""
    reports: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            reports.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["trainerStatus"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    url = f"http://127.0.0.1:{server.server_port}/progress"
    yield {"KUBEFLOW_TRAINER_SERVER_URL": url, "KUBEFLOW_TRAINER_SERVER_TOKEN": str(token)}, reports
    server.shutdown()
    server.server_close()
