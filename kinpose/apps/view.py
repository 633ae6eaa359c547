"""Skeletons and recordings in a browser: to look at, to pose, to pass on.

  kinpose view walk.bvh
  kinpose view runs/walk --ghost=runs/other     # what `kinpose fit` wrote, beside another run
  kinpose view human_17 robot.urdf              # side by side
  kinpose view walk.bvh --export=walk.html      # one page that needs no server

Opens .bvh, .c3d, .trc, .csv, .tsv, .npy, .npz, .urdf and MuJoCo's .xml files, directories of
`kinpose fit` and OpenPose, and skeletons by name. What is on the page: docs/viewing.md.
"""

import pathlib
import socket
import time

from absl import app, flags

from kinpose.apps._opening import Taken, open_clip, title_of
from kinpose.apps._outputs import refuse_existing
from kinpose.clips import Clip
from kinpose.recordings import UNITS_MM, UP

_PORT = 8080


def define_flags() -> None:
    """Of this verb; not at import, as those of others have the same names."""
    flags.DEFINE_multi_string("ghost", [], "What to show pale over the first; may be repeated.")
    flags.DEFINE_string("export", None, "Write one .html page with the motion, and end.")
    flags.DEFINE_bool("overwrite", False, "Replace the page, if it is there.")
    flags.DEFINE_integer(
        "port", None, f"Of the server; by default the first free one from {_PORT} on.", 1, 65535
    )
    flags.DEFINE_string("host", "localhost", "Address that the server listens at.")
    flags.DEFINE_enum("unit", "auto", ["auto", *UNITS_MM], "Unit of length of what is opened.")
    flags.DEFINE_enum("up", "auto", ["auto", *UP], "Axis up of what is opened.")
    flags.DEFINE_float("fps", None, "Frames per second of what is opened.", 1e-9)
    flags.DEFINE_bool("mirror", False, "Reflect what is opened: its axes are left-handed.")


def main(argv: list[str]) -> None:
    """Opens, and shows until it is interrupted, or writes a page."""
    given = flags.FLAGS
    if len(argv) < 2:
        raise app.UsageError("give what to show: a file, a directory or the name of a skeleton.")
    if given.export:
        if not given.export.endswith((".html", ".htm")):
            raise ValueError(f"--export={given.export} must end in .html.")
        refuse_existing(given.export, given.overwrite)
    taken = Taken(given.unit, given.up, given.fps, given.mirror)
    clips, ghosts = ([_opened(path, taken) for path in x] for x in (argv[1:], given.ghost))
    title = " · ".join(map(title_of, argv[1:]))
    if given.export:
        from kinpose.page import save_page

        pathlib.Path(given.export).parent.mkdir(parents=True, exist_ok=True)
        stride = save_page(given.export, clips, ghosts, title)
        every = "" if stride == 1 else f"; one frame in {stride}, so that browsers can hold it"
        frames = max(len(clip.poses) for clip in clips)
        print(f"{given.export}: {frames} frame{'s' if frames > 1 else ''}{every}")
        return
    from kinpose.apps._viewer import Viewer  # takes a second to import

    port = _checked_port(given.host, given.port)
    address = f"http://{given.host}:{Viewer(clips, ghosts, given.host, port).port}"
    print(f"{address} shows {title}; ctrl-C ends it.", flush=True)
    while True:
        time.sleep(1)  # and no longer: a signal just before a wait without end would not end it


def _opened(path: str, taken: Taken) -> Clip:
    clip = open_clip(path, taken)
    for sentence in clip.said:
        print(f"{path}: {sentence}")
    return clip


def _checked_port(host: str, port: int | None) -> int:
    """The gate of an address, and of a port that was asked for."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port or 0), family=family):
            return port or _PORT
    except OSError as error:
        what = f"--port={port} of {host}" if port else f"--host={host}"
        raise ValueError(f"{what} cannot be had: {error.strerror or error}.") from None
