"""Where the API server is and who we are there: from inside a pod, or from a kubeconfig as kubectl reads it.

`Api` is made from an `Access`. It reads files and the environment when it is made; what goes stale (tokens) is
`credentials`' business. It never talks to the API server, and it puts no secret into a message.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringyard_operator.errors import ClusterUnknown
from ringyard_operator.kube.credentials import Anonymous, Basic, Credentials, Fixed, Plugin, TokenFile

_POD_FILES = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach one cluster.

    Attributes:
        server: URL of the API server, without a slash at its end.
        namespace: the one to use where none is said.
        name: what a sentence calls it: the context, or `this pod's cluster`.
        tls: how its certificate is checked and what we show; None for plain http.
        server_name: the name that its certificate is checked against, where that is not the host of `server`.
        proxy: an http proxy to go through, or empty.
    """

    server: str
    namespace: str
    name: str
    credentials: Credentials = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str = ""
    proxy: str = ""

    @classmethod
    def find(cls, path: str | os.PathLike[str] | None = None, context: str | None = None) -> Access:
        """A kubeconfig where one is named, set or at home; else, in a pod, the cluster that runs it."""
        in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and (_POD_FILES / "token").exists()
        wanted = path is not None or context is not None or "KUBECONFIG" in os.environ
        if in_pod and not wanted and not _at_home().exists():
            return cls.in_cluster()
        return cls.from_kubeconfig(path, context)

    @classmethod
    def in_cluster(cls) -> Access:
        """The ServiceAccount of the pod that we run in. Raises `ClusterUnknown` outside one."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        try:
            tls = _context((_POD_FILES / "ca.crt").read_text(encoding="ascii"))
            namespace = (_POD_FILES / "namespace").read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ClusterUnknown(f"{_POD_FILES}: no ServiceAccount of a pod here ({error})") from error
        if not host:
            raise ClusterUnknown("$KUBERNETES_SERVICE_HOST is not set: this is no pod of a cluster")
        bracketed = f"[{host}]" if ":" in host else host
        return cls(
            server=f"https://{bracketed}:{port}",
            namespace=namespace or "default",
            name="this pod's cluster",
            credentials=TokenFile(_POD_FILES / "token"),
            tls=tls,
        )

    @classmethod
    def from_kubeconfig(cls, path: str | os.PathLike[str] | None = None, context: str | None = None) -> Access:
        """A context of a kubeconfig (default: its current one; the file from $KUBECONFIG or ~/.kube/config)."""
        config = _Kubeconfig(_files(path))
        name = context or config.current
        if not name:
            raise ClusterUnknown(f"{config.place}: has no current-context: choose one with --context {config.choice()}")
        chosen = config.entry("context", name, hint=True)
        cluster = config.entry("cluster", _text(chosen, "cluster"))
        user = config.entry("user", _text(chosen, "user")) if chosen.get("user") else {}
        server = _text(cluster, "server").rstrip("/")
        if not server.startswith(("https://", "http://")):
            raise ClusterUnknown(f"{config.place}: the cluster of context {name!r} has no server URL")
        return cls(
            server=server,
            namespace=_text(chosen, "namespace") or "default",
            name=f"context {name}",
            credentials=config.credentials(user, cluster),
            tls=config.tls(cluster, user) if server.startswith("https://") else None,
            server_name=_text(cluster, "tls-server-name"),
            proxy=_proxy(_text(cluster, "proxy-url"), config.place),
        )


def _at_home() -> Path:
    return Path(os.path.expanduser("~/.kube/config"))


def _files(path: str | os.PathLike[str] | None) -> list[Path]:
    """The kubeconfig files to read; $KUBECONFIG may name several, of which some may be missing."""
    if path is not None:
        return [Path(path).expanduser()]
    named = [Path(each) for each in os.environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    if not named:
        home = _at_home()
        if not home.exists():
            raise ClusterUnknown(f"no cluster is known here: set $KUBECONFIG or give --kubeconfig (there is no {home})")
        return [home]
    there = [each for each in named if each.exists()]
    if not there:
        raise ClusterUnknown(f"$KUBECONFIG: no such file: {named[0]}")
    return there


def _proxy(url: str, place: str) -> str:
    if url and not url.startswith(("http://", "https://")):
        raise ClusterUnknown(f"{place}: proxy-url {url!r} is not supported: http:// and https:// proxies are")
    return url


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


class _Kubeconfig:
    """The entries of one or more kubeconfig files; the first file that names something wins, as with kubectl."""

    def __init__(self, files: list[Path]) -> None:
        self.place = ", ".join(map(str, files))
        self.current = ""
        self._entries: dict[str, dict[str, tuple[dict[str, Any], Path]]] = {"context": {}, "cluster": {}, "user": {}}
        for file in files:
            content = _read(file)
            self.current = self.current or _text(content, "current-context")
            for kind, known in self._entries.items():
                for each in content.get(f"{kind}s") or []:
                    if isinstance(each, dict) and isinstance(each.get(kind), dict):
                        known.setdefault(str(each.get("name")), (each[kind], file.parent))

    def entry(self, kind: str, name: str, *, hint: bool = False) -> dict[str, Any]:
        """The content of a context, cluster or user; paths in it are meant from its file's folder."""
        found = self._entries[kind].get(name)
        if found is None:
            raise ClusterUnknown(f"{self.place}: has no {kind} {name!r}{self._near(name) if hint else ''}")
        content, folder = found
        return {**content, "__folder__": folder}

    def choice(self) -> str:
        """The contexts that there are, for a sentence."""
        return "|".join(self._entries["context"]) or "NAME"

    def _near(self, name: str) -> str:
        known = list(self._entries["context"])
        near = difflib.get_close_matches(name, known, n=1)
        return f": did you mean {near[0]!r}?" if near else f": there are {', '.join(known) or 'none'}"

    def credentials(self, user: Mapping[str, Any], cluster: Mapping[str, Any]) -> Credentials:
        """What a request carries for this user; client certificates are `tls`'s."""
        if user.get("token"):
            return Fixed(_text(user, "token"))
        if user.get("tokenFile"):
            return TokenFile(user["__folder__"] / _text(user, "tokenFile"))
        if user.get("username"):
            return Basic(_text(user, "username"), _text(user, "password"))
        if isinstance(user.get("exec"), dict):
            return Plugin(user["exec"], self.place, _about(cluster))
        if user.get("auth-provider"):
            raise ClusterUnknown(f"{self.place}: auth-provider is gone from Kubernetes since 1.26: use an exec plugin")
        return Anonymous()

    def tls(self, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
        """The TLS context of a cluster with the client certificate of a user."""
        try:
            ca = self._bytes(cluster, "certificate-authority")
            context = _context(ca.decode("ascii"))
            if cluster.get("insecure-skip-tls-verify"):
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            certificate, key = self._bytes(user, "client-certificate"), self._bytes(user, "client-key")
            if certificate and key:
                load_pair(context, certificate, key)
        except (OSError, ValueError) as error:
            raise ClusterUnknown(f"{self.place}: its certificates cannot be used: {error}") from error
        return context

    def _bytes(self, entry: Mapping[str, Any], key: str) -> bytes:
        """`KEY-data` as it is, or the file that `KEY` names."""
        data = _text(entry, f"{key}-data")
        if data:
            try:
                return base64.b64decode(data, validate=False)
            except binascii.Error as error:
                raise ClusterUnknown(f"{self.place}: {key}-data is no base64") from error
        file = _text(entry, key)
        return bytes((entry["__folder__"] / file).read_bytes()) if file else b""


def _context(authority: str) -> ssl.SSLContext:
    """Trusts that authority, or without one those of this machine."""
    context = ssl.create_default_context(cadata=authority or None)
    # Python 3.13 asks for extensions that the authorities of many clusters do not have (RFC 5280, key identifiers).
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Gives a client certificate to a TLS context, which takes it from a file only: one that is gone at once."""
    with tempfile.NamedTemporaryFile(prefix="ringyard-") as file:  # mode 0600
        file.write(certificate.rstrip() + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


def _about(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """What an exec plugin that asks for it (`provideClusterInfo`) is told of the cluster."""
    keys = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
    return {key: cluster[key] for key in keys if key in cluster}


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClusterUnknown(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClusterUnknown(f"{file}: is no kubeconfig: it is not readable as YAML") from error
    if not isinstance(content, dict):
        raise ClusterUnknown(f"{file}: is no kubeconfig: it holds no mapping")
    return content
