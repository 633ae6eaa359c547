"""Other processes of a run: joined before the first computation, and watched until the end.

JAX itself notices a lost process after a minute or more, and aborts. So the first process holds a
connection to each of the others, over which they tell each other that they live.
"""

import atexit
import functools
import os
import socket
import threading
import time

import jax
import numpy as np
from jax._src import distributed  # its store of values and barriers have no public name
from jax.experimental import multihost_utils

_EVERY_S, _PATIENCE_S = 5.0, 45.0
"""How often a process says that it lives, and after which silence it is lost."""

_NOTICE_S = 0.5
"""Until the loss of a process that has ended has been noticed."""

_START_S = 600
"""How long processes wait for the slowest of them to begin."""

_ALIVE, _DONE = b".", b"e"
_ends = threading.Lock()
_peers: list[socket.socket] = []


def join_processes(how: str | None) -> None:
    """Joins the other processes; before anything else asks for devices.

    Args:
      how: `auto`, where the cluster tells jax.distributed the rest, ADDRESS:PORT,PROCESSES,INDEX,
        or None, for a process that is alone.

    Raises:
      ValueError: for anything else.
    """
    if how is None:
        return
    patience = {"initialization_timeout": _START_S}
    if how == "auto":
        jax.distributed.initialize(**patience)
    else:
        address, *numbers = how.split(",")
        if ":" not in address or len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
            raise ValueError(
                f"distributed must be auto or ADDRESS:PORT,PROCESSES,INDEX, but got {how!r}."
            )
        jax.distributed.initialize(address, *map(int, numbers), **patience)
    _peers.extend(_connect())
    for peer in _peers:
        for watch in (_tell, _listen):
            threading.Thread(target=watch, args=(peer,), daemon=True).start()
    atexit.register(_say_done)


@functools.cache
def wait_for_all(what: str) -> None:
    """Returns when all processes have come here; collectives wait for half a minute only.

    Args:
      what: the same in all processes; a second time it is not waited for.
    """
    if distributed.global_state.client is not None:
        distributed.global_state.client.wait_at_barrier(what, 1000 * _START_S)


def all_of(value: int) -> list[int]:
    """A number of each process, in all of them; they come here together."""
    return np.ravel(multihost_utils.process_allgather(np.int32(value))).tolist()


def leave_processes() -> None:
    """Ends with the others, which end at the same step."""
    if distributed.global_state.client is not None:
        _say_done()
        jax.distributed.shutdown()


def wait_for_watch() -> None:
    """Lets it be said that another process is lost, where that is why this one fails."""
    if _peers:
        time.sleep(_NOTICE_S)


def end_process(sentence: str, status: int) -> None:
    """Ends this process at once, as threads of libraries may wait for ever or crash."""
    _ends.acquire()  # whoever comes second says nothing
    try:
        os.write(2, f"{sentence}\n".encode())
    finally:
        os._exit(status)


def _connect() -> list[socket.socket]:
    state = distributed.global_state
    key, others = "kinpose/watch", state.num_processes - 1
    if state.process_id == 0:
        with _server(others) as server:
            state.client.key_value_set(key, str(server.getsockname()[1]))
            server.settimeout(_START_S)
            return [server.accept()[0] for _ in range(others)]
    port = int(state.client.blocking_key_value_get(key, 1000 * _START_S))
    host = state.coordinator_address.rsplit(":", 1)[0].strip("[]")
    return [socket.create_connection((host, port), _START_S)]


def _server(backlog: int) -> socket.socket:
    """On any port, for both versions of IP where there are both."""
    try:
        family = {"family": socket.AF_INET6, "dualstack_ipv6": True}
        return socket.create_server(("", 0), backlog=backlog, **family)
    except (OSError, ValueError):
        return socket.create_server(("", 0), backlog=backlog)


def _tell(peer: socket.socket):
    while True:
        try:
            peer.sendall(_ALIVE)
        except OSError:  # `_listen` will know
            return
        time.sleep(_EVERY_S)


def _listen(peer: socket.socket):
    peer.settimeout(_PATIENCE_S)
    try:
        while heard := peer.recv(1):
            if heard == _DONE:
                return
    except OSError:
        pass
    end_process("error: another process was lost; the same commands go on without loss", 1)


def _say_done():
    for peer in _peers:
        try:
            peer.sendall(_DONE)
        except OSError:
            return
