"""A control plane on loopback, as far as deploying goes: it takes uploads and keeps what was deployed."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from flyteidl2.cluster import payload_pb2
from flyteidl2.cluster.service_connect import ClusterServiceWSGIApplication
from flyteidl2.dataproxy import dataproxy_service_pb2
from flyteidl2.dataproxy.dataproxy_service_connect import DataProxyServiceSync, DataProxyServiceWSGIApplication
from flyteidl2.task import task_definition_pb2, task_service_pb2
from flyteidl2.task.task_service_connect import TaskServiceSync, TaskServiceWSGIApplication

BUCKET = "s3://bucket/uploads"


class ControlPlane(TaskServiceSync, DataProxyServiceSync):
    """Serves on `endpoint` inside a `with` block.

    Attributes:
        endpoint: Where, for `flyte.init(endpoint=..., insecure=True)`.
        deployed: The specifications that were deployed, by task name.
        uploads: What was uploaded, by address.
    """

    def __init__(self) -> None:
        self.deployed: dict[str, task_definition_pb2.TaskSpec] = {}
        self.uploads: dict[str, bytes] = {}
        self._server = make_server("127.0.0.1", 0, self._answer, server_class=_Threads, handler_class=_Silent)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._applications: dict[str, Callable[..., Iterable[bytes]]] = {
            "/flyteidl2.task.TaskService": TaskServiceWSGIApplication(self),
            "/flyteidl2.dataproxy.DataProxyService": DataProxyServiceWSGIApplication(self),
            "/flyteidl2.cluster.ClusterService": ClusterServiceWSGIApplication(self),
        }

    def __enter__(self) -> ControlPlane:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def deploy_task(self, request: task_service_pb2.DeployTaskRequest, ctx: Any) -> Any:
        """Keep what is deployed."""
        self.deployed[request.task_id.name] = request.spec
        return task_service_pb2.DeployTaskResponse()

    def create_upload_location(self, request: dataproxy_service_pb2.CreateUploadLocationRequest, ctx: Any) -> Any:
        """Say where a file goes: an address that was signed, and the one that tasks read."""
        place = f"{request.content_md5.hex()}/{request.filename}"
        return dataproxy_service_pb2.CreateUploadLocationResponse(
            signed_url=f"{self.endpoint}/store/{place}", native_url=f"{BUCKET}/{place}"
        )

    def select_cluster(self, request: payload_pb2.SelectClusterRequest, ctx: Any) -> Any:
        """There is one cluster, this."""
        return payload_pb2.SelectClusterResponse()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        service = path.rpartition("/")[0]
        if service in self._applications:
            return self._applications[service](environ, start_response)
        if environ["REQUEST_METHOD"] == "PUT" and path.startswith("/store/"):
            content = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            self.uploads[path.replace("/store", BUCKET, 1)] = content
            start_response("200 OK", [("Content-Length", "0")])
            return []
        start_response("404 Not Found", [("Content-Length", "0")])
        return []


class BuiltElsewhere:
    """An image builder for which every image is there already."""

    def get_checkers(self) -> None:
        """There is nobody to ask whether an image exists, so that Flyte takes it as given."""


class _Threads(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing is said of the requests."""
