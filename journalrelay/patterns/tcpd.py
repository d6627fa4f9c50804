"""The line of tcpd, the wrapper of inetd's servers, which is the same for all of them.

Source: tcpd.c of tcp_wrappers 7.6 with IPv6 (Debian, BSD), lines recorded on Debian 12. The client
is a name from reverse DNS or, where hosts.allow asks for it, ``USER@NAME`` with what the client's
own identd says: neither can hold a blank, and the address in brackets is the connection's. Where
tcpd is built without IPv6 there are no brackets: a name then stands alone, which tcpd has found to
be that of the address. tcpd becomes the server by exec, so journald may know the process by either
program.
"""

CONNECT = rb"connect from [!-~]{1,320} \((?P<address>[0-9A-Fa-f:.]{2,45})\)"
CONNECTS = {
    "connect from 192.0.2.10 (192.0.2.10)": "192.0.2.10",
    "connect from 2001:db8::10 (2001:db8::10)": "2001:db8::10",
    "connect from bob@203.0.113.66 (192.0.2.7)": "192.0.2.7",
}
CONNECT_BY_NAME = rb"connect from (?:[!-~]{1,255}@)?(?P<host>[A-Za-z0-9._-]{1,255})"
CONNECTS_BY_NAME = {
    "connect from client.example.org": "client.example.org",
    "connect from bob@203.0.113.66@Client.example.org": "client.example.org",
}
NO_CONNECTS = (
    "connect from bob@203.0.113.66",
    "connect from client.example.org@203.0.113.66",
    "connect from localhost",
    "refused connect from client.example.org",
    "refused connect from 203.0.113.66 (203.0.113.66)",
    "connect from x (203.0.113.66) (192.0.2.7)",
)
