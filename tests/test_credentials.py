"""User and password of the servers: where they come from, and to whom they are ever sent."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway import credentials
from ridgeway.errors import UsageError
from ridgeway.settings import RegistrySection, ServersSection, Settings, load, secret

GIVEN = {"RIDGEWAY_SERVERS__PASSWORD": "quiet-river-7431"}


@pytest.fixture(autouse=True)
def signed_out() -> Iterator[None]:
    yield
    credentials._KNOWN.clear()


def settings(registry: str = "http://127.0.0.1:5050", prefect: str = "auto") -> Settings:
    return Settings(registry=RegistrySection(uri=registry), servers=ServersSection(prefect=prefect))


def test_a_password_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    made = credentials.make_password(tmp_path)
    assert len(made) == 32
    assert credentials.make_password(tmp_path) == made
    path = credentials.password_file(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert credentials.make_password(tmp_path / "other") != made


def test_a_made_password_stays_on_this_machine(tmp_path: Path) -> None:
    made = credentials.make_password(tmp_path)
    environ: dict[str, str] = {}
    credentials.sign_in(settings("https://mlflow.example", "https://prefect.example/api"), tmp_path, environ)
    assert environ == {}
    assert credentials.for_url("https://prefect.example/api/health") is None
    known = credentials.for_url("http://127.0.0.1:4200/api/health")
    assert known is not None
    assert known.text == f"ridgeway:{made}"
    assert made not in repr(known)
    credentials.sign_in(settings(), tmp_path, environ)
    assert environ == {"MLFLOW_TRACKING_USERNAME": "ridgeway", "MLFLOW_TRACKING_PASSWORD": made}


def test_a_given_one_goes_to_the_servers_that_are_named_and_to_no_other(tmp_path: Path) -> None:
    environ = dict(GIVEN)
    credentials.sign_in(settings("https://mlflow.example", "https://prefect.example/api"), tmp_path, environ)
    assert environ["MLFLOW_TRACKING_PASSWORD"] == "quiet-river-7431"
    assert credentials.for_url("https://prefect.example/api/flows/filter") is not None
    for other in ("http://prefect.example/api", "https://prefect.example:8443/api", "https://other.example", "auto"):
        assert credentials.for_url(other) is None
    credentials.sign_in(settings("https://mlflow.example"), tmp_path, {})
    assert credentials.for_url("https://prefect.example/api") is None


def test_what_a_user_has_set_for_mlflow_stays(tmp_path: Path) -> None:
    for own in ({"MLFLOW_TRACKING_TOKEN": "t"}, {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "mine"}):
        environ = {**GIVEN, **own}
        credentials.sign_in(settings(), tmp_path, environ)
        assert environ == {**GIVEN, **own}


def test_a_server_that_listens_elsewhere_now(tmp_path: Path) -> None:
    credentials.make_password(tmp_path)
    state = tmp_path / "services" / "services.json"
    state.parent.mkdir()
    state.write_text('{"services": [{"address": "http://10.1.2.3:4200"}, {"address": ""}]}')
    credentials.sign_in(settings(), tmp_path, {})
    assert credentials.for_url("http://10.1.2.3:4200/api/health") is not None
    state.write_text("{")
    credentials.sign_in(settings(), tmp_path, {})
    assert credentials.for_url("http://10.1.2.3:4200/api/health") is None


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    name = "RIDGEWAY_SERVERS__PASSWORD"
    file.write_text("quiet-river-7431\n")
    assert secret(name, {f"{name}_FILE": str(file)}) == "quiet-river-7431"
    with pytest.raises(UsageError, match="given twice"):
        secret(name, {f"{name}_FILE": str(file), name: "x"})
    for content, problem in (("", "it is empty"), ("a\nb\n", "it holds several lines")):
        file.write_text(content)
        with pytest.raises(UsageError, match=problem):
            secret(name, {f"{name}_FILE": str(file)})
    with pytest.raises(UsageError, match="No such file"):
        secret(name, {f"{name}_FILE": str(tmp_path / "none")})


def refusal(root: Path, *overrides: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(root, overrides=overrides, environ=environ)
    message = str(caught.value)
    assert "quiet-river" not in message
    return message


def test_a_secret_is_no_setting(tmp_path: Path) -> None:
    (tmp_path / "ridgeway.toml").write_text("[servers]\npassword = 'quiet-river'")
    assert "servers.password is a secret, and no setting" in refusal(tmp_path)
    (tmp_path / "ridgeway.toml").write_text("")
    assert "RIDGEWAY_SERVERS__DATABASE_PASSWORD_FILE" in refusal(tmp_path, "servers.database_password=quiet-river")
    loaded = load(tmp_path, environ={**GIVEN, "RIDGEWAY_SERVERS__DATABASE_PASSWORD_FILE": "/run/p"})
    assert "quiet-river" not in loaded.settings.model_dump_json()


def test_no_address_holds_a_password(tmp_path: Path) -> None:
    (tmp_path / "ridgeway.toml").write_text("")
    for setting in ("servers.database=postgresql", "servers.prefect=https", "registry.uri=https"):
        message = refusal(tmp_path, f"{setting}://me:quiet-river@db.example/team")
        assert "a password stands in" in message
        assert "://me:…@db.example/team" in message


# ---- the database's setting ------------------------------------------------------------------------------------------


def test_with_postgresql_the_registry_is_the_mlflow_server(tmp_path: Path) -> None:
    (tmp_path / "ridgeway.toml").write_text("[registry]\nuri = 'sqlite:///.ridgeway/mlflow.db'")
    database = {"RIDGEWAY_SERVERS__DATABASE": "postgresql://ridgeway@db.example/team"}
    loaded = load(tmp_path, environ=database)
    assert loaded.settings.registry.uri == "http://127.0.0.1:5050"
    assert loaded.origin("registry.uri") == "servers.database (RIDGEWAY_SERVERS__DATABASE)"
    named = load(tmp_path, environ={**database, "RIDGEWAY_SERVERS__HOST": "10.1.2.3"})
    assert named.settings.registry.uri == "http://10.1.2.3:5050"
    elsewhere = load(tmp_path, environ={**database, "RIDGEWAY_REGISTRY__URI": "https://mlflow.example"})
    assert elsewhere.settings.registry.uri == "https://mlflow.example"
    assert "the address of the MLflow server" in refusal(tmp_path, "registry.uri=sqlite:///mine.db", **database)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mysql://ridgeway@db.example/team", 'neither "sqlite" nor postgresql://'),
        ("postgresql://db.example/team", "it names no user or no host"),
        ("postgresql://ridgeway@db.example/", "the name in it"),
        ("postgresql://ridgeway@db.example/Team-A", "the name in it"),
        ("postgresql://ridgeway@db.example/team?options=x", "it has the option options"),
        ("postgresql://ridgeway@db.example/team?sslmode=yes", "sslmode must be one of"),
        ("postgresql://ridgeway@db.example:port/team", "Port could not be cast"),
    ],
)
def test_addresses_that_are_none(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "ridgeway.toml").write_text("")
    assert problem in refusal(tmp_path, f"servers.database={text}")
