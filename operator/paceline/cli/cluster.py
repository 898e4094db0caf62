"""The cluster as the user of a terminal reaches it: by the kubeconfig, with errors that say what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from paceline.api import COMPRESSION_KIND, COMPRESSION_PLURAL, GROUP, KIND, PLURAL, VERSION

PAGE = 500
TIMEOUT_SECONDS = 30
Json = dict[str, Any]


class ClusterError(Exception):
    """Names the cause and the cure."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """``namespace``: the one that was asked for, else the context's."""

    namespace: str
    server: str
    jobs: Any
    core: Any

    @classmethod
    def of(cls, context: str, namespace: str) -> Cluster:
        """Raises ClusterError where the kubeconfig leads to none."""
        load: Any = config  # the kubernetes package carries no types
        try:
            contexts, active = load.list_kube_config_contexts()
        except ConfigException as error:
            raise ClusterError(f"no cluster: {error} Set KUBECONFIG, or write ~/.kube/config") from error
        if context:
            active = next((each for each in contexts if each["name"] == context), None)
            if active is None:
                known = ", ".join(sorted(each["name"] for each in contexts))
                raise ClusterError(f"--context {context}: there is none of that name; there are: {known}")
        try:
            load.load_kube_config(context=context or None)
        except ConfigException as error:
            raise ClusterError(f"the kubeconfig cannot be used: {error}") from error
        own = (active or {}).get("context", {}).get("namespace") or "default"
        api: Any = client
        server = str(api.Configuration.get_default_copy().host)
        return cls(namespace or own, server, api.CustomObjectsApi(), api.CoreV1Api())

    def list_jobs(self, *, everywhere: bool = False) -> list[Json]:
        """All TrainingJobs of the namespace, or of all. Raises ClusterError."""
        where = () if everywhere else (self.namespace,)
        ask = self.jobs.list_cluster_custom_object if everywhere else self.jobs.list_namespaced_custom_object
        found: list[Json] = []
        page = ""
        try:
            while True:
                more = {"_continue": page} if page else {}
                answer = ask(GROUP, VERSION, *where, PLURAL, limit=PAGE, _request_timeout=TIMEOUT_SECONDS, **more)
                found += answer["items"]
                page = answer["metadata"].get("continue", "")
                if not page:
                    break
        except (ApiException, HTTPError) as error:
            raise self.explain(error, "" if everywhere else self.namespace) from error
        if not found and not everywhere:
            self._must_exist()
        return found

    def compression(self, name: str) -> Json:
        """A CompressionJob of the namespace. Raises ClusterError."""
        where = (GROUP, VERSION, self.namespace, COMPRESSION_PLURAL, name)
        try:
            found: Json = self.jobs.get_namespaced_custom_object(*where, _request_timeout=TIMEOUT_SECONDS)
        except ApiException as error:
            # Of a kind that it does not know, the API server answers with a plain page and no Status.
            if error.status == 404 and "NotFound" in str(error.body):
                self._must_exist()
                raise ClusterError(
                    f"there is no {COMPRESSION_KIND} {name} in {self.namespace}: kubectl get cj -n {self.namespace} lists them"
                ) from error
            raise self.explain(error, self.namespace, COMPRESSION_KIND, COMPRESSION_PLURAL) from error
        except HTTPError as error:
            raise self.explain(error, self.namespace) from error
        return found

    def _must_exist(self) -> None:
        """The API server's list of a namespace that does not exist is empty. Who may not read namespaces cannot know better."""
        try:
            self.core.read_namespace(self.namespace, _request_timeout=TIMEOUT_SECONDS)
        except ApiException as error:
            if error.status == 404:
                raise ClusterError(f"there is no namespace {self.namespace}: see -n and --context") from error
        except HTTPError as error:
            raise self.explain(error, self.namespace) from error

    def explain(
        self, error: ApiException | HTTPError, namespace: str, kind: str = KIND, plural: str = PLURAL
    ) -> ClusterError:
        """What went wrong in a request for the objects of a kind in ``namespace`` (empty: in all), and the cure."""
        if not isinstance(error, ApiException):
            return ClusterError(
                f"the cluster at {self.server} does not answer: is --context the one that was meant? {error}"
            )
        match error.status:
            case 401:
                return ClusterError(f"the cluster at {self.server} does not know who asks: log in again (401)")
            case 403:
                where, other = (f"-n {namespace}", "") if namespace else ("-A", ", or ask for one namespace with -n")
                verb = "list" if kind == KIND else "get"
                cure = f"ask for the right to {verb} them (kubectl auth can-i {verb} {plural}.{GROUP} {where}){other}"
                return ClusterError(f"not allowed to {verb} {kind}s{f' in {namespace}' if namespace else ''}: {cure}")
            case 404:
                return ClusterError(
                    f"the cluster at {self.server} has no {kind}s ({plural}.{GROUP}): install Paceline's chart first"
                )
        return ClusterError(f"the cluster at {self.server} says {error.status} {error.reason}: {error.body}")
