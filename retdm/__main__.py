"""`python -m retdm NAME ...`, which is the console script `retdm NAME ...`."""

from retdm.commands import main

main()
