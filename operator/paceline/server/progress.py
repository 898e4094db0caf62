"""The progress endpoint: HTTPS, token-checked, size- and rate-limited. One job cannot write another's status."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp import web
from pydantic import ValidationError

from paceline.api.trainingjob import TrainingJob
from paceline.kube.client import ApiError
from paceline.plan.observed import Report
from paceline.server.auth import Authenticator
from paceline.server.payload import Payload, to_report

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
# A job may report this often without a pause, and this often for ever.
BURST = 20
PER_SECOND = 2.0


class Jobs(Protocol):
    """What the endpoint needs of the controller."""

    def job_by_key(self, key: str) -> TrainingJob | None: ...
    def report(self, uid: str, report: Report) -> None: ...
    def report_of(self, uid: str) -> Report | None: ...
    def report_every(self, job: TrainingJob) -> float: ...


class Bucket:
    """A token bucket."""

    def __init__(self, now: float) -> None:
        self._level, self._at = float(BURST), now

    def take(self, now: float) -> bool:
        self._level = min(BURST, self._level + (now - self._at) * PER_SECOND)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class ProgressServer:
    def __init__(self, jobs: Jobs, auth: Authenticator, clock: Callable[[], float]) -> None:
        self._jobs, self._auth, self._clock = jobs, auth, clock
        self._buckets: dict[str, Bucket] = {}

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1alpha1/namespaces/{namespace}/trainingjobs/{name}/progress", self._post)
        return app

    def forget(self, uid: str) -> None:
        """The job is gone."""
        self._buckets.pop(uid, None)

    async def _post(self, request: web.Request) -> web.Response:
        namespace = request.match_info["namespace"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            return _no(401, "a bearer token is needed: the one at $KUBEFLOW_TRAINER_SERVER_TOKEN")
        job = self._jobs.job_by_key(f"{namespace}/{request.match_info['name']}")
        try:
            # No job and no right to it are the same answer: an outsider learns no names.
            if job is None or not await self._auth.allows(token, namespace, job.metadata.uid):
                return _no(403, "this token is not of a pod of this job")
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("token not reviewed: %s", error)
            return _no(503, "the token cannot be checked now; try again")
        now, uid = self._clock(), job.metadata.uid
        if not self._buckets.setdefault(uid, Bucket(now)).take(now):
            return _no(429, f"more than {PER_SECOND:.0f} reports a second", {"Retry-After": "1"})
        try:
            payload = Payload.model_validate_json(await request.read())
        except ValidationError as error:
            first = error.errors()[0]
            return _no(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        if (payload.status.attempt or job.status.attempt) < job.status.attempt:
            return _no(409, f"this is attempt {payload.status.attempt}; the job is at attempt {job.status.attempt}")
        self._jobs.report(uid, to_report(payload, self._jobs.report_of(uid), now))
        # One of thousands is heard less often; who does not read this is answered all the same.
        return web.json_response({"everySeconds": self._jobs.report_every(job)})


def _no(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": message}, status=status, headers=headers)


async def listen(server: ProgressServer, port: int, tls: Path) -> web.AppRunner:
    """Serve on all addresses with tls.crt and tls.key of a directory. Close with ``runner.cleanup()``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
    runner = web.AppRunner(server.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port, ssl_context=context).start()
    return runner
