"""``eot serve``: a gateway for turn detection."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

KEYS_VARIABLE = "EOT_GATEWAY_KEYS"


def add_parser(subparsers: Any) -> None:
    """Add the command to what ``argparse.ArgumentParser.add_subparsers`` returned."""
    parser = subparsers.add_parser(
        "serve",
        help="serve turn detection over a WebSocket",
        description="Serve a local model over LiveKit Inference's protocol, until SIGINT or SIGTERM. One line with the "
        "URL is printed when clients can connect; give it to them as base_url.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--model", default="smart-turn-v3.2", help="name, or path to an ONNX file (default: %(default)s)"
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="KEY:SECRET",
        help=f"who may connect; may be repeated. Others on this machine can read a command line: {KEYS_VARIABLE} "
        "(KEY:SECRET, several separated by commas) is safer",
    )
    parser.add_argument("--base-path", default="/v1", help='what comes before "/eot" in the URL (default: %(default)s)')
    parser.add_argument("--max-sessions", type=int, default=None, help="sessions at once (default: 512)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop.

    Returns:
        0 after SIGINT or SIGTERM, 1 where the model or the address cannot be had, 2 for arguments without sense.
    """
    from ..models.base import ModelError
    from ..server import Gateway, GatewayLimits

    try:
        keys = parse_keys([*args.key, *filter(None, os.environ.get(KEYS_VARIABLE, "").split(","))])
        limits = GatewayLimits() if args.max_sessions is None else GatewayLimits(max_sessions=args.max_sessions)
        if not 0 <= args.port <= 65535:
            raise ValueError(f"--port must be 0..65535, got {args.port}")
        gateway = Gateway(args.model, keys=keys, base_path=args.base_path, limits=limits)
    except (ValueError, TypeError) as error:
        print(f"eot serve: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_serve(gateway, args.host, args.port))
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
    for number, pair in enumerate(pairs, start=1):
        key, _, secret = pair.strip().partition(":")
        if not key or not secret:
            raise ValueError(f"key number {number} is not KEY:SECRET")
        if key in keys:
            raise ValueError(f"key number {number} names an API key that was given before")
        keys[key] = secret
    if not keys:
        raise ValueError(f"no key: give --key KEY:SECRET, or set {KEYS_VARIABLE}")
    return keys


async def _serve(gateway: Any, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        starting = asyncio.ensure_future(gateway.start(host, port))
        stopping = asyncio.ensure_future(stop.wait())
        # A signal while the model loads ends the wait for it too.
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            print(f"eot gateway for {gateway.model.name} ready at {gateway.url}", flush=True)
            await stopping
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
    finally:
        stopping.cancel()
        await gateway.aclose()
