# A file that a configuration imports, with a mistake of its own.
def server()
    return None
