# expect: -: it has no `server` -> write server = Server(
