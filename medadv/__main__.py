"""`python -m medadv` is the same as `medadv`."""

from medadv.cli import main

main()
