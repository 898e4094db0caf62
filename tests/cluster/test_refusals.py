"""A manifest with a mistake is refused at `kubectl apply`, with words that name the field and the cure."""

from __future__ import annotations

import pytest

from tests.kube import apply, get, job, kubectl, patch
from tests.reading import RefusedError


def changed(namespace, **fields):
    made = job("wrong", namespace)
    for path, value in fields.items():
        if value is None:
            made["spec"].pop(path, None)
        else:
            made["spec"][path] = value
    return made


REFUSALS = [
    ({"recipe": {"name": "x"}}, ["exactly one of spec.command and spec.recipe"]),
    ({"command": None}, ["exactly one of spec.command and spec.recipe"]),
    ({"image": None}, ["spec.command needs spec.image"]),
    ({"nodes": 0}, ["spec.nodes", "greater than or equal to 1"]),
    ({"nodes": "two"}, ["spec.nodes", "integer"]),
    ({"processesPerNode": "many"}, ["processesPerNode must be auto, gpu, cpu or a number"]),
    ({"processesPerNode": 0}, ["processesPerNode must be auto, gpu, cpu or a number"]),
    ({"network": {"profile": "warp"}}, ["spec.network.profile", '"auto", "tcp"']),
    ({"cleanPodPolicy": "Sometimes"}, ["spec.cleanPodPolicy", '"Running", "All", "None"']),
    ({"progress": {"logPattern": "loss=(?P<loss>.*)"}}, ["logPattern needs a group named step"]),
    ({"progress": {"logPattern": r"(?P<step>\d+"}}, ["logPattern"]),
    ({"deadlines": {"startupSeconds": 0}}, ["spec.deadlines.startupSeconds"]),
    ({"ttlSecondsAfterFinished": -1}, ["spec.ttlSecondsAfterFinished"]),
    ({"nodez": 3}, ["nodez"]),
    ({"nodes": 1, "elastic": {"minNodes": 2}}, ["spec.nodes must lie between elastic.minNodes and elastic.maxNodes"]),
    ({"nodes": 5, "elastic": {"maxNodes": 4}}, ["spec.nodes must lie between elastic.minNodes and elastic.maxNodes"]),
    ({"elastic": {"minNodes": 2, "maxNodes": 1}}, ["elastic.minNodes must not be above elastic.maxNodes"]),
    ({"elastic": {"maxNodes": 4, "step": 2, "allowedNodes": [2]}}, ["step or allowedNodes, not both"]),
    ({"elastic": {"maxNodes": 4, "allowedNodes": [2, 8]}}, ["allowedNodes must lie between minNodes and maxNodes"]),
    ({"elastic": {"maxNodes": 4, "allowedNodes": [4, 2]}}, ["allowedNodes must be ascending"]),
    (
        {"nodes": 3, "elastic": {"maxNodes": 4, "allowedNodes": [2, 4]}},
        ["spec.nodes must be one of elastic.allowedNodes"],
    ),
    ({"nodes": 3, "elastic": {"minNodes": 2, "maxNodes": 4, "step": 2}}, ["minNodes plus a multiple of elastic.step"]),
    ({"checkpoint": {"everySteps": 5}}, ["checkpoint needs exactly one of volume, uri"]),
    ({"checkpoint": {"uri": "s3://b/p"}}, ["checkpoint needs exactly one of everySteps, everySeconds"]),
    ({"checkpoint": {"uri": "bucket", "everySteps": 5}}, ["spec.checkpoint.uri"]),
    ({"checkpoint": {"volume": {}, "everySteps": 5}}, ["checkpoint.volume needs exactly one of persistentVolumeClaim"]),
    ({"deadlines": {"onStall": "Panic"}}, ["spec.deadlines.onStall", '"Warn", "Restart"']),
    ({"restarts": {"max": -1}}, ["spec.restarts.max"]),
    ({"cost": {"budget": {}}}, ["spec.cost.budget", "maxUSD"]),
    ({"cost": {"budget": {"maxUSD": 250}}}, ["spec.cost.budget.maxUSD", "string"]),
    ({"cost": {"budget": {"maxUSD": "much"}}}, ["cost.budget.maxUSD must be dollars, as a decimal string"]),
    ({"cost": {"budget": {"maxUSD": "1", "warnAtRatio": "80"}}}, ["cost.budget.warnAtRatio must be from 0 to 1"]),
    ({"cost": {"budget": {"maxUSD": "1", "onExceed": "Beg"}}}, ["onExceed", '"Warn", "Suspend", "Fail"']),
    ({"cost": {"stopWhen": {"metric": "f1"}}}, ["cost.stopWhen needs reaches", "or usdPerPointAbove"]),
    ({"cost": {"stopWhen": {"metric": "f1", "reaches": "high"}}}, ["cost.stopWhen.reaches must be a number"]),
    ({"cost": {"idle": {"utilizationBelow": "-1"}}}, ["cost.idle.utilizationBelow must be from 0 to 1"]),
    ({"cost": {"idle": {"afterSeconds": 5}}}, ["spec.cost.idle.afterSeconds", "greater than or equal to 60"]),
    (
        {
            "template": {
                "spec": {"containers": [{"name": "trainer", "env": [{"name": "PET_RDZV_ENDPOINT", "value": "x"}]}]}
            }
        },
        ["rendezvous variables", "spec.rendezvous"],
    ),
]


@pytest.mark.parametrize(
    ("fields", "words"), REFUSALS, ids=[f"{next(iter(f))}-{i}" for i, (f, _) in enumerate(REFUSALS)]
)
def test_refused_with_the_right_words(namespace, fields, words):
    with pytest.raises(RefusedError) as said:
        apply(changed(namespace, **fields))
    for word in words:
        assert word in str(said.value)


@pytest.mark.parametrize(("name", "words"), [("x" * 53, "at most 52 characters"), ("9lives", "starting with a letter")])
def test_names_that_would_not_fit_are_refused(namespace, name, words):
    with pytest.raises(RefusedError, match=words):
        apply(job(name, namespace))


def test_what_may_not_change_while_it_runs_may_change_while_suspended(namespace):
    apply(job("fixed", namespace, elastic={"maxNodes": 4}, checkpoint={"uri": "s3://some/place", "everySteps": 5}))
    with pytest.raises(RefusedError, match="image cannot change while the job runs; set suspend: true first"):
        patch("fixed", namespace, image="torch:2")
    with pytest.raises(RefusedError, match="command cannot change while the job runs"):
        patch("fixed", namespace, command=["torchrun", "y.py"])
    with pytest.raises(RefusedError, match=r"checkpoint\.uri cannot change while the job runs"):
        patch("fixed", namespace, checkpoint={"uri": "s3://other/place"})
    with pytest.raises(RefusedError, match=r"elastic\.minNodes cannot change while the job runs"):
        patch("fixed", namespace, elastic={"minNodes": 2})
    patch("fixed", namespace, elastic={"maxNodes": 8})
    patch("fixed", namespace, nodes=3)
    patch("fixed", namespace, suspend=True)
    patch("fixed", namespace, image="torch:2")
    assert get("tj", "fixed", namespace)["spec"]["image"] == "torch:2"


def test_defaults_are_filled_in_by_the_api_server(namespace):
    apply(job("defaults", namespace))
    spec = get("tj", "defaults", namespace)["spec"]
    assert spec["deadlines"]["startupSeconds"] == 1800
    assert spec["rendezvous"]["lastCallSeconds"] == 2
    assert (spec["processesPerNode"], spec["cleanPodPolicy"], spec["suspend"]) == ("auto", "Running", False)
    assert spec["progress"]["enabled"] is True
    assert (spec["restarts"]["inPlace"], spec["restarts"]["max"], spec["nodeLoss"]["detectSeconds"]) == (3, 5, 15)
    assert "elastic" not in spec


def test_every_field_is_explained():
    for field in ("spec", "spec.nodes", "spec.rendezvous.conf", "spec.progress.logPattern", "status.lastFailure.cause"):
        text = kubectl("explain", f"tj.{field}")
        assert "DESCRIPTION:" in text
        assert "<empty>" not in text
