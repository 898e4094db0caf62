"""What the tests on a real API server share: kubectl as a user has it, jobs, waiting, and what the operator has asked."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.reading import RefusedError, read

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
SLOW_MACHINE = 3  # times the limit of any wait
KWOK_TOLERATION = {"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    return done.stdout


def get(kind: str, name: str = "", namespace: str = "", selector: str = "") -> Any:
    """The object, or the list's items; of several kinds, all of them. Without a namespace those of all."""
    found = [read(one, name, namespace, selector) for one in kind.split(",")]
    return found[0] if name else [item for part in found for item in part["items"]]


def status(name: str, namespace: str) -> Json:
    found: Json = get("tj", name, namespace).get("status", {})
    return found


def pods(name: str, namespace: str, role: str = "worker") -> list[Json]:
    found: list[Json] = get(
        "pods", namespace=namespace, selector=f"paceline.dev/job-name={name},paceline.dev/role={role}"
    )
    return found


def condition(of: Json, type_: str) -> Json:
    return next((c for c in of.get("conditions") or [] if c["type"] == type_), {})


def define_kinds() -> None:
    """Paceline's, until the API server serves them."""
    kubectl("apply", "-f", str(ROOT / "crds"))
    wait_until_served()


def wait_until_served() -> None:
    """Every kind that is defined. `kubectl wait` fails where a definition is so new that its conditions are null."""

    def waiting() -> list[str]:
        return [
            one["metadata"]["name"]
            for one in get("crd")
            if condition(one.get("status", {}), "Established").get("status") != "True"
        ]

    wait("every kind is served", lambda: not waiting())


def wait(what: str, true: Callable[[], Any], seconds: float = 60) -> Any:
    """The first truthy answer. Fails with ``what`` where none comes: the limit only ends a hang.

    ``seconds``: generous on two idle cores; a machine that is several times as slow is waited for.
    """
    until = time.monotonic() + SLOW_MACHINE * seconds
    while True:
        answer = true()
        if answer:
            return answer
        assert time.monotonic() < until, f"not within {SLOW_MACHINE * seconds:.0f} s: {what}"
        time.sleep(0.2)


def wait_phase(name: str, namespace: str, *phases: str, seconds: float = 60) -> Json:
    last: Json = {}

    def there() -> bool:
        nonlocal last
        last = status(name, namespace)
        assert last.get("phase") in phases or last.get("phase") not in ("Succeeded", "Failed"), last
        return last.get("phase") in phases

    wait(f"tj/{name} {' or '.join(phases)}", there, seconds)
    return last


def ledger_is_whole(found: Json) -> bool:
    """Do the parts of a status' dollars add up, by what they went for and by day? Those of a job without any do."""
    cost = found.get("cost", {})
    if "accruedUSD" not in cost:
        return True
    by_part = sum(map(Decimal, found["goodput"].get("usd", {}).values()))
    by_day = sum(Decimal(day["usd"]) for day in cost.get("days", []))
    return bool(by_part == Decimal(cost["accruedUSD"]) == by_day)


def job(name: str, namespace: str, annotations: Json | None = None, **spec: Any) -> Json:
    """A job for kwok's nodes: its pods run at once, and end as the annotations say."""
    template = {"metadata": {"annotations": annotations or {}}, "spec": {"tolerations": [KWOK_TOLERATION]}}
    return {
        "apiVersion": "paceline.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"image": "torch:1", "command": ["torchrun", "x.py"], "nodes": 2, "template": template} | spec,
    }


def apply(*objects: Json) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def patch(name: str, namespace: str, **spec: Any) -> None:
    kubectl("patch", "tj", name, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": spec}))


def try_to_evict(pod: str, namespace: str) -> None:
    """Raises RefusedError where the disruption budget forbids it now."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    kubectl("create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", "-f", "-", stdin=json.dumps(body))


def evict(pod: str, namespace: str) -> None:
    """As `kubectl drain` does it: again, while the budget forbids it. It is counted a moment after the gang runs."""

    def done() -> bool:
        try:
            try_to_evict(pod, namespace)
        except RefusedError as error:
            if "disruption budget" not in str(error):
                raise
            return False
        return True

    wait(f"{pod} may be evicted", done)


def leftovers(namespace: str) -> list[str]:
    """Everything of ours in a namespace but events and what every namespace has."""
    out = kubectl("get", "pods,services,trainingjobs,configmaps,secrets", "-n", namespace, "-o", "name").split()
    return [name for name in out if name != "configmap/kube-root-ca.crt"]


def quiet() -> None:
    """Waits until the jobs of earlier tests are gone: their namespaces end in the background, and cost requests."""
    wait("earlier tests' jobs are gone", lambda: not kubectl("get", "tj", "--all-namespaces", "-o", "name"), 120)


def requests(text: str) -> dict[str, int]:
    """What the operator, whose metrics page this is, has asked of the API server so far, by verb."""
    found: dict[str, int] = {}
    for verb, count in re.findall(r'paceline_api_requests_total\{code="\d+",verb="(\w+)"\} (\S+)', text):
        found[verb] = found.get(verb, 0) + int(float(count))
    return found
