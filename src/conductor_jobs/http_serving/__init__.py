"""What the servers have in common, the control API's and the local API's: hypercorn on Trio, with limits.

address       the URL that a server is to listen on, and which addresses are loopback
connections   no more of them than can be served, and none that brings nothing
bearer        who bears the token, compared in constant time
presence      working for a client for as long as it waits
serving       listening; one server's life and its end
"""
