"""Commands of the command line, one module each: ``add_parser`` declares the command, ``run`` executes it."""
