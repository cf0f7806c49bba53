"""What runs on a builder while a run lasts: a POSIX shell script that obeys lines.

It is told by lines on stdin and answers by lines that begin with a mark. When no line comes for
a while, or its stdin ends, it ends every service with all that this has started, and removes what
they left. What a script that was killed itself has left is removed first thing by the next.

Each job has a service of its own, in a pid namespace where the machine gives one, with its own
TMPDIR: a job can be ended alone, and sees no context, secret or cache mount of another.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

SILENCE = 40  # seconds without a line after which everything ends
BEAT = 10.0  # seconds between two lines that only say that podbuild lives

_SCRIPT = r"""
umask 077
D=$HOME/.cache/podbuild-builder
R=$D/runs/$ID
say() { printf '%s %s\n' "$MARK" "$*"; }
fail() { say "failed $*"; exit 1; }
for each in flock setsid unshare timeout base64 id; do
    command -v $each >/dev/null 2>&1 || fail "missing $each"
done
P=$(command -v podman)
for each in "$HOME"/.local/state/podbuild/toolchain/*/bin/podman; do
    [ -x "$each" ] && P=$each
done
[ -n "$P" ] || fail "missing podman"
B=$(dirname "$P")
G="$P --root $D/graph --runroot $D/run --tmpdir $D/libpod --log-level=error"
case $P$D in *[!A-Za-z0-9._/+@%:,=~-]*) fail "name $P $D" ;; esac  # the words of $G
mkdir -p "$D/runs" "$D/mounts" "$D/data" "$D/used" 2>/dev/null || fail "folder $D"
cd "$D" || fail "folder $D"

# used KIND-NAME: what the store is made smaller by, the longest unused first.
used() { (: >"$D/used/$1") 2>/dev/null; } # `:` alone would end this shell on a full disk
# measure: how many KiB last here, and remember it.
measure() {
    M=$(inside env LC_ALL=C timeout 20 du -sck "$D/graph" "$D/mounts" "$D/data" 2>/dev/null |
        awk '$2 == "total" {print $1}')
    [ -n "$M" ] || return 1
    (echo "$M" >"$D/size") 2>/dev/null || :
}
# tidy: nobody else works here, so what was not used for longest goes until at most KEEP is left.
tidy() {
    for each in "$D"/runs/*; do [ "$each" = "$R" ] || return 0; done
    measure && [ "$M" -gt "$KEEP" ] || return 0
    till=$(($(date +%s) + 30))
    for each in $(ls -1tr "$D/used") everything; do
        case $each in
            i-*) podman_here rmi "${each#i-}" >/dev/null 2>&1 ||
                { podman_here image exists "${each#i-}" && continue; } ;; # others start from it
            m-*) inside rm -rf "$D/mounts/${each#m-}" ;;
            *) inside rm -rf "$D/graph" "$D/run" "$D/data" "$D/libpod" ;;
        esac
        rm -f "$D/used/$each"
        measure && [ "$M" -gt "$KEEP" ] && [ "$(date +%s)" -lt "$till" ] || return 0
    done
}
tidied() {
    KEEP=$1 M=
    exec 8>"$D/lock"
    flock -w 20 8 && tidy
    say "tidied ${M:-busy}"
}
# end GROUP: everything of a service at once; one that ends gently says that its RUN failed.
end() {
    kill -s KILL -- "-$1" 2>/dev/null || return 0
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -s 0 -- "-$1" 2>/dev/null || return 0
        sleep 0.05
    done
}
# rid RUN: working containers of services that were ended, with the secrets in them.
rid() {
    for each in "$1"/containers/${2:-*}; do
        if grep -qs '"id"' "$each"/*containers.json; then
            PODBUILD_CONTAINERS=$each inside unshare --mount sh "$R/enter" sh -c '
                left=$("$@" ps --all --external --quiet) && [ -n "$left" ] &&
                    "$@" rm --force $left' sh $G >/dev/null 2>&1
        fi
    done
    wipe "$1/containers/$2"
}
# wipe FOLDER: files of a service, those of other ids too; secrets are the user's own, so first.
wipe() {
    rm -rf "$1" 2>/dev/null && return
    [ "$(id -u)" = 0 ] || podman_here unshare rm -rf "$1" 2>/dev/null
}
podman_here() {
    HOME=$R/home XDG_CONFIG_HOME=$R/home/.config \
    CONTAINERS_CONF_OVERRIDE=$R/containers.conf REGISTRY_AUTH_FILE=$R/auth.json \
    CONTAINERS_REGISTRIES_CONF=$R/registries.conf CONTAINERS_STORAGE_CONF=$R/storage.conf \
    PODMAN_IGNORE_CGROUPSV1_WARNING=1 XDG_DATA_HOME=$D/data/none XDG_RUNTIME_DIR=$R/xdg \
    $G "$@" </dev/null 8>&- 9>&-
}
inside() {
    if [ -n "$U" ]; then podman_here unshare "$@"; else "$@"; fi
}
# A process whose command line still has this run's folder: numbers are given anew.
bury() {
    for file in "$1"/*.pid; do
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$1" && end "$pid"
    done
    place=$(readlink "$1/sockets") && [ -O "$place" ] && rm -rf "$place"
    for file in "$1"/xdg/libpod/tmp/pause.pid; do
        [ -f "$file" ] && pid=$(cat "$file") && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null |
            grep -qE 'podman|catatonit' && kill -s KILL "$pid" 2>/dev/null
    done
}
exec 8>"$D/lock"
flock -w 60 8 || fail "lock $D/lock"
mkdir -p "$R/xdg/libpod/tmp" || fail "folder $R"
exec 9>"$R/lock"
flock -n 9 || fail "lock $R/lock"
# Sockets have names of at most 107 bytes (unix(7)).
K=$R
[ "$(printf %s "$R/0000000.s" | wc -c)" -le 107 ] || {
    K=$(mktemp -d /tmp/podbuild.XXXXXXXX) || fail "folder /tmp"
    ln -s "$K" "$R/sockets"
}
finish() {
    trap '' TERM HUP INT PIPE
    exec 8>"$D/lock"
    flock -w 20 8
    for file in "$R"/*.pid; do
        [ -f "$file" ] && end "$(cat "$file")" &
    done
    wait
    wipe "$R/tmp"
    rid "$R"
    tidy
    bury "$R"
    rm -rf "$R"
}
trap finish EXIT
trap 'exit 1' TERM HUP INT
limit() { awk "/^Max $1/ {print \$(NF-1)}" /proc/self/limits | sed s/unlimited/-1/; }
{
    # root gets as many as engines without root give; they ask for more, which not every root may.
    [ "$(id -u)" = 0 ] && N=$(limit "open files") L=$(limit processes) &&
        printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=%s:%s"]\n' $N $N $L $L
    echo '[engine]'
    echo 'cgroup_manager = "cgroupfs"'
    echo 'events_logger = "none"'
    echo 'lock_type = "file"'
    [ -x "$B/conmon" ] && echo "conmon_path = [\"$B/conmon\"]"
    [ -d "$B/../helpers" ] && echo "helper_binaries_dir = [\"$B/../helpers\", {append = true}]"
    [ -x "$B/crun" ] && printf 'runtime = "crun"\n[engine.runtimes]\ncrun = ["%s"]\n' "$B/crun"
} >"$R/containers.conf"
printf '[storage]\ndriver = ""\n' >"$R/storage.conf"
[ -x "$B/fuse-overlayfs" ] && PATH=$PATH:$B
: >"$R/registries.conf"
# A home of the run's own: the user's settings, and a policy where there is none.
C=$R/home/.config/containers
mkdir -p "$C/certs.d"
for each in "${XDG_CONFIG_HOME:-$HOME/.config}"/containers/certs.d/*; do
    [ -d "$each" ] && cp -R "$each" "$C/certs.d/"
done
for each in "${XDG_CONFIG_HOME:-$HOME/.config}"/containers/*; do
    [ -e "$each" ] && [ "${each##*/}" != certs.d ] && ln -s "$each" "$C/"
done
[ -e "$C/policy.json" ] || [ -e /etc/containers/policy.json ] ||
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$C/policy.json"
echo '{"auths":{}}' >"$R/auth.json"

cat >"$R/enter" <<'END'
mount --bind "$PODBUILD_CONTAINERS" "$PODBUILD_GRAPH" || exit 1
if [ -n "$PODBUILD_CACHE" ]; then
    mkdir -p /var/lib/containers/cache "$XDG_DATA_HOME" &&
        mount --bind "$XDG_DATA_HOME" /var/lib/containers/cache || exit 1
elif [ -s "$PODBUILD_HANDLERS" ] && mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null
then
    while IFS=' ' read -r program line; do
        printf '%s' "${line%%@*}$program${line#*@}" >/proc/sys/fs/binfmt_misc/register
    done <"$PODBUILD_HANDLERS"
fi 2>/dev/null
exec "$@"
END
old_runs=
for old in "$D"/runs/*; do
    [ "$old" = "$R" ] && continue
    if (flock -n 7 || exit 1) 7<"$old/lock" 2>/dev/null || [ ! -e "$old/lock" ]; then
        bury "$old"
        wipe "$old/tmp"
        old_runs="$old_runs $old"
    fi
done
V=$("$P" --version 2>/dev/null) || fail "podman $P"
V=${V##* }
case $V in [0-4].*|5.[0-5].*) fail "old $V" ;; esac
facts='{{.Store.GraphDriverName}} {{.Host.BuildahVersion}} {{.Host.Arch}} {{.Host.CPUs}}'
F=$(podman_here info --format "$facts" 2>"$R/said") ||
    fail "podman $(tail -n 1 "$R/said" | head -c 300)"
PODBUILD_GRAPH=$D/graph/${F%% *}-containers
export PODBUILD_GRAPH
mkdir -p "$PODBUILD_GRAPH"
if [ "$(id -u)" = 0 ]; then
    U= N=65536
else
    U="unshare" N=$(podman_here unshare awk '{n += $3} END {print n}' /proc/self/uid_map 2>&1)
    case $N in ''|*[!0-9]*) fail "ids $N" ;; esac
    [ "$N" -ge "$IDS" ] || fail "ids $N"
fi
S=
for old in $old_runs; do
    rid "$old"
    wipe "$old"
done
for way in '--mount-proc' ' '; do
    if inside unshare --pid --fork --kill-child $way true >/dev/null 2>&1; then
        S="unshare --pid --fork --kill-child $way"
        break
    fi
done
Q=
for each in "$HOME"/.local/state/podbuild/toolchain/*/qemu; do
    [ -d "$each" ] && Q=$each
done
exec 8>&-

# Handlers of this service's namespace alone; needs Linux 6.7.
handlers() {
    printf '%s\n' "$HANDLERS" | while IFS=' ' read -r program line; do
        [ -n "$program" ] || continue
        found=$(command -v "$program-static" || command -v "$program")
        [ -x "$Q/$program" ] && found=$Q/$program
        [ -n "$found" ] || continue
        printf '%s %s\n' "$found" "$line"
    done
}
handlers >"$R/handlers"
start() {
    T=$R/tmp/$1
    mkdir -p "$T" "$R/containers/$1" "$D/mounts/$2" "$D/data/$3"
    data=$D/data/$3
    used "m-$2"
    ln -s "$D/mounts/$2" "$T/buildah-cache-$(id -u)" 2>/dev/null
    rm -f "$K/$1.s"
    name=$1
    (
        export HOME="$R/home" XDG_CONFIG_HOME="$R/home/.config"
        export CONTAINERS_CONF_OVERRIDE="$R/containers.conf" REGISTRY_AUTH_FILE="$R/auth.json"
        export CONTAINERS_REGISTRIES_CONF="$R/registries.conf"
        export CONTAINERS_STORAGE_CONF="$R/storage.conf" XDG_RUNTIME_DIR="$R/xdg"
        export XDG_DATA_HOME="$data" TMPDIR="$T" PODMAN_IGNORE_CGROUPSV1_WARNING=1
        export PODBUILD_HANDLERS="$R/handlers" PODBUILD_CONTAINERS="$R/containers/$name"
        set -- unshare --mount sh "$R/enter" $S $G system service --time=0 "unix://$K/$name.s"
        if [ -n "$U" ]; then
            set -- $G unshare "$@"
        else
            PODBUILD_CACHE=root  # whose record of blobs is the machine's, whatever XDG says
            export PODBUILD_CACHE
        fi
        exec setsid "$@"
    ) </dev/null >"$R/$name.log" 2>&1 8>&- 9>&- &
    echo $! >"$R/$name.pid"
    for _ in $(seq 300); do
        [ -S "$K/$name.s" ] && say "ready.$name $K/$name.s" && return
        kill -s 0 "$(cat "$R/$name.pid")" 2>/dev/null || break
        sleep 0.1
    done
    say "broken.$name $(tail -n 1 "$R/$name.log" | head -c 300)"
}
stop() {
    [ -f "$R/$1.pid" ] && end "$(cat "$R/$1.pid")"
    rm -f "$R/$1.pid"
    wipe "$R/tmp/$1"
    rid "$R" "$1"
    say "stopped.$1"
}
say "facts $V $F $(cat "$D/size" 2>/dev/null)"
while l=$(timeout "$SILENCE" sh -c 'IFS= read -r l && printf "%s\n" "$l"'); do
    set -- $l
    case $1 in
        beat) say beat ;;
        conf) printf '%s' "$2" | base64 -d >"$R/registries.conf"; say conf ;;
        ca)
            mkdir -p "$C/certs.d/$2"
            printf '%s' "$3" | base64 -d >"$C/certs.d/$2/podbuild.crt"
            say ca
            ;;
        start) start "$2" "$3" "$4" & ;;
        stop) stop "$2" & ;;
        used) used "i-$2" ;;
        tidy) tidied "$2" & ;;
        end) break ;;
    esac
done
"""


def script(*, mark: str, run: str, ids: int, keep: int, handlers: Mapping[str, str]) -> str:
    """Give the script of one run, whose name is `run`; answers begin with `mark`.

    `ids` are the fewest that must be mapped, `keep` the bytes that may last there; `handlers` are
    binfmt_misc's lines by qemu's program, with `@` where its path belongs.
    """
    values = {
        "MARK": mark,
        "ID": run,
        "IDS": str(ids),
        "KEEP": str(keep // 1024),
        "SILENCE": str(SILENCE),
        "HANDLERS": "\n".join(f"{program} {line}" for program, line in handlers.items()),
    }
    given = "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
    return f"{given}\n{_SCRIPT}"
