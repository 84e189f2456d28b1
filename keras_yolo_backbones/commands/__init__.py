"""The commands of `kyb`, one module each: `add(subparsers)` declares its arguments, `run(args, console)` runs it."""
