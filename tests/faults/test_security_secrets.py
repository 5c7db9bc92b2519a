"""Secrets are used and never shown: markers are planted wherever a pipeline has one, and looked for everywhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.harness import Pdt
from tests.processes import environment, until
from tests.servers.mongo import MongoServer
from tests.servers.registry import RegistryServer
from tests.servers.s3 import S3Server

PIPELINE = """
    import os
    from pathlib import Path
    import pdtcli

    here = Path(__file__).parent
    session = pdtcli.Session()
    patience = float(os.environ["PATIENCE"])
    client = session.resource(pdtcli.s3_client(max_attempts=1, connect_timeout=patience, read_timeout=patience))
    database = session.resource(
        pdtcli.mongo_database(os.environ["MONGO_URI"], os.environ["DATABASE"], timeout=patience)
    )

    @session.resource
    async def registry():
        domains = [os.environ["REGISTRY"]]
        async with pdtcli.Registry(plain_http=domains, timeout=5, retries=0) as opened:
            yield opened

    work = pdtcli.ProcessTask(
        "work",
        pdtcli.LocalLinuxManager("secrets"),
        pdtcli.ResourceManager(pdtcli.Resources.parse("4")),
        pdtcli.Resources.parse("1"),
        pdtcli.MongoMetadataRepository(database, "pids"),
        f'test -n "$TOKEN" && touch {here}/$PDT_JOB; until [ -e {here}/go ]; do sleep 0.01; done; [ $PDT_JOB != bad ]',
        environ={"TOKEN": "marker-of-the-job-00"},
        done=pdtcli.MongoMetadataRepository(database, "done"),
        failed=pdtcli.YamlMetadataS3Repository(client, os.environ["BUCKET"], "failed/"),
        stdout=pdtcli.S3BucketRepository(client, os.environ["BUCKET"], "stdout/"),
    )
    work.link("input", pdtcli.FileRepository(here / "input"), is_input=True)
    work.link("images", pdtcli.DockerRepository(registry, os.environ["REGISTRY"], "team/images"), is_output=True)
    pipeline = pdtcli.Pipeline([work], session)
"""

QUESTIONS = [
    ("repo", "ls"),
    ("repo", "info", "work.images", "good"),
    ("repo", "cat", "work.pids", "good"),
    ("repo", "cat", "work.images", "absent"),
    ("task", "why", "work", "good"),
    ("task", "logs", "work", "good"),
    ("status",),
    ("check",),
]

ANSWERS = [("repo", "cat", "work.done", "good"), ("repo", "cat", "work.failed", "bad"), ("trace", "good")]

MARKERS = ("marker-of-s3-secret-0", "marker-of-the-job-00", "marker-of-registry-0")


SERVE = """
import json, os, sys

import boto3, httpx, jinja2, pdtcli.cli.app, pdtcli.engine, pdtcli.task.process, pymongo

for line in sys.stdin:
    arguments, env, out = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.environ.update(env)
            for number in (1, 2):
                os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
            sys.argv = ["pdt", *arguments]
            try:
                pdtcli.cli.app.entry()
            except SystemExit as leaving:
                code = leaving.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Calls `pdt` in processes that have imported it: the libraries of three stores take seconds on a busy machine."""


class Everything:
    """All that pdt lets out, and where a marker was met in it."""

    def __init__(self, pdt: Pdt, markers: tuple[str, ...], server: subprocess.Popen[str]) -> None:
        self.pdt = pdt
        self.server = server
        # As it is, and as it goes into a URI or a header.
        forms = {
            form for marker in markers for form in (marker, base64.b64encode(marker.encode()).decode().rstrip("="))
        }
        self.markers = {form.encode() for form in forms}
        self.found: list[str] = []

    def look(self, where: str, text: bytes) -> None:
        self.found += [f"{marker.decode()} in {where}: {text[:4000]!r}" for marker in self.markers if marker in text]

    def call(self, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        """A command, with everything told, whose answer is looked at."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        said = self.pdt.directory / "said"
        said.unlink(missing_ok=True)
        loud = ["--debug", "-vv", "--log-file", str(self.pdt.directory / "log"), *arguments]
        self.server.stdin.write(json.dumps([loud, {**self.pdt.env, **(env or {})}, str(said)]) + "\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        self.look(f"what {' '.join(arguments)} prints", said.read_bytes())
        return code, said.read_text()

    def look_at_files(self, *, live: bool) -> None:
        """All files but the pipeline's own; while a job is live, the file of its environment has what is in it."""
        for path in self.pdt.directory.rglob("*"):
            if path.is_file() and path.name not in ("config.json", "pipeline.py") and path.suffix != ".pyc":
                if live and path.name == "env":
                    assert path.stat().st_mode & 0o777 == 0o600
                else:
                    self.look(str(path), path.read_bytes())

    def look_at_processes(self) -> None:
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                self.look(f"the arguments of process {entry}", Path(f"/proc/{entry}/cmdline").read_bytes())
            except (FileNotFoundError, ProcessLookupError):
                pass


@pytest.fixture
def world(
    tmp_path: Path,
    s3_server: S3Server,
    s3_bucket: str,
    mongo_replica_server: MongoServer,
    registry_auth_server: RegistryServer,
) -> Iterator[Everything]:
    pdt = Pdt(tmp_path)
    pdt.write("pipeline.py", PIPELINE)
    mongo, registry = mongo_replica_server, registry_auth_server
    assert mongo.password is not None
    assert registry.password is not None
    login = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
    pdt.write("docker/config.json", json.dumps({"auths": {registry.domain: {"auth": login}}}))
    pdt.env |= {
        **s3_server.environ,
        "AWS_SECRET_ACCESS_KEY": MARKERS[0],  # this server never looks at it
        "BUCKET": s3_bucket,
        "PATIENCE": "20",
        "MONGO_URI": mongo.uri,
        "DATABASE": f"secrets-{tmp_path.name}",
        "REGISTRY": registry.domain,
        "DOCKER_CONFIG": str(tmp_path / "docker"),
    }
    for job in ("good", "bad"):
        pdt.write(f"input/{job}", "")
    markers = (MARKERS[0], MARKERS[1], mongo.password, registry.password, login)
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=tmp_path,
        env=environment(XDG_STATE_HOME=str(tmp_path / "xdg")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield Everything(pdt, markers, server)


def test_while_jobs_run_and_when_they_have_ended(world: Everything) -> None:
    code, said = world.call("tick")
    assert code == 0, said
    until(lambda: all((world.pdt.directory / job).exists() for job in ("good", "bad")))
    world.look_at_processes()
    world.look_at_files(live=True)
    for question in QUESTIONS:
        world.call(*question, "--json")
    (world.pdt.directory / "go").touch()
    code, said = world.call("run")
    assert code == 1, said
    assert world.call("repo", "ls", "work.done")[1].splitlines()[-1] == "good"
    for question in ANSWERS:
        code, said = world.call(*question)
        assert code == 0, said
    world.look_at_files(live=False)

    assert world.found == []


UNREACHABLE = "127.0.0.1:9"


def test_in_what_is_said_of_servers_that_do_not_answer_or_refuse(world: Everything) -> None:
    env = world.pdt.env
    wrong = {
        "s3": ({"AWS_ENDPOINT_URL": f"http://{UNREACHABLE}"}, "work.stdout"),
        "mongo": ({"MONGO_URI": f"mongodb://user:{MARKERS[2]}@{UNREACHABLE}/"}, "work.done"),
        "mongo password": ({"MONGO_URI": env["MONGO_URI"].replace("mongodb://", "mongodb://x", 1)}, "work.done"),
        "mongo nonsense": ({"MONGO_URI": f"mongodb://user:{MARKERS[2]}@@/?x"}, "work.done"),
        "registry": ({"REGISTRY": UNREACHABLE}, "work.images"),
    }
    env["PATIENCE"] = "0.5"
    world.markers.add(MARKERS[2].encode())
    login = base64.b64encode(f"user:{MARKERS[2]}".encode()).decode()
    world.markers.add(login.encode())
    auths = {"auths": {domain: {"auth": login} for domain in (UNREACHABLE, env["REGISTRY"])}}
    for name, (change, repository) in wrong.items():
        code, said = world.call("repo", "ls", repository, env=change)
        assert code != 0, (name, said)
    assert world.call("tick", env=wrong["s3"][0])[0] != 0
    world.pdt.write("docker/config.json", json.dumps(auths))
    for change in ({}, {"REGISTRY": UNREACHABLE}):
        code, said = world.call("repo", "ls", "work.images", env=change)
        assert code != 0, said
    world.look_at_files(live=False)

    assert world.found == []
