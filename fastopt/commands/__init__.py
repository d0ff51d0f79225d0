"""One command of the command line a module: ``add_parser`` declares it, ``run`` does it."""
