"""`python -m ringyard_serving`: starts the model server."""

from __future__ import annotations

import sys

from ringyard_serving.server import main

if __name__ == "__main__":
    sys.exit(main())
