"""The local API: how one conductor stands, over HTTP, for people and programs on its machine.

answers, outcomes, refusals
                        what is answered, as structs; JSON, and the headers that every answer bears
runs, tick_record, recent
                        what is remembered of the journal, within bounds
events, streams         the latest events; one listener's stream of them
cluster                 the lease and the nodes, as the store tells them
registered, views       what GET answers
publisher               what becomes an event
commands                what POST does
guard, requests         who may ask; what is asked
exposition, page_files, openapi
                        the metrics; the page's files, which are in `page`; the API's own description
routes, app, serving    who answers which path; the application; one server's life
"""

from .serving import serve_local_api

__all__ = ["serve_local_api"]
