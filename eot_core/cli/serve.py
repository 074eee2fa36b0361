"""``eot serve``: a gateway for turn detection."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import ssl
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

KEYS_VARIABLE = "EOT_GATEWAY_KEYS"
MAX_GRACE = 86_400.0
"""Seconds. A day: nobody waits longer for a call to end."""
OTHER_DESCRIPTORS = 128
"""That a gateway needs beside one for each session: model, logs, and whoever asks for ``/metrics`` or is refused."""
LEVELS = ("debug", "info", "warning", "error")


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``argparse.ArgumentParser.add_subparsers`` returned."""
    parser = subparsers.add_parser(
        "serve",
        help="serve turn detection over a WebSocket",
        description="Serve a local model over LiveKit Inference's protocol, until SIGINT or SIGTERM. One line with the "
        "URL is printed when clients can connect; give it to them as base_url. /healthz says whether it takes clients, "
        "/metrics holds figures for Prometheus; neither needs a key.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--model", default=None, help="name, or path to an ONNX file (default: eot-open-1)")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="KEY:SECRET",
        help=f"who may connect; may be repeated. Others on this machine can read a command line: {KEYS_VARIABLE} "
        "(KEY:SECRET, several separated by commas) is safer",
    )
    parser.add_argument(
        "--keys-file",
        type=Path,
        default=None,
        metavar="FILE",
        help="more of them, one KEY:SECRET per line, # for comments; read again at SIGHUP, so that keys can change "
        "without ending a call",
    )
    parser.add_argument(
        "--tls-cert",
        type=Path,
        default=None,
        metavar="FILE",
        help="serve https and wss: PEM, with the chain; read again at SIGHUP",
    )
    parser.add_argument(
        "--tls-key", type=Path, default=None, metavar="FILE", help="its key, where not in the same file"
    )
    parser.add_argument("--base-path", default="/v1", help='what comes before "/eot" in the URL (default: %(default)s)')
    parser.add_argument("--max-sessions", type=int, default=None, help="sessions at once (default: 512)")
    parser.add_argument(
        "--grace",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="at the first signal take no new sessions (503), and wait so long for the open ones to end; a second "
        "signal ends the wait. Those that are left are closed (1001) when the requests that wait are answered "
        "(default: %(default)g)",
    )
    parser.add_argument("--log-level", choices=LEVELS, default="warning", help="to stderr (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop.

    Returns:
        0 after SIGINT or SIGTERM, 1 where the model or the address cannot be had, 2 for arguments without sense.
    """
    from ..models.base import ModelError
    from ..server import Gateway, GatewayLimits

    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    def read_keys() -> dict[str, str]:
        return parse_keys([*args.key, *os.environ.get(KEYS_VARIABLE, "").split(","), *_lines(args.keys_file)])

    tls = None if args.tls_cert is None else ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def read_again() -> dict[str, str]:
        found = read_keys()
        if tls is not None:
            _load_certificate(tls, args.tls_cert, args.tls_key)  # last: it is in force at once
        return found

    try:
        if args.tls_key is not None and tls is None:
            raise ValueError("--tls-key needs --tls-cert: give both, or neither")
        keys = read_again()
        limits = GatewayLimits() if args.max_sessions is None else GatewayLimits(max_sessions=args.max_sessions)
        if not 0 <= args.port <= 65535:
            raise ValueError(f"--port must be 0..65535, got {args.port}")
        if not 0 <= args.grace <= MAX_GRACE:
            raise ValueError(f"--grace must be 0..{MAX_GRACE:g} seconds, got {args.grace:g}")
        gateway = Gateway(args.model, keys=keys, base_path=args.base_path, limits=limits)
    except (ValueError, TypeError) as error:
        print(f"eot serve: {error}", file=sys.stderr)
        return 2
    _allow_descriptors(limits.max_sessions + OTHER_DESCRIPTORS)
    try:
        again = None if args.keys_file is None and tls is None else read_again
        asyncio.run(_serve(gateway, args.host, args.port, grace=args.grace, read_keys=again, tls=tls))
    except (ModelError, OSError) as error:
        print(f"eot serve: {error}", file=sys.stderr)
        return 1
    return 0


def parse_keys(pairs: Iterable[str]) -> dict[str, str]:
    """Secret by key, of "KEY:SECRET" each.

    Raises:
        ValueError: none, or one that is no pair. The message says which by its place, and shows nothing of it.
    """
    keys: dict[str, str] = {}
    for number, pair in enumerate(filter(str.strip, pairs), start=1):
        key, _, secret = pair.strip().partition(":")
        if not key or not secret:
            raise ValueError(f"key number {number} is not KEY:SECRET")
        if key in keys:
            raise ValueError(f"key number {number} names an API key that was given before")
        keys[key] = secret
    if not keys:
        raise ValueError(f"no key: give --key KEY:SECRET or --keys-file FILE, or set {KEYS_VARIABLE}")
    return keys


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--keys-file {file} cannot be read: {type(error).__name__}") from None
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def _allow_descriptors(needed: int) -> None:
    """Raise this process's own limit as far as it may, and say so where that is not enough."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:  # macOS says so, and takes no such limit
        if soft != resource.RLIM_INFINITY and soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < needed:
        logger.warning(
            "this process may have %d descriptors and needs up to %d: allow it more (ulimit -Hn), or fewer sessions "
            "(--max-sessions)",
            hard,
            needed,
        )


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Connections that are made from now on get it.

    Raises:
        ValueError: it cannot be read, or has another key; ``context`` is as it was then.
    """
    try:
        # First where nobody uses it: OpenSSL takes a certificate before it looks at the key, and keeps it without one.
        for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            # An empty password: OpenSSL would ask the terminal for the right one, and wait there.
            each.load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise ValueError(f"--tls-cert {certificate} cannot be used: {reason}") from None


async def _serve(
    gateway: Any,
    host: str,
    port: int,
    *,
    grace: float = 0.0,
    read_keys: Callable[[], dict[str, str]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signals.put_nowait, number)

    def change_keys() -> None:
        assert read_keys is not None
        try:
            gateway.replace_keys(read_keys())
        except ValueError as error:
            logger.error("nothing was changed: %s", error)
        else:
            logger.warning("keys and certificate were read again" if tls is not None else "the keys were read again")

    if read_keys is not None:
        loop.add_signal_handler(signal.SIGHUP, change_keys)
    first = asyncio.ensure_future(signals.get())
    try:
        starting = asyncio.ensure_future(gateway.start(host, port, ssl_context=tls))
        # A signal while the model loads ends the wait for it too.
        await asyncio.wait((starting, first), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            print(f"eot gateway for {gateway.model.name} ready at {gateway.url}", flush=True)
            await first
            if grace > 0:
                draining, second = (asyncio.ensure_future(work) for work in (gateway.drain(grace), signals.get()))
                await asyncio.wait((draining, second), return_when=asyncio.FIRST_COMPLETED)
                for waiting in (draining, second):
                    waiting.cancel()
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
    finally:
        first.cancel()
        await gateway.aclose()
