"""The line of tcpd, the wrapper of inetd's servers, which is the same for all of them.

Source: tcpd.c of tcp_wrappers 7.6 with IPv6 (Debian, BSD), lines recorded on Debian 12. The client
is a name from reverse DNS or, where hosts.allow asks for it, ``USER@NAME`` with what the client's
own identd says: neither can hold a blank, and the address in brackets is the connection's. tcpd
becomes the server by exec, so journald may know the process by either program.
"""

import re

CONNECT = re.compile(rb"connect from [!-~]{1,320} \((?P<address>[0-9A-Fa-f:.]{2,45})\)")
CONNECTS = {
    "connect from 192.0.2.10 (192.0.2.10)": "192.0.2.10",
    "connect from 2001:db8::10 (2001:db8::10)": "2001:db8::10",
    "connect from bob@203.0.113.66 (192.0.2.7)": "192.0.2.7",
}
NO_CONNECTS = (
    "refused connect from 203.0.113.66 (203.0.113.66)",
    "connect from x (203.0.113.66) (192.0.2.7)",
)
