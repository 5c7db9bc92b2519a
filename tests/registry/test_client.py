"""What a registry is told, and what is made of its answers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.registry.images import fresh_name, push
from tests.servers.proxy import Fault, Proxy, response
from tests.servers.registry import RegistryServer

from pdtcli import BackendError, DockerRepository, Registry, UsageError, copy_image
from pdtcli.errors import sentence
from pdtcli.registry.auth import Challenge, Keyring, parse_challenges


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Docker configuration of the test's own, which is not there yet."""
    directory = tmp_path / "docker"
    directory.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return directory


def helper(directory: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential helper that is the shell script `script`, with the name it is asked for in $name."""
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\nread -r name || :\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def given_to(server: RegistryServer) -> Registry:
    """A client that is given the credentials of `server`."""
    return Registry({server.domain: (server.user or "", server.password or "")}, plain_http=True)


@pytest.fixture(params=["registry_auth_server", "registry_token_server"], ids=["basic", "bearer"])
def guarded(request: pytest.FixtureRequest) -> RegistryServer:
    """A registry that asks who is there."""
    server: RegistryServer = request.getfixturevalue(request.param)
    return server


# ---- credentials


async def test_given_credentials_open_a_registry(guarded: RegistryServer) -> None:
    async with given_to(guarded) as client:
        repository = DockerRepository(client, guarded.domain, fresh_name())
        await push(repository, "one")
        await push(repository, "two")
        await repository.delete("one")
        assert await repository.keys() == {"two"}
        neighbour = DockerRepository(client, guarded.domain, fresh_name())
        assert (await copy_image(repository, "two", neighbour)).sent == 0
        assert await neighbour.contains("two")


async def test_stored_credentials_open_a_registry(guarded: RegistryServer, docker_config: Path) -> None:
    guarded.docker_config(docker_config)
    async with Registry(plain_http=True) as client:
        assert await DockerRepository(client, guarded.domain, fresh_name()).keys() == set()


async def test_a_credential_helper_opens_a_registry(
    guarded: RegistryServer, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"ServerURL": "x", "Username": guarded.user, "Secret": guarded.password})
    (docker_config / "answer").write_text(answer)
    script = f'[ "$name" = {guarded.domain} ] && exec cat {docker_config}/answer; echo credentials not found; exit 1'
    helper(docker_config, "own", script, monkeypatch)
    (docker_config / "config.json").write_text(json.dumps({"credHelpers": {guarded.domain: "own"}}))
    async with Registry(plain_http=True) as client:
        assert await DockerRepository(client, guarded.domain, fresh_name()).keys() == set()


async def test_without_credentials_the_error_says_where_to_get_some(guarded: RegistryServer) -> None:
    async with Registry(plain_http=True) as client:
        with pytest.raises(BackendError, match=f"docker login {guarded.domain}"):
            await DockerRepository(client, guarded.domain, fresh_name()).keys()


async def test_wrong_credentials_are_told_and_not_shown(guarded: RegistryServer) -> None:
    async with Registry({guarded.domain: ("pdt", "hunter2")}, plain_http=True) as client:
        with pytest.raises(BackendError, match="refused the credentials") as caught:
            await DockerRepository(client, guarded.domain, fresh_name()).keys()
    assert "hunter2" not in repr(caught.value)


async def test_of_many_requests_one_fetches_the_token(
    registry_token_server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with given_to(registry_token_server) as client:
        repository = DockerRepository(client, registry_token_server.domain, fresh_name())
        fetched: list[str] = []
        fetch = client._authorizer._fetch

        async def counting(method: str, url: str, *rest: Any) -> tuple[int, bytes]:
            fetched.append(url)
            return await fetch(method, url, *rest)

        monkeypatch.setattr(client._authorizer, "_fetch", counting)
        await asyncio.gather(*(repository.contains(f"job-{number}") for number in range(30)))
        await repository.keys()
    assert len(fetched) == 1


async def test_a_token_that_is_no_longer_good_is_replaced(registry_token_server: RegistryServer) -> None:
    async with given_to(registry_token_server) as client:
        repository = DockerRepository(client, registry_token_server.domain, fresh_name())
        await repository.keys()
        tokens = client._authorizer._tokens
        for key, (_, expiry) in list(tokens.items()):
            tokens[key] = ("Bearer stale", expiry)
        assert await repository.keys() == set()


async def test_a_token_service_without_encryption_gets_no_password(proxy_to: Callable[[int], Proxy]) -> None:
    from pdtcli.registry.auth import Authorizer

    asked: list[str] = []

    async def fetch(method: str, url: str, headers: object, params: object) -> tuple[int, bytes]:
        asked.append(url)
        return 200, b'{"token": "x"}'

    authorizer = Authorizer(Keyring({"example.org": ("me", "secret")}), fetch, lambda domain: False)
    with pytest.raises(BackendError, match="no https address"):
        await authorizer.answer("example.org", frozenset(), ['Bearer realm="http://elsewhere/token"'], None)
    assert asked == []


async def test_an_identity_token_is_traded_for_another(docker_config: Path) -> None:
    from pdtcli.registry.auth import Authorizer

    (docker_config / "config.json").write_text(
        '{"auths": {"example.org": {"auth": "bWU6", "identitytoken": "refresh"}}}'
    )
    asked: list[tuple[Any, ...]] = []

    async def fetch(*request: Any) -> tuple[int, bytes]:
        asked.append(request)
        return 200, b'{"access_token": "x", "expires_in": 300}'

    authorizer = Authorizer(Keyring(), fetch, lambda domain: False)
    challenge = 'Bearer realm="https://auth.example.org/token",service="s"'
    assert await authorizer.answer("example.org", frozenset(["repository:x:pull"]), [challenge], None) == "Bearer x"
    ((method, url, headers, form),) = asked
    assert (method, url, headers) == ("POST", "https://auth.example.org/token", {})
    assert {name: value for name, value in form if name != "client_id"} == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh",
        "service": "s",
        "scope": "repository:x:pull",
    }


# ---- where credentials are stored


async def find(domain: str) -> tuple[str, str, bool] | None:
    credential = await Keyring().find(domain)
    return None if credential is None else (credential.username, credential.secret, credential.identity)


@pytest.mark.parametrize(
    ("auths", "domain", "expected"),
    [
        ({"example.org": {"auth": "bWU6YTpi"}}, "example.org", ("me", "a:b", False)),
        ({"https://example.org": {"auth": "bWU6YTpi"}}, "example.org", ("me", "a:b", False)),
        ({"https://example.org/v2/": {"auth": "bWU6YTpi"}}, "example.org", ("me", "a:b", False)),
        ({"example.org:5000": {"auth": "bWU6YTpi"}}, "example.org:5000", ("me", "a:b", False)),
        ({"example.org:5000": {"auth": "bWU6YTpi"}}, "example.org", None),
        ({"https://index.docker.io/v1/": {"auth": "bWU6YTpi"}}, "docker.io", ("me", "a:b", False)),
        ({"https://index.docker.io/v1/": {"auth": "bWU6YTpi"}}, "registry-1.docker.io", ("me", "a:b", False)),
        ({"example.org": {"username": "me", "password": "x"}}, "example.org", ("me", "x", False)),
        ({"example.org": {"auth": "bWU6", "identitytoken": "t"}}, "example.org", ("me", "t", True)),
        ({"example.org": {}}, "example.org", None),
        ({}, "example.org", None),
    ],
)
async def test_docker_s_configuration_is_read_as_docker_does(
    docker_config: Path, auths: object, domain: str, expected: object
) -> None:
    (docker_config / "config.json").write_text(json.dumps({"auths": auths}))
    assert await find(domain) == expected


def entry(user: str) -> str:
    """A configuration with a credential for one registry."""
    return json.dumps({"auths": {"example.org": {"username": user, "password": "x"}}})


async def test_podman_s_files_come_before_docker_s(
    docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"docker": docker_config / "config.json"}
    files |= {name: tmp_path / name / "containers" / "auth.json" for name in ("config", "run")}
    for user, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry(user))
        assert await find("example.org") == (user, "x", False)
    (tmp_path / "named.json").write_text(entry("named"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "named.json"))
    assert await find("example.org") == ("named", "x", False)
    (tmp_path / "named.json").write_text("{}")
    assert await find("example.org") == ("docker", "x", False)


async def test_a_credential_for_a_part_of_a_registry_is_not_for_all_of_it(docker_config: Path) -> None:
    (docker_config / "config.json").write_text(json.dumps({"auths": {"example.org/team": {"auth": "bWU6YTpi"}}}))
    assert await find("example.org") is None


async def test_a_store_for_all_gives_way_to_what_it_does_not_have(
    docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(docker_config, "all", 'echo "credentials not found in native keychain"; exit 1', monkeypatch)
    config = {"credsStore": "all", "auths": {"example.org": {"auth": "bWU6YTpi"}}}
    (docker_config / "config.json").write_text(json.dumps(config))
    assert await find("example.org") == ("me", "a:b", False)
    assert await find("example.com") is None


async def test_a_helper_may_give_an_identity_token(docker_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(docker_config, "t", """echo '{"Username": "<token>", "Secret": "abc"}'""", monkeypatch)
    (docker_config / "config.json").write_text('{"credsStore": "t"}')
    assert await find("example.org") == ("<token>", "abc", True)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "cannot be read: it is not JSON"),
        ("[]", "cannot be read: it is not a JSON object"),
        ('{"auths": {"example.org": {"auth": "?"}}}', "entry for example.org is damaged"),
        ('{"credsStore": "absent"}', "docker-credential-absent, .* cannot be run: No such file"),
        ('{"credsStore": "../x"}', "no program's name"),
        ('{"credsStore": "broken"}', "docker-credential-broken failed with exit status 3"),
        ('{"credsStore": "chatty"}', "gave something else than credentials"),
    ],
)
async def test_what_does_not_work_is_told(
    docker_config: Path, monkeypatch: pytest.MonkeyPatch, config: str, reason: str
) -> None:
    helper(docker_config, "broken", "exit 3", monkeypatch)
    helper(docker_config, "chatty", "echo hello", monkeypatch)
    (docker_config / "config.json").write_text(config)
    with pytest.raises(BackendError, match=reason):
        await find("example.org")


def test_credentials_are_pairs() -> None:
    with pytest.raises(UsageError, match="not a pair") as caught:
        Registry({"example.org": "secret"})
    assert "secret" not in str(caught.value)


# ---- challenges


def test_challenges_are_read() -> None:
    assert parse_challenges(['Bearer realm="https://x/token",service="a b",scope="repository:x:pull,push"']) == [
        Challenge("bearer", {"realm": "https://x/token", "service": "a b", "scope": "repository:x:pull,push"})
    ]
    assert parse_challenges(['Negotiate, Basic realm="a, b=\\"c\\"", charset=UTF-8, Bearer realm=x', "basic"]) == [
        Challenge("negotiate", {}),
        Challenge("basic", {"realm": 'a, b="c"', "charset": "UTF-8"}),
        Challenge("bearer", {"realm": "x"}),
        Challenge("basic", {}),
    ]


words = st.text("abcxyz-", min_size=1).filter(lambda word: word[0] != "-")


@given(st.lists(st.tuples(words, st.dictionaries(words, st.text(st.characters(codec="latin-1")), min_size=1))))
def test_any_challenge_is_read_as_it_was_written(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        scheme + " " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert [(each.scheme, dict(each.parameters)) for each in parse_challenges([header])] == challenges


@given(st.text())
def test_no_challenge_is_too_odd_to_look_at(text: str) -> None:
    parse_challenges([text])


# ---- TLS


async def test_a_certificate_is_checked(registry_tls_server: RegistryServer) -> None:
    async with Registry() as client:
        with pytest.raises(BackendError, match=r"certificate that is not trusted .*Registry\(verify=FILE\)"):
            await DockerRepository(client, registry_tls_server.domain, fresh_name()).keys()


async def test_who_to_trust_can_be_named(registry_tls_server: RegistryServer) -> None:
    assert registry_tls_server.certificate is not None
    path = registry_tls_server.certificate.path
    for verify in (path, str(path), ssl.create_default_context(cafile=str(path)), False):
        async with Registry(verify=verify) as client:
            repository = DockerRepository(client, registry_tls_server.domain, fresh_name())
            await push(repository, "one")
            assert await repository.keys() == {"one"}


def certificates_for(tmp_path: Path, server: RegistryServer) -> Path:
    """Where the certificates for a registry belong."""
    directory = tmp_path / "config" / "containers" / "certs.d" / server.domain
    directory.mkdir(parents=True)
    return directory


async def test_who_to_trust_can_be_found_where_container_tools_look(
    registry_tls_server: RegistryServer, registry_server: RegistryServer, tmp_path: Path
) -> None:
    assert registry_tls_server.certificate is not None
    directory = certificates_for(tmp_path, registry_tls_server)
    shutil.copy(registry_tls_server.certificate.path, directory / "ca.crt")
    shutil.copy(registry_tls_server.certificate.path, directory / "client.cert")
    shutil.copy(registry_tls_server.certificate.key, directory / "client.key")
    async with Registry(plain_http=[registry_server.domain]) as client:
        for server in (registry_tls_server, registry_server):
            assert await DockerRepository(client, server.domain, fresh_name()).keys() == set()


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
async def test_a_certificate_that_is_none_is_told(
    registry_tls_server: RegistryServer, tmp_path: Path, name: str
) -> None:
    (certificates_for(tmp_path, registry_tls_server) / name).write_text("nothing")
    with pytest.raises(UsageError, match=rf"{name} holds no certificate that can be used: "):
        await Registry().__aenter__()


async def test_authorities_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no certificates to trust"):
        await Registry(verify=tmp_path / "absent").__aenter__()


async def test_plain_http_is_by_choice_only(registry_server: RegistryServer) -> None:
    async with Registry(plain_http=["example.org"]) as client:
        with pytest.raises(BackendError, match=r"does not speak TLS: Registry\(plain_http="):
            await DockerRepository(client, registry_server.domain, fresh_name()).keys()


async def test_plain_http_to_a_port_with_tls_is_told(registry_tls_server: RegistryServer) -> None:
    async with Registry(plain_http=True) as client:
        with pytest.raises(BackendError, match="HTTP request to an HTTPS server"):
            await DockerRepository(client, registry_tls_server.domain, fresh_name()).keys()


def test_what_names_itself_without_encryption_is_reached_with_it() -> None:
    client = Registry()
    assert client.resolve("example.org", "https://example.org/v2/x", "http://example.org/v2/y?a=b") == (
        "https://example.org/v2/y?a=b"
    )
    assert (
        client.resolve("example.org:5000", "https://example.org:5000/v2/x", "/v2/y") == "https://example.org:5000/v2/y"
    )
    with pytest.raises(BackendError, match="without encryption"):
        client.resolve("example.org", "https://example.org/v2/x", "http://elsewhere/y")


# ---- failures


@pytest.fixture
async def client() -> AsyncIterator[Registry]:
    async with Registry(plain_http=True, timeout=5, retries=2) as client:
        yield client


@pytest.fixture
def proxy(registry_server: RegistryServer, proxy_to: Callable[[int], Proxy]) -> Proxy:
    return proxy_to(registry_server.port)


@pytest.fixture
def through(client: Registry, proxy: Proxy) -> DockerRepository:
    return DockerRepository(client, f"127.0.0.1:{proxy.port}", fresh_name())


PASSING = [
    Fault("reset"),
    Fault("close"),
    Fault("close", after=20),
    Fault("answer", data=response("500 Internal Server Error")),
    Fault("answer", data=response("503 Service Unavailable")),
    Fault("answer", data=response("429 Too Many Requests", Retry_After="0")),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: f"{fault.kind} {fault.after} {fault.data[9:12].decode()}")
async def test_a_passing_failure_passes_unseen(through: DockerRepository, proxy: Proxy, fault: Fault) -> None:
    proxy.inject(fault, times=2)
    assert await through.keys() == set()
    assert proxy.faults == 2


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: f"{fault.kind} {fault.after} {fault.data[9:12].decode()}")
async def test_a_failure_that_stays_is_one_sentence(through: DockerRepository, proxy: Proxy, fault: Fault) -> None:
    proxy.inject(fault, times=100)
    for call in (through.keys(), through.contains("one"), through.delete("one"), through.open("one", "rb")):
        with pytest.raises(BackendError, match=r"^127\.0\.0\.1:\d+ (cannot be reached|cannot serve)") as caught:
            await call
        assert "\n" not in sentence(caught.value)
        assert caught.value.exit_code == 5


async def test_a_silent_registry_is_given_up_in_time(proxy: Proxy) -> None:
    proxy.inject(Fault("hang"), times=100)
    async with Registry(plain_http=True, timeout=0.5) as client:
        with pytest.raises(BackendError, match=r"did not answer within 0\.5 s"):
            await DockerRepository(client, f"127.0.0.1:{proxy.port}", "x").keys()


async def test_a_registry_that_is_not_there_is_told(through: DockerRepository, proxy: Proxy) -> None:
    proxy.down()
    with pytest.raises(BackendError, match="cannot be reached"):
        await through.keys()


async def test_a_server_that_is_no_registry_is_told(through: DockerRepository, proxy: Proxy) -> None:
    proxy.inject(Fault("answer", data=response("200 OK", "<html>welcome</html>")))
    with pytest.raises(BackendError, match="may be no registry"):
        await through.keys()


async def test_a_manifest_that_is_not_what_its_digest_says_is_refused(through: DockerRepository, proxy: Proxy) -> None:
    answer = response("200 OK", "{}", Docker_Content_Digest="sha256:" + "0" * 64)
    proxy.inject(Fault("answer", data=answer))
    with pytest.raises(BackendError, match="is damaged"):
        await through.read_bytes("one")


async def test_redirections_in_a_circle_end(through: DockerRepository, proxy: Proxy) -> None:
    proxy.inject(Fault("answer", data=response("302 Found", Location="/v2/")), times=100)
    with pytest.raises(BackendError, match="redirects"):
        await through.keys()


async def test_an_endless_answer_is_cut_off(through: DockerRepository, proxy: Proxy) -> None:
    proxy.inject(Fault("answer", data=response("200 OK", "x" * (5 * 1024 * 1024))))
    with pytest.raises(BackendError, match="answers with more than 4194304 bytes"):
        await through.read_bytes("one")


# ---- cost


def test_a_client_that_is_not_used_imports_no_http_library() -> None:
    code = """if True:
        import sys
        import pdtcli
        repository = pdtcli.DockerRepository(pdtcli.Registry(), "example.org", "x")
        pdtcli.ImageLayoutRepository("x"), pdtcli.LocalImageRepository(None, "x"), repr(repository)
        print(sorted({"httpx", "docker", "requests", "typer", "rich"}.intersection(sys.modules)))
    """
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"
