"""A real object store on loopback, for one module of tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

BUCKET = "results"


@contextmanager
def object_store() -> Iterator[Any]:
    """An S3 server with an empty bucket, and this process's environment set to speak to it; its file system."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with mock.patch.dict(os.environ, told):
            import s3fs

            s3fs.S3FileSystem.clear_instance_cache()
            store = s3fs.S3FileSystem()
            store.mkdir(BUCKET)
            yield store
            s3fs.S3FileSystem.clear_instance_cache()
    finally:
        server.stop()
