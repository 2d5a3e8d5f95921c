"""``python -m ridgeway_server --models DIR``: serve until SIGTERM."""

from ridgeway_server.command import main

raise SystemExit(main())
