"""The commands of `kyb`, one module each: `add(subparsers)` says what a command takes, `run(args, console)` does it."""
