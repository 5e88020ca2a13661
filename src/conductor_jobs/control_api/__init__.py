"""The control API over HTTP: one lease store, for nodes that reach nothing but a URL.

    asking        one bounded question to the store; how a lease stands
    watches       whoever waits for a release, or the next term, is told, over any store
    calls         what each route of leases and nodes does with the store
    runner_calls  what each route of runners does with it
    decoding      a request from a body or a URL, or what is wrong with it
    exchange      one request: what it asks, the call, the envelope of its answer
    app           who may ask, and for what
    serving       one server's life and its end

Listening and connections are in `conductor_jobs.http_serving`.

Its client is `conductor_jobs.stores.http`; what they say to each other is in `conductor_jobs.stores.http_wire`
and `http_wire_runners`.
"""
