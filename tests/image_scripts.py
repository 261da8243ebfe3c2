"""The scripts and configurations inside the images of tests/images.py.

All are for the shell of BusyBox; its wget must not be given a time limit, the static one crashes of that.
"""

from __future__ import annotations

CURL = """\
#!/bin/sh
# What a health check needs of curl: the last word is the address.
for address in "$@"; do :; done
exec wget -q -O /dev/null "$address"
"""

TINI = """\
#!/bin/sh
[ "$1" != -- ] || shift
exec "$@"
"""


def ask(url):
    """A program that fails unless an address answers."""
    return f"#!/bin/sh\nexec wget -q -O /dev/null '{url}'\n"


def stand_in(service, release, ports, ready_url):
    """A program that answers on all ports of a service until it is told to end; its arguments mean nothing to it.

    Process 1 of a container gets no signal that it does not ask for.
    """
    web = " ".join(str(number) for name, number in ports.items() if name != "ssh")
    ssh = f"nc -ll -p {ports['ssh']} -e /bin/echo SSH-2.0-stand-in &\n" if "ssh" in ports else ""
    return f"""\
#!/bin/sh
case " $* " in *" -health "*) exec wget -q -O /dev/null '{ready_url}' ;; esac
trap 'echo "{service}: ends"; exit 0' TERM INT QUIT
trap 'echo "{service}: read its configuration again"' HUP
{ssh}for port in {web}; do httpd -f -p "$port" -h /www & done
echo '{service}: a stand-in, release {release}, on {web}'
while kill -0 $!; do wait $!; done
echo '{service}: a port is taken' >&2
exit 1
"""


def broken(service, how):
    """A program that says three lines and does not work, in one of the ways that releases have."""
    ends = {
        "exits": "exit 1",
        "flaps": "sleep 2 & wait $!\nexit 1",
        "unhealthy": "while :; do sleep 3600 & wait $!; done",
    }
    return f"""\
#!/bin/sh
case " $* " in *" -health "* | *" healthcheck "*) exit 1 ;; esac
trap 'exit 0' TERM INT QUIT
echo '{service}: release 2 starts'
echo '{service}: its data was written by release 1'
echo '{service}: cannot migrate the data' >&2
{ends[how]}
"""


# Stays process 1, passes signals on, and cleans the configuration before a reload too. A signal ends a `wait` before
# the program does: only a `wait` that none has ended tells how the program did (127: it was told of before).
_PASS_ON = """\
child=$!
trap 'signalled=yes; clean; kill -HUP $child' HUP
trap 'signalled=yes; kill -TERM $child' TERM
trap 'signalled=yes; kill -INT $child' INT
trap 'signalled=yes; kill -QUIT $child' QUIT
signalled=yes
while [ -n "$signalled" ]; do
    signalled=
    wait $child
    ended=$?
    [ $ended = 127 ] || status=$ended
done
exit $status
"""

PROMETHEUS = f"""\
#!/bin/sh
# A distribution's Prometheus is older than the catalogue's and does not start with what it does not know: that is left
# out of a copy of its configuration (`storage`, where 3.x keeps how long metrics stay).
copy=/prometheus/.configuration
for word in "$@"; do
    shift
    case $word in
        --config.file=*) original=${{word#*=}} word=--config.file=$copy/prometheus.yml ;;
    esac
    set -- "$@" "$word"
done
clean() {{
    mkdir -p $copy
    ln -sfn "${{original%/*}}/rules" $copy/rules
    awk '/^[^ #]/ {{ skip = /^"?storage"?:/ }} !skip' "$original" >$copy/new
    mv $copy/new $copy/prometheus.yml
}}
[ -n "${{original:-}}" ] || exec /bin/prometheus.real "$@"
clean
/bin/prometheus.real "$@" &
{_PASS_ON}"""


def nginx(*, module):
    """A program that starts a distribution's nginx without the directives that only newer ones know."""
    load = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;" if module else ""
    return f"""\
#!/bin/sh
copy=/tmp/nginx.conf
for word in "$@"; do
    shift
    if [ "${{last:-}}" = -c ]; then original=$word word=$copy; fi
    last=$word
    set -- "$@" "$word"
done
[ -n "${{original:-}}" ] || exec /usr/sbin/nginx.real -g '{load}' "$@"
clean() {{ sed '/^ *http2 on;/d' "$original" >$copy.new && mv $copy.new $copy; }}
clean
/usr/sbin/nginx.real -g '{load}' "$@" &
{_PASS_ON}"""
