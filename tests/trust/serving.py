"""A study on a real server: in this process, or in one of its own that can be killed."""

import contextlib
import re
import subprocess
import sys
import threading
import time

import uvicorn

from cofire.trust.serving import Pages

KILLABLE = """
import sys
from pathlib import Path
import uvicorn
from cofire.trust.answers import Answers
from cofire.trust.design import Study
from cofire.trust.serving import Pages
folder = Path(sys.argv[1])
study = Study.open(folder)
pages = Pages(folder, study, Answers(f"sqlite:///{folder}/answers.db", study))
uvicorn.run(pages.app, port=int(sys.argv[2]), log_level="info", access_log=False)
"""


@contextlib.contextmanager
def served(folder, study, answers, invites=None):
    """The address of the pages."""
    config = uvicorn.Config(
        Pages(folder, study, answers, invites).app, port=0, log_level="error", access_log=False
    )
    server = uvicorn.Server(config)
    running = threading.Thread(target=server.run)
    running.start()
    try:
        while not server.started and running.is_alive():
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        running.join()
        answers.close()


@contextlib.contextmanager
def killable(folder, port=0):
    """The process that serves, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLABLE, str(folder), str(port)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield process, found[0]
                break
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
