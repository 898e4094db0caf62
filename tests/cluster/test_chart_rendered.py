"""What the chart renders: who may do what, whom the certificate names, how the pods are confined, what it calls a mistake."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest
import yaml

from paceline.render import guards
from tests.cluster.test_chart_rights import AT_HOME, EVERYWHERE
from tests.kube import ROOT, kubectl

CHART = ROOT / "charts/paceline"


def helm(*arguments):
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def rendered(*values, namespace="where"):
    """Objects by (kind, name)."""
    options = [part for value in values for part in ("--set", value)]
    code, out, err = helm("template", "t", str(CHART), "-n", namespace, *options)
    assert code == 0, err
    return {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(out) if o}


def rules(role):
    """{group/resource: verbs}."""
    return {
        f"{group}/{resource}": set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_rights_are_these():
    # That each is enough is shown by test_chart_rights; that none is too much, by reading this list.
    found = rendered()
    assert rules(found["ClusterRole", "t-paceline"]) == EVERYWHERE
    assert rules(found["Role", "t-paceline"]) == AT_HOME
    bound = {k: o for k, o in found.items() if k[0].endswith("Binding")}
    assert set(bound) == {("ClusterRoleBinding", "t-paceline"), ("RoleBinding", "t-paceline")}
    for binding in bound.values():
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "t-paceline", "namespace": "where"}]


def test_what_is_not_made_around_jobs_needs_no_right():
    def rights(*values):
        found = rendered(*values)
        args = found["Deployment", "t-paceline"]["spec"]["template"]["spec"]["containers"][0]["args"]
        made = [argument.partition("=")[0] for argument in args if argument.startswith("--job-")]
        return made, {
            r: v for r, v in rules(found["ClusterRole", "t-paceline"]).items() if r.startswith(("net", "pol"))
        }

    budget, policy = {"policy/poddisruptionbudgets": {"create"}}, {"networking.k8s.io/networkpolicies": {"create"}}
    assert rights() == (["--job-disruption-budgets"], budget)
    assert rights("jobs.podDisruptionBudget.enabled=false") == ([], {})
    both = rights("jobs.networkPolicy.enabled=true")
    assert both == (["--job-disruption-budgets", "--job-network-policy"], budget | policy)


def test_the_jobs_policy_lets_them_reach_the_operators_pods():
    values = ["jobs.networkPolicy.enabled=true", "jobs.networkPolicy.extraEgress[0].ports[0].port=443"]
    values.append(r"jobs.networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.it\'s=\"so\"")
    found = rendered(*values)["Deployment", "t-paceline"]["spec"]
    args = found["template"]["spec"]["containers"][0]["args"]
    given = next(argument.partition("=")[2] for argument in args if argument.startswith("--job-network-policy="))
    fence = guards.fence(given, "where", 8443)
    assert fence.operator == found["selector"]["matchLabels"]
    assert fence.metrics_from == ({"namespaceSelector": {"matchLabels": {"it's": '"so"'}}},)
    assert fence.extra_egress == ({"ports": [{"port": 443}]},)


def test_users_get_the_kinds_with_the_roles_that_they_have():
    found = rendered()
    edit, view = found["ClusterRole", "t-paceline-edit"], found["ClusterRole", "t-paceline-view"]
    aggregate = "rbac.authorization.k8s.io/aggregate-to-"
    assert {k for k in edit["metadata"]["labels"] if k.startswith(aggregate)} == {
        f"{aggregate}admin",
        f"{aggregate}edit",
    }
    assert {k for k in view["metadata"]["labels"] if k.startswith(aggregate)} == {f"{aggregate}view"}
    kinds = ("trainingjobs", "compressionjobs")
    assert rules(view).keys() == {f"paceline.dev/{kind}{part}" for kind in kinds for part in ("", "/status")}
    assert not [what for what in rules(edit) if what.endswith("/status")], "only the operator writes it"
    assert not [
        k for k in rendered("rbac.aggregateToUserRoles=false") if k[1] in ("t-paceline-edit", "t-paceline-view")
    ]


def test_the_certificate_is_for_the_progress_service(tmp_path):
    found = rendered()
    for name, data in found["Secret", "t-paceline-progress-tls"]["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(data))
    host = "t-paceline-progress.where.svc"
    assert ("Service", "t-paceline-progress") in found
    for name in (host, f"{host}.cluster.local"):
        command = ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", name, "tls.crt"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    args = found["Deployment", "t-paceline"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--progress-host={host}" in args


def test_a_certificate_of_the_users_own_is_mounted_and_none_is_made():
    found = rendered("progress.tls.existingSecret=mine")
    assert not [k for k in found if k[0] == "Secret"]
    volumes = found["Deployment", "t-paceline"]["spec"]["template"]["spec"]["volumes"]
    assert [v["secret"]["secretName"] for v in volumes if "secret" in v] == ["mine"]


def test_without_progress_nothing_of_it_is_left():
    found = rendered("progress.enabled=false")
    assert not [k for k in found if "progress" in k[1]]
    assert "progress" not in json.dumps(found["Deployment", "t-paceline"])


def test_a_budget_only_where_one_may_be_missed():
    assert ("PodDisruptionBudget", "t-paceline") in rendered()
    assert ("PodDisruptionBudget", "t-paceline") not in rendered("replicas=1"), "it would keep its node from draining"


def test_the_image_is_the_charts_version_by_default():
    def image(*values):
        return rendered(*values)["Deployment", "t-paceline"]["spec"]["template"]["spec"]["containers"][0]["image"]

    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    assert image() == f"localhost/paceline-operator:{version}"
    assert image("image.repository=r.example/op", "image.tag=v7") == "r.example/op:v7"


def test_its_pods_pass_the_restricted_pod_security_standard(namespace):
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
    deployment = rendered(namespace=namespace)["Deployment", "t-paceline"]
    apply = ["apply", "--dry-run=server", "--warnings-as-errors", "-n", namespace, "-f", "-"]
    kubectl(*apply, stdin=json.dumps(deployment))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("image.tagg=1", "'/image': additional properties 'tagg' not allowed"),
        ("crds.install=please", "'/crds/install'"),
        ("replicas=-1", "'/replicas'"),
        ("resources.request.cpu=1", "'/resources': additional properties 'request' not allowed"),
        ("imagePullSecrets[0]=mine", "'/imagePullSecrets/0'"),
        ("tolerations[0].effect=Never", "'/tolerations/0/effect': value must be one of 'NoSchedule'"),
        ("affinity.podAfinity.x=y", "'podAfinity' not allowed"),
        ("podAnnotations.note=1", "'/podAnnotations/note': got number, want string"),
        (r"podLabels.app\.kubernetes\.io/name=mine", "app.kubernetes.io/name"),
        ("trainerImage=", "'/trainerImage'"),
    ],
)
def test_a_mistake_is_named(value, words):
    code, _, err = helm("template", "t", str(CHART), "--set", value)
    assert code != 0
    assert words in err


def test_every_value_is_known_to_the_schema_and_described():
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def check(path, part, value):
        assert part.get("description"), path
        if part.get("type") == "object" and "properties" in part:
            assert part["additionalProperties"] is False, path
            for key, below in part["properties"].items():
                check(f"{path}.{key}", below, value.get(key) if isinstance(value, dict) else None)
            assert set(value or {}) <= set(part["properties"]), path

    check("", schema, values)
    assert set(schema["properties"]) - set(values) == {"global"}


def test_the_operator_leaves_a_lost_node_long_before_kubernetes_would_move_it():
    pod = rendered()["Deployment", "t-paceline"]["spec"]["template"]["spec"]
    waits = {t["key"]: t["tolerationSeconds"] for t in pod["tolerations"] if t["effect"] == "NoExecute"}
    assert waits == {"node.kubernetes.io/not-ready": 10, "node.kubernetes.io/unreachable": 10}


def test_price_books_are_mounted_and_the_default_is_the_example_unless_given():
    def books(*values):
        return rendered(*values)["ConfigMap", "t-paceline-price-books"]["data"]

    example = (ROOT / "operator/paceline/cost/price-book.csv").read_text(encoding="utf-8")
    assert books() == {"default.csv": example}
    assert books("priceBooks.default=mine", "priceBooks.eu=theirs") == {"default.csv": "mine\n", "eu.csv": "theirs\n"}
    pod = rendered()["Deployment", "t-paceline"]["spec"]["template"]["spec"]
    assert {"name": "prices", "configMap": {"name": "t-paceline-price-books"}} in pod["volumes"]
    assert "--price-books=/etc/paceline/prices" in pod["containers"][0]["args"]


def test_prometheus_is_asked_where_it_is_given_and_by_the_names_that_it_has():
    def flags(*values):
        (container,) = rendered(*values)["Deployment", "t-paceline"]["spec"]["template"]["spec"]["containers"]
        return [argument for argument in container["args"] if argument.startswith("--prometheus")]

    assert flags() == []
    assert flags("prometheus.url=http://prometheus:9090", "prometheus.active=gpu:active") == [
        "--prometheus-url=http://prometheus:9090",
        "--prometheus-active=gpu:active",
        "--prometheus-utilization=DCGM_FI_DEV_GPU_UTIL",
        "--prometheus-every-seconds=30",
    ]
    for wrong in ("prometheus.url=prometheus:9090", "prometheus.active=a b", "prometheus.everySeconds=0"):
        code, _, err = helm("template", "t", str(CHART), "--set", wrong)
        assert code != 0
        assert wrong.split("=", maxsplit=1)[0].split(".")[1] in err
