"""`python -m conductor_jobs` is the command."""

import sys

from .cli import main

sys.exit(main())
