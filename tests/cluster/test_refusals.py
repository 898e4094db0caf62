"""A manifest with a mistake is refused at `kubectl apply`, with words that name the field and the cure."""

from __future__ import annotations

import pytest

from tests.kube import RefusedError, apply, get, job, kubectl, patch


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
    apply(job("fixed", namespace))
    with pytest.raises(RefusedError, match="image cannot change while the job runs; set suspend: true first"):
        patch("fixed", namespace, image="torch:2")
    with pytest.raises(RefusedError, match="command cannot change while the job runs"):
        patch("fixed", namespace, command=["torchrun", "y.py"])
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


def test_every_field_is_explained():
    for field in ("spec", "spec.nodes", "spec.rendezvous.conf", "spec.progress.logPattern", "status.lastFailure.cause"):
        text = kubectl("explain", f"tj.{field}")
        assert "DESCRIPTION:" in text
        assert "<empty>" not in text
