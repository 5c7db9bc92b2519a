"""Runs commands of pdt in forks of a process that has imported everything, under the tracer where that is asked for.

Run as a program, it reads requests, one JSON document a line, and answers each with one: ``{"code": 0, "output": "…"}``
and, from the tracer, ``"steps"`` and ``"fate"``. Between a request with an action `pause` and its answer it says
``{"paused": true}``, and goes on when a line comes in. Nothing but the imports is shared between commands: each is
`pdt`'s own entry point in a process of its own, which loads the pipeline anew.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from typing import Any, NoReturn

PR_SET_PTRACER = 0x59616D61

PRELOADED = (
    *("pdtcli.cli.app", "pdtcli.cli.root", "pdtcli.cli.pipeline", "pdtcli.cli.task", "pdtcli.cli.events"),
    *(
        "pdtcli.facade",
        "pdtcli.engine",
        "pdtcli.loader",
        "pdtcli.portal",
        "pdtcli.task.process",
        "pdtcli.task.executor",
    ),
    *("pdtcli.repository.yaml", "pdtcli.repository.s3", "pdtcli.repository.mongo", "pdtcli.repository.mongo_blob"),
    *("pdtcli.manager.local", "pdtcli.transfer", "jinja2", "yaml", "boto3", "pymongo", "typer.main"),
    *("tests.faults.scene", "encodings.idna", "concurrent.futures.thread"),
)


def child(request: dict[str, Any], ready: int, gate: int) -> NoReturn:
    """Become the command, once the parent has opened the gate."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, -1, 0, 0, 0)  # where only parents may trace
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.chdir(request["directory"])
        os.environ.update(request["environ"])
        sys.argv = ["pdt", *request["arguments"]]
        os.close(ready)
        os.read(gate, 1)
        os.close(gate)
        signal.alarm(request.get("limit", 0))
        from pdtcli.cli.app import execute

        code = execute(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # what the parent imported need not be taken down


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Run one command."""
    gate, opening = os.pipe()
    readiness, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(opening)
        os.close(readiness)
        child(request, ready, gate)
    os.close(gate)
    os.close(ready)
    os.read(readiness, 1)  # until it is closed: what comes before is no step of pdt's
    os.close(readiness)
    tracer = None
    answer: dict[str, Any] = {}
    if "trace" in request:
        command = [request["tracer"], str(pid), *map(str, request["trace"])]
        tracer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert tracer.stdout is not None
        assert tracer.stdin is not None
        if tracer.stdout.readline() != "ready\n":
            os.close(opening)
            os.waitpid(pid, 0)
            return {"refused": tracer.wait()}
    os.write(opening, b"!")
    os.close(opening)
    if tracer is not None:
        assert tracer.stdout is not None
        assert tracer.stdin is not None
        while (line := tracer.stdout.readline()) == "paused\n":
            print(json.dumps({"paused": True}), flush=True)
            sys.stdin.readline()
            print("go on", file=tracer.stdin, flush=True)
        tracer.communicate()
        steps, _, fate = line.strip().partition(" ")
        answer |= {"steps": int(steps or -1), "fate": fate}
    _, status = os.waitpid(pid, 0)
    with open(request["output"], errors="replace") as file:
        answer |= {"code": os.waitstatus_to_exitcode(status), "output": file.read()}
    return answer


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
