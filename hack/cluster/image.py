"""Packs one folder as an image of one layer.

`images` calls it for the two that the cluster itself needs (pause, busybox); with hack/images on PYTHONPATH, which
knows how an archive is written. It knows nothing of Ringyard's own images.
    image.py FOLDER NAME:TAG OUT.tar COMMAND...
"""

import sys
from pathlib import Path

from oci import layer_of, write_archive

folder, name, out, *command = sys.argv[1:]
with Path(out).open("wb") as archive:
    write_archive(archive, name, [layer_of(Path(folder))], {"Cmd": command, "Env": ["PATH=/bin"]})
