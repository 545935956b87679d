"""`python -m hypernet` is the `hypernet` program."""

from hypernet.cli import main

main()
