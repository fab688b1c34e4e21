"""Running retdm on Ray; nothing outside this package imports Ray."""

import os

# Or a thread that still waits for Ray when it is shut down would start a new one.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
