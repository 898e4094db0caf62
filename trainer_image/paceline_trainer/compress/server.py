"""A plain HTTP server of one model, to be measured under load: POST inputs as .npy or JSON, and the logits come back alike.

python -m paceline_trainer.compress.server --onnx model.onnx --threads 1
python -m paceline_trainer.compress.server --folder EXPORT --threads 1   # weights that torchao has quantized

It prints its port, and ends when its standard input does: it cannot outlive who has started it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch

from paceline_trainer.compress.runtimes import Onnx, Runtime

NPY, JSON = "application/x-npy", "application/json"
LARGEST_BODY = 64 * 2**20


def served_by(runtime: Runtime) -> type[BaseHTTPRequestHandler]:
    """One request at a time is computed, whatever the number of connections: the threads are those of the runtime."""
    computing = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: the second would wait for an acknowledgement
        wbufsize = -1

        def do_POST(self) -> None:
            kind = JSON if self.headers.get("Content-Type", "").startswith(JSON) else NPY
            length = int(self.headers.get("Content-Length", "0"))
            if length > LARGEST_BODY:
                self._answer(413, b"too large", "text/plain")
                self.close_connection = True
                return
            try:
                inputs = _read(self.rfile.read(length), kind)
                with computing:
                    outputs = runtime(inputs)
            # ONNX Runtime's own exceptions are RuntimeErrors, or derive from Exception alone; all of them are the request's.
            except Exception as error:
                self._answer(400, str(error).encode(), "text/plain")
                return
            self._answer(200, _written(outputs, kind), kind)

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not a line for each request."""

    return Handler


def _read(body: bytes, kind: str) -> torch.Tensor:
    if kind == NPY:
        return torch.from_numpy(np.load(io.BytesIO(body), allow_pickle=False))
    found = torch.tensor(json.loads(body)["inputs"])
    return found.float() if found.is_floating_point() else found


def _written(outputs: torch.Tensor, kind: str) -> bytes:
    if kind == JSON:
        return json.dumps({"logits": outputs.tolist()}).encode()
    buffer = io.BytesIO()
    np.save(buffer, outputs.numpy(), allow_pickle=False)
    return buffer.getvalue()


def _runtime(args: argparse.Namespace) -> Runtime:
    if args.onnx is not None:
        return Onnx(args.onnx, args.threads)
    from paceline_trainer.compress.folders import fresh_model, runtime_of
    from paceline_trainer.loaded import manifest_of

    manifest = manifest_of(args.folder)
    return runtime_of(args.folder, manifest, "safetensors", args.threads, fresh_model(args.folder, manifest))


def main() -> None:
    parser = argparse.ArgumentParser(prog="paceline_trainer.compress.server", description="Serve one model.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--onnx", type=Path, help="an ONNX file")
    what.add_argument("--folder", type=Path, help="an export that has safetensors")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    server = ThreadingHTTPServer(("127.0.0.1", 0), served_by(_runtime(args)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"port {server.server_port}", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
