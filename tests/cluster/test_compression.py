"""CompressionJobs on the real API server: what is refused, the stages of one, and what becomes of them."""

from __future__ import annotations

import json
import signal

import pytest

from tests.cluster.reporting import Reporter, token
from tests.kube import KWOK_TOLERATION, apply, condition, get, kubectl, wait
from tests.reading import RefusedError
from tests.unit.compressions import BASE, DROP, INT8, PRUNE, RECOVER, SMALLER

# Long enough for a pod's figures to be told while it runs.
SOON = {"kwok.paceline.dev/complete-after": "3s"}
MODELS = {
    "containers": [
        {
            "name": "trainer",
            "env": [{"name": "PACELINE_OUTPUT_DIR", "value": "/models/digits"}],
            "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        }
    ],
    "volumes": [{"name": "models", "hostPath": {"path": "/models"}}],
    "tolerations": [KWOK_TOLERATION],
}


def source(namespace):
    spec = {
        "recipe": {"name": "image-classification", "params": {"epochs": 3}},
        "nodes": 1,
        "template": {"metadata": {"annotations": SOON}, "spec": MODELS},
    }
    return {
        "apiVersion": "paceline.dev/v1alpha1", "kind": "TrainingJob",
        "metadata": {"name": "digits", "namespace": namespace}, "spec": spec,
    }  # fmt: skip


def compression(namespace, **spec):
    given = {
        "source": {"trainingJobRef": {"name": "digits"}},
        "stages": [PRUNE, RECOVER, INT8],
        "gates": [DROP, SMALLER],
    }
    return {
        "apiVersion": "paceline.dev/v1alpha1", "kind": "CompressionJob",
        "metadata": {"name": "small", "namespace": namespace}, "spec": given | spec,
    }  # fmt: skip


REFUSALS = [
    ({"source": {}}, "source needs exactly one of trainingJobRef, model"),
    ({"stages": []}, "should have at least 1 items"),
    ({"stages": [INT8, PRUNE]}, "a quantize stage must be the last one"),
    ({"stages": [INT8, INT8 | {"name": "again"}]}, "a quantize stage must be the last one"),
    ({"stages": [INT8, RECOVER]}, "can be neither pruned nor trained any more"),
    ({"stages": [PRUNE, PRUNE]}, "no two the same"),
    ({"stages": [PRUNE | {"target": {}}]}, "exactly one of target.macsRatio and target.parametersRatio"),
    ({"stages": [PRUNE | {"target": {"macsRatio": "half"}}]}, "target.macsRatio must be from 0 to 1"),
    ({"stages": [{"name": "p", "method": "prune.unstructured"}]}, "needs target.sparsity"),
    ({"stages": [RECOVER | {"target": {"sparsity": "0.5"}}]}, "needs target.sparsity"),
    ({"stages": [INT8 | {"target": {"layers": 2}}]}, "target.layers is of distill.soft"),
    ({"stages": [INT8 | {"nodes": 2}]}, "nodes is of stages that train"),
    (
        {"stages": [{"name": "w", "method": "quantize.weightOnly", "backend": "onnxruntime"}]},
        "have no ONNX Runtime backend: torchao runs what they make",
    ),
    ({"stages": [INT8 | {"backend": "torchao"}]}, "quantize.dynamic and quantize.static are run by ONNX Runtime"),
    ({"stages": [PRUNE | {"backend": "torchao"}]}, "backend is of quantize stages only"),
    ({"stages": [{"name": "x", "method": "shrink"}]}, "spec.stages[0].method"),
    ({"gates": [DROP | {"metric": "bleu"}]}, "no stage reports such a metric; there are: accuracy"),
    ({"gates": [DROP | {"metric": "sizeBytes"}]}, "maxDrop is of scores"),
    ({"gates": [SMALLER | {"metric": "f1"}]}, "minReduction is of sizeBytes"),
    ({"gates": [SMALLER | {"relative": True}]}, "relative is of maxDrop only"),
    ({"gates": [DROP | {"value": "little"}]}, "gates.value must be a number"),
    ({"stages": [INT8], "onGateFail": "Backoff"}, "needs a stage with a target that can be made weaker"),
    ({"gates": [], "onGateFail": "KeepBest"}, "onGateFail needs gates"),
    ({"measure": {"runs": 10}}, "spec.measure.runs"),
    ({"export": ["pickle"]}, "spec.export[0]"),
    ({"cost": {"stopWhen": {"metric": "x", "reaches": "1"}}}, "cost.stopWhen is of TrainingJobs"),
]


@pytest.mark.parametrize(("spec", "words"), REFUSALS)
def test_a_pipeline_that_makes_no_sense_is_refused_with_the_reason(namespace, spec, words):
    with pytest.raises(RefusedError, match="small") as refused:
        apply(compression(namespace, **spec))
    assert words in str(refused.value)


def status(namespace):
    return get("cpj", "small", namespace).get("status", {})


def stages(namespace):
    """TrainingJobs of the job, by name: their stage."""
    found = get("tj", namespace=namespace, selector="paceline.dev/compression-name=small")
    return {tj["metadata"]["name"]: tj["metadata"]["labels"]["paceline.dev/stage"] for tj in found}


class Answers:
    """Tells the operator what the pods of TrainingJobs would."""

    def __init__(self, operator, tls, namespace, **by_stage):
        self._reporter, self._namespace, self._by_stage = Reporter(operator, tls, namespace), namespace, by_stage
        self._told = set()

    def give(self):
        """To every worker that runs and has not told yet."""
        for tj in get("tj", namespace=self._namespace):
            name, uid = tj["metadata"]["name"], tj["metadata"]["uid"]
            if uid in self._told:
                continue
            selector = f"paceline.dev/job-uid={uid},paceline.dev/role=worker"
            for pod in get("pods", namespace=self._namespace, selector=selector):
                if pod["status"]["phase"] != "Running":
                    continue
                bearer = token(pod, self._namespace, f"paceline.dev/job/{uid}")
                stage = tj["metadata"].get("labels", {}).get("paceline.dev/stage", "")
                figures = BASE | self._by_stage.get(stage, {})
                metrics = [{"name": k, "value": str(v)} for k, v in figures.items()]
                model = {
                    "path": "/models/digits", "format": "onnx", "sha256": "a" * 64, "metrics": metrics,
                    "environment": {"runtime": "onnxruntime", "formats": "safetensors,onnx"},
                }  # fmt: skip
                body = {"trainerStatus": {"progressPercentage": 100, "model": model}}
                if self._reporter.post(name, bearer, body)[0] == 200:
                    self._told.add(uid)

    def until(self, what, true, seconds=180):
        def there():
            self.give()
            return true()

        return wait(what, there, seconds)


QUARTER = {"int8": {"sizeBytes": 200_000, "latencyP50": 0.5}}


def told(namespace):
    return [(event["involvedObject"]["kind"], event["reason"]) for event in get("events", namespace=namespace)]


def test_from_a_source_that_comes_later_to_an_artifact(operator, tls, namespace):
    apply(compression(namespace))
    waiting = wait("it waits for its source", lambda: condition(status(namespace), "SourceReady"))
    assert (waiting["status"], waiting["reason"]) == ("False", "SourceNotFound")
    assert kubectl("get", "cpj", "small", "-n", namespace).splitlines()[1].split()[1] == "Pending"
    apply(source(namespace))
    answers = Answers(operator, tls, namespace, **QUARTER)
    answers.until("it trains", lambda: "recover" in stages(namespace).values())
    operator.signal(signal.SIGKILL)
    operator.start()
    wait("the operator leads again", operator.leads)
    found = answers.until("it ends", lambda: (s := status(namespace)).get("phase") in ("Succeeded", "Failed") and s)
    assert (found["phase"], found["verdict"]) == ("Succeeded", "Accepted"), found
    assert sorted(stages(namespace).values()) == [
        "export", "int8", "prune", "recover", "recover", "report", "source",
    ]  # fmt: skip
    header, row = (line.split() for line in kubectl("get", "cpj", "small", "-n", namespace).splitlines())
    assert header == ["NAME", "PHASE", "STAGE", "VERDICT", "SIZE", "SPEEDUP", "SCORE", "COST", "AGE"]
    assert row[1:9] == ["Succeeded", "report", "Accepted", "4.0:1", "4.00x", "0.9900", ">", "0.9900"]
    wait("it is told", lambda: ("CompressionJob", "Accepted") in told(namespace))
    owned = get("tj", namespace=namespace, selector="paceline.dev/compression-name=small")
    assert {tj["metadata"]["ownerReferences"][0]["kind"] for tj in owned} == {"CompressionJob"}
    kubectl("delete", "cpj", "small", "-n", namespace)
    wait("its TrainingJobs go with it", lambda: not stages(namespace))
    assert get("tj", "digits", namespace), "the source stays"


def test_suspended_changed_and_gone(operator, tls, namespace):
    apply(source(namespace), compression(namespace, ttlSecondsAfterFinished=5))
    answers = Answers(operator, tls, namespace, **QUARTER)
    answers.until("a stage runs", lambda: "prune" in stages(namespace).values())
    kubectl("patch", "cpj", "small", "-n", namespace, "--type=merge", "-p", json.dumps({"spec": {"suspend": True}}))
    wait("it is suspended", lambda: status(namespace).get("phase") == "Suspended")
    made = stages(namespace)
    assert all(tj["spec"].get("suspend") or condition(tj["status"], "Complete") for tj in get("tj", namespace=namespace)
               if tj["metadata"]["name"] in made)  # fmt: skip
    changed = {"suspend": False, "stages": [PRUNE, INT8]}
    kubectl("patch", "cpj", "small", "-n", namespace, "--type=merge", "-p", json.dumps({"spec": changed}))
    answers.until("it goes on", lambda: "int8" in stages(namespace).values())
    assert set(made) <= set(stages(namespace)), "what was finished is not made again"
    answers.until("it is gone, some time after its end", lambda: not get("cpj", namespace=namespace))


def test_an_operator_may_be_told_what_it_may_not_make(operator, tls, namespace):
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": namespace},
        "spec": {"hard": {"count/trainingjobs.paceline.dev": "1"}},
    }  # fmt: skip
    apply(source(namespace), quota)
    answers = Answers(operator, tls, namespace, **QUARTER)
    answers.until(
        "the source ends", lambda: get("tj", "digits", namespace).get("status", {}).get("phase") == "Succeeded"
    )
    wait("the quota counts", lambda: get("resourcequota", "few", namespace).get("status", {}).get("used"))
    apply(compression(namespace))
    told = wait("it is told", lambda: "exceeded quota" in (m := status(namespace).get("message", "")) and m)
    assert "tj/small-source-" in told
