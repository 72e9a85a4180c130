"""Commands that change: apply, delete, edit."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from api.cli.client import Client, RefusedError
from api.cli.common import (
    ClusterOption,
    Files,
    KindArgument,
    NameArgument,
    Namespace,
    Server,
    Timeout,
    TokenFile,
    Wait,
    await_rollout,
    path_from,
    send,
)
from api.cli.documents import load, parse
from federation.errors import CausewayError, InvalidInput
from federation.kinds.registry import kind_named
from federation.resources.codec import decode

DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")]


def apply(
    filename: Files = None,
    cluster: Annotated[
        str, typer.Option(help="Cluster of documents that name none: kubectl's, above all.")
    ] = "",
    wait: Wait = False,
    timeout: Timeout = 60,
    dry_run: DryRun = False,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Create or change what files say, all or nothing: our documents, and those of Kubernetes, Calico and Cilium as they stand."""
    client = Client(server, token_file)
    revision = send(client, "/api/v1/apply", load(filename or [], cluster), is_dry=dry_run)
    if wait and not dry_run:
        await_rollout(client, revision, timeout)


def delete(
    kind: Annotated[str, typer.Argument(help="Kind (not with -f).")] = "",
    names: Annotated[list[str] | None, typer.Argument(help="Names.")] = None,
    filename: Files = None,
    cluster: ClusterOption = "",
    namespace: Namespace = "",
    wait: Wait = False,
    timeout: Timeout = 60,
    dry_run: DryRun = False,
    server: Server = "",
    token_file: TokenFile = "",
) -> None:
    """Delete what files say, or KIND NAME…, all or nothing."""
    if bool(filename) is bool(kind):
        raise InvalidInput("what is to be deleted?", hint="either -f FILE, or KIND NAME…")
    client = Client(server, token_file)
    if filename:
        items = load(filename, cluster)
    else:
        known = kind_named(kind)
        if not names:
            raise InvalidInput(f"which {known.plural}?", hint=f"causeway delete {kind} NAME…")
        paths = [path_from(known, name, cluster, namespace) for name in names]
        items = [client.ask("GET", f"/api/v1/{known.plural}/{path}") for path in paths]
    revision = send(client, "/api/v1/delete", items, is_dry=dry_run)
    if wait and not dry_run:
        await_rollout(client, revision, timeout)


def edit(
    kind: KindArgument, name: NameArgument, cluster: ClusterOption = "", namespace: Namespace = "", server: Server = "", token_file: TokenFile = "",
) -> None:  # fmt: skip
    """Change one object in $EDITOR. A refusal opens the editor again; an unchanged file changes nothing."""
    known = kind_named(kind)
    client = Client(server, token_file)
    path = f"/api/v1/{known.plural}/{path_from(known, name, cluster, namespace)}"
    item = client.ask("GET", path)
    standing = yaml.safe_dump({key: item[key] for key in ("apiVersion", "kind", "metadata", "spec") if key in item}, sort_keys=False)  # fmt: skip
    etag = f'"{item["metadata"]["revision"]}"'
    text, said = standing, ""
    while True:
        edited = _edited(said + text)
        if edited in (text, standing):
            sys.stderr.write("nothing was changed\n" if not said else "given up: nothing was changed\n")
            raise typer.Exit(1 if said else 0)
        try:
            document = _document(edited)
            client.ask("PUT", path, document, if_match=etag)
        except CausewayError as error:
            if isinstance(error, RefusedError) and error.reason in ("stale-revision", "not-found"):
                raise
            text = edited
            said = "".join(f"# {line}\n" for line in str(error).splitlines())
            continue
        sys.stdout.write(f"{known.name} {name} changed\n")
        return


def _document(text: str) -> dict[str, Any]:
    """The one document of an edited text. Raises InvalidInput."""
    found = [d for d in parse("the edited text", text) if d is not None]
    if len(found) != 1:
        raise InvalidInput(f"one document is needed, not {len(found)}")
    decode(found[0])
    return dict(found[0])


def _edited(text: str) -> str:
    """What the user's editor made of a text, without the comment lines that we put at its head."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="causeway-edit-") as folder:
        file = Path(folder) / "object.yaml"
        file.write_text(text)
        try:
            done = subprocess.run([*shlex.split(editor), str(file)], check=False)
        except OSError as error:
            raise InvalidInput(
                f"the editor {editor!r} does not start: {error.strerror}", hint="set EDITOR"
            ) from error
        if done.returncode != 0:
            raise InvalidInput(f"the editor ended with {done.returncode}; nothing was changed")
        return "".join(
            line for line in file.read_text().splitlines(keepends=True) if not line.startswith("# ")
        )
